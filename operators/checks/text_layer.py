"""How far a reply is from the text that a PDF itself holds: character errors, missing and extra words. Pure.

Both are folded before they are compared, since print and text layer differ in what no reader would call an error:
ligatures, kinds of quotes and dashes, hyphens at the end of a line, white space.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from schemas.text_layer import hyphenated

_SAME = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", None),
        "…": "...",
    }
)
_BROKEN = re.compile(r"(?<=\w)-[^\S\n]*\n\s*(?=[^\W\d_])")
_LONGEST = 20_000
"""Characters that are compared; the time grows with the square of them (hundredths of a second at this length)."""


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
    wanted, got = Counter(_words(truth)), Counter(_words(text))
    if not wanted:
        return None
    truth, text = truth[:_LONGEST], text[:_LONGEST]
    return Difference(
        cer=Levenshtein.distance(text, truth) / len(truth),
        missing_words=(wanted - got).total(),
        extra_words=(got - wanted).total(),
        words=wanted.total(),
    )


def folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", hyphenated(text)).translate(_SAME)
    return " ".join(_BROKEN.sub("", text).split())


def _words(text: str) -> list[str]:
    """Runs of letters and digits; of scripts that put no blanks between words, every character."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+", text)
