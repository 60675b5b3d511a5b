"""How far a reply is from the text that a PDF itself holds: character errors, missing and extra words. Pure.

Both are folded before they are compared, since print and text layer differ in what no reader would call an error:
ligatures, kinds of quotes and dashes, hyphens at the end of a line, white space, vowel points, blanks within a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from schemas.text_layer import hyphenated

_POINTS = (*range(0x0591, 0x05C8), 0x0640, *range(0x064B, 0x0660), 0x0670, *range(0x06D6, 0x06EE))
"""Vowel points and marks of Hebrew and Arabic, and the stroke that stretches a line: a text may leave them out."""
_SAME = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufffd", None),
        **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), *_POINTS), None),
        "…": "...",
    }
)
_BROKEN = re.compile(r"(?<=\w)[-\u00ad\u2010][^\S\n]*\n\s*(?=[^\W\d_])")
_LONGEST = 20_000
"""Characters that are compared; the time grows with the square of them (hundredths of a second at this length)."""
_RUN = 6
"""Letters in a row that two texts hold in common by more than chance."""
_COVERED = 0.8
_RELABELED_MOST, _RELABELED_CHARS, _RELABELED_REACH = 0.3, 2_000, 30
_RELABELED_LEAST_CHARS = 60
_RELABELED_FEW_CHARS, _RELABELED_FEW_MOST = 20, 0.1
"""Of a heading alone; no two others of 20,000 pairs came nearer than 0.2."""


@dataclass(frozen=True)
class Difference:
    """cer: edits per character of the layer, white space folded. words: those of the layer."""

    cer: float
    missing_words: int
    extra_words: int
    words: int


@lru_cache(maxsize=64)  # a page that is asked again has its readings compared several times
def compare(read: str, layer: str) -> Difference | None:
    """None when the layer holds no letters or digits to compare with."""
    text, truth = folded(read), folded(layer)
    wanted, got = _words(truth), _words(text)
    if not wanted:
        return None
    missing, extra = _without(wanted, got), _without(got, wanted)
    difference = Difference(_cer(text, truth), sum(missing), sum(extra), len(wanted))
    if not difference.missing_words or not difference.extra_words:
        return difference
    # words that the other text has too, parted in other places
    missing_words = sum(missing) - _parted_otherwise(wanted, missing, "".join(got))
    extra_words = sum(extra) - _parted_otherwise(got, extra, "".join(wanted))
    if (missing_words, extra_words) == (sum(missing), sum(extra)):
        return difference
    bare = _cer(text.replace(" ", ""), truth.replace(" ", ""))
    return replace(difference, cer=min(difference.cer, bare), missing_words=missing_words, extra_words=extra_words)


def folded(text: str) -> str:
    text = _BROKEN.sub("", hyphenated(text))
    text = unicodedata.normalize("NFKC", text).translate(_SAME)
    return " ".join(_BROKEN.sub("", text).split())


def is_relabeled(read: str, layer: str) -> bool:
    """Whether the layer is the reading with other letters in place of its own, one for one, as a font whose letters are
    named wrongly gives it. Nobody reads such a page by chance: what is compared is where each letter stood before."""
    one, two = ("".join(text.split())[:_RELABELED_CHARS] for text in (read, layer))
    fewest = min(len(one), len(two))
    if fewest < _RELABELED_FEW_CHARS or Levenshtein.normalized_distance(one, two) < 0.5:
        return False
    most = _RELABELED_MOST if fewest >= _RELABELED_LEAST_CHARS else _RELABELED_FEW_MOST
    return Levenshtein.normalized_distance(_recurrences(one), _recurrences(two)) < most


def _recurrences(text: str) -> list[int]:
    """For each character how far back the same one stands; 0 where it is far."""
    last: dict[str, int] = {}
    distances = []
    for place, char in enumerate(text):
        back = place - last.get(char, -_RELABELED_REACH)
        distances.append(back if back < _RELABELED_REACH else 0)
        last[char] = place
    return distances


def _cer(text: str, truth: str) -> float:
    text, truth = text[:_LONGEST], truth[:_LONGEST]
    return Levenshtein.distance(text, truth) / len(truth)


def _words(text: str) -> list[str]:
    """Runs of letters and digits; of scripts that put no blanks between words, every character."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+", text)


def _without(words: list[str], others: list[str]) -> list[bool]:
    """Of each word, whether the others have none for it."""
    left = Counter(others)
    alone = []
    for word in words:
        left[word] -= 1
        alone.append(left[word] < 0)
    return alone


def _parted_otherwise(words: list[str], alone: list[bool], other: str) -> int:
    """How many of the words that stand alone are letters of the other text (its words, joined) in the same order."""
    runs = {other[place : place + _RUN] for place in range(len(other) - _RUN + 1)}
    count = start = 0
    while start < len(words):
        end = start
        while end < len(words) and alone[end]:
            end += 1
        run = "".join(words[start:end])
        covered, until = 0, 0
        for place in range(len(run) - _RUN + 1):
            if run[place : place + _RUN] in runs:
                covered += place + _RUN - max(until, place)
                until = place + _RUN
        if end > start and covered >= _COVERED * len(run):
            count += end - start
        start = end + 1
    return count
