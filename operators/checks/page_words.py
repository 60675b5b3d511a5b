"""The words and numbers of a page's text, as they are compared: folded, each with the line that it stands in. Pure.

Print and text layer differ in what no reader would call an error: ligatures, kinds of quotes and dashes, hyphens at the
end of a line, white space, vowel points, capitals. Numbers are compared as amounts: 1,295.00 is 1295, and 29.5 is not.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from operators.checks.reply_markup import FORMULA, FORMULA_END
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
_BROKEN = re.compile(r"(?<=\w)[-\u00ad\u2010][^\S\n]*\n\s*(?=[^\W\d_])(?![A-ZÀ-ÖØ-Þ])")
IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Of scripts that put no blanks between words."""
_WORD = re.compile(rf"[{IDEOGRAPHS}]|\d+(?:[.,']\d+)*|[^\W\d_{IDEOGRAPHS}]+|[{FORMULA}{FORMULA_END}]")
_MINUS = re.compile(r"[\s(|]-[$€£¥]?$")
_ORDINAL = re.compile(r"[.):]")


@dataclass(frozen=True, slots=True)
class Word:
    """A run of letters, one ideograph, or a number. key: by which it is compared; raw: its letters and digits alone.
    line: from 0, of lines that hold any. small: begins with a small letter. number: whether it is one; negative: None
    where the dash before it may be another. formula: whether it stands in one. glued: letters and digits stand right
    beside each other. ordinal: a number that begins its line as an item does. alone: all that its line holds."""

    key: str
    raw: str
    line: int
    small: bool = False
    number: bool = False
    negative: bool | None = False
    formula: bool = False
    glued: bool = False
    ordinal: bool = False
    alone: bool = False


def folded_lines(text: str) -> list[str]:
    """Each without blanks around it; empty ones are left out."""
    text = _BROKEN.sub("", hyphenated(text))
    text = unicodedata.normalize("NFKC", text).translate(_SAME)
    return [line for line in (" ".join(part.split()) for part in _BROKEN.sub("", text).splitlines()) if line]


def folded(text: str) -> str:
    return " ".join(folded_lines(text))


def words_of(text: str) -> list[Word]:
    words: list[Word] = []
    inside = False
    row = 0
    for line in folded_lines(text):
        before = len(words)
        matches = list(_WORD.finditer(line))
        for place, match in enumerate(matches):
            token = match[0]
            if token in (FORMULA, FORMULA_END):
                inside = token == FORMULA
            elif token[0].isdecimal():
                words.append(_number(line, matches, place, row, inside=inside, first=len(words) == before))
            else:
                key = token.casefold()
                start, end = match.span()
                words.append(
                    Word(
                        key=key,
                        raw=key,
                        line=row,
                        small=token[0].islower(),
                        formula=inside,
                        glued=line[start - 1 : start].isdecimal() or line[end : end + 1].isdecimal(),
                        alone=len(matches) == 1,
                    )
                )
        row += len(words) > before
    return words


def _number(line: str, matches: list[re.Match[str]], place: int, row: int, *, inside: bool, first: bool) -> Word:
    match = matches[place]
    start, end = match.span()
    digits = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in match[0])
    before = line[max(start - 3, 0) : start]
    glued = line[start - 1 : start].isalpha() or line[end : end + 1].isalpha()
    return Word(
        key=amount(digits),
        raw=re.sub(r"\D", "", digits),
        line=row,
        number=True,
        negative="-" in before and (bool(_MINUS.search(before)) or None),
        formula=inside,
        glued=glued,
        ordinal=first and digits.isdecimal() and len(digits) <= 3 and bool(_ORDINAL.match(line, end)),
        alone=len(matches) == 1,
    )


def amount(digits: str) -> str:
    """One writing for all of an amount: marks between thousands go, a decimal mark is a point, and so do zeros at its
    end. What may be either ("1.234") has its marks taken for thousands'."""
    whole, *parts = re.split(r"[.,']", digits)
    marks = re.sub(r"\d", "", digits)
    if not parts:
        return whole
    if len(parts) > 1 and len(set(marks)) == 1:
        return whole + "".join(parts)  # thousands, or a date
    if len(parts) == 1 and len(parts[0]) == 3 and len(whole) <= 3 and whole.strip("0"):
        return whole + parts[0]
    fraction = parts[-1].rstrip("0")
    return whole + "".join(parts[:-1]) + (f".{fraction}" if fraction else "")
