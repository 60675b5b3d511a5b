"""In which script a text is written, by the names of its characters in the Unicode database."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_KIND = re.compile(
    r" (?:(?:SMALL|CAPITAL|FINAL|MODIFIER|VOWEL|SUBJOINED|CHOSEONG|COMPATIBILITY|UNIFIED|INITIAL|ISOLATED) )*"
    r"(?:LETTER|SYLLABLE|SIGN|IDEOGRAPH|LIGATURE|HIEROGLYPH|CHARACTER|SYLLABICS|DIGRAPH|VOWEL)\b.*"
)
_SAMPLE = 5000


def script_of(text: str) -> str | None:
    """The script of most letters (`Latin`, `Arabic`, `Old Italic`); None without letters.

    Chinese characters are `Han`; with a share of kana among them the text is `Japanese`.
    """
    counts = Counter[str]()
    for char, times in Counter(text[:_SAMPLE]).items():
        if unicodedata.category(char) in ("Lu", "Ll", "Lt", "Lo"):
            counts[_script(char)] += times
    if not counts:
        return None
    kana = counts["Hiragana"] + counts["Katakana"]
    if kana and kana + counts["Han"] > counts.total() / 2:
        return "Japanese"
    return counts.most_common(1)[0][0]


def _script(char: str) -> str:
    name = unicodedata.name(char, "UNKNOWN")
    if name.startswith("CJK"):
        return "Han"
    named = _KIND.sub("", name)
    return (named if named != name else name.split()[0].split("-")[0]).title()
