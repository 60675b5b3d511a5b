"""How far a reply is from the text that a PDF itself holds: character errors, missing and extra words, wrong numbers,
and words that stand in another order. Pure.

Words are matched wherever they stand, since a page's blocks may be read in another order than the file has them. What
has no match is looked at where it stands, between the words around it: letters that are parted in other places are no
difference, a few wrong letters are a small one, and a number in the place of another is a wrong number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from operators.checks.page_words import Word, folded, words_of
from operators.checks.reading_order import Disorder, disorder
from operators.checks.reply_markup import without_markup
from operators.checks.word_alignment import aligned
from operators.checks.word_errors import LETTERS_A_WORD, WordErrors

_LONGEST = 20_000
"""Characters that are compared; the time grows with the square of them (hundredths of a second at this length)."""
_RELABELED_MOST, _RELABELED_CHARS, _RELABELED_REACH = 0.3, 2_000, 30
_RELABELED_LEAST_CHARS = 60
_RELABELED_FEW_CHARS, _RELABELED_FEW_MOST = 20, 0.1
"""Of a heading alone; no two others of 20,000 pairs came nearer than 0.2."""


@dataclass(frozen=True)
class Difference:
    """cer: edits per character of the layer, white space folded. words: those of the layer. missing_words, extra_words:
    without a match. missing, extra: the same, with misread ones as the share of their letters that is wrong;
    missing_within, extra_within: of these what stands alone among matched words. wrong_numbers: numbers in the place of
    others. misread_words: those of the layer that are the reading's but for a few letters."""

    cer: float
    missing_words: int
    extra_words: int
    words: int
    missing: float = 0.0
    extra: float = 0.0
    missing_within: float = 0.0
    extra_within: float = 0.0
    wrong_numbers: int = 0
    misread_words: int = 0
    disorder: Disorder = field(default_factory=Disorder)


@lru_cache(maxsize=64)  # a page that is asked again has its readings compared several times
def compare(read: str, layer: str) -> Difference | None:
    """None when the layer holds no letters or digits to compare with. read: a reply, with its markup."""
    wanted = words_of(layer)
    if not wanted:
        return None
    got = words_of(without_markup(read, layer))
    errors = WordErrors(got, wanted)
    alignment = aligned([word.key for word in got], [word.key for word in wanted], errors.settle)
    errors.count(alignment)
    return Difference(
        cer=_cer(folded(read), folded(layer), same=not errors.missing_words and not errors.extra_words),
        missing_words=errors.missing_words,
        extra_words=errors.extra_words,
        words=_size(wanted),
        missing=errors.missing,
        extra=errors.extra,
        missing_within=errors.missing_within,
        extra_within=errors.extra_within,
        wrong_numbers=errors.wrong_numbers,
        misread_words=errors.misread_words,
        disorder=disorder(alignment, got, wanted),
    )


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


def _cer(text: str, truth: str, *, same: bool) -> float:
    text, truth = text[:_LONGEST], truth[:_LONGEST]
    cer = Levenshtein.distance(text, truth) / len(truth)
    if same:  # but for where its words are parted
        cer = min(
            cer, Levenshtein.distance(text.replace(" ", ""), truth.replace(" ", "")) / len(truth.replace(" ", ""))
        )
    return cer


def _size(words: Sequence[Word]) -> int:
    """How many words; by their letters where these are parted oddly, or not at all."""
    letters = sum(len(word.raw) for word in words if word.key.isascii())
    ascii_words = sum(word.key.isascii() for word in words)
    if ascii_words and not 2 <= letters / ascii_words <= 3 * LETTERS_A_WORD:
        return len(words) - ascii_words + max(1, letters // LETTERS_A_WORD)
    return len(words)
