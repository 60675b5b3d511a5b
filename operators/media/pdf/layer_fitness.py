"""Whether a page's own text can be what its glyphs show. Fonts may say nothing, or the wrong thing, about which letters
they draw: control characters, the alphabet moved by a few places, another script.

Two witnesses, neither of which knows a language: how the letters are spread, and how the glyphs stand to each other
(a g goes lower than the a beside it, a b higher). Where the shapes speak they outrank the spread, so that a page of
part numbers is not taken for nonsense. Pure.
"""

from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from operators.media.pdf.layer_chars import LayerChars

_MOST_UNMAPPED = 0.2
"""Of all characters. A right reading has as many words more than such a layer; one that has more is called far from it
(operators/checks/page_check.py)."""
_FEWEST_LETTERS = 40
"""Below, the spread of letters says nothing."""
_FEWEST_PAIRS = 30
"""Below, the shapes say nothing."""
_WRONG_SHAPES, _RIGHT_SHAPES = 0.84, 0.93
"""Share of neighbors that stand to each other as their letters should. Sound fonts reach 0.97 and more, letters at
random 0.6; a page half of which is wrong 0.8."""
_STEP = 0.13
"""Of the higher one's height, by which two letters end at different heights."""

_COMMON = {
    # script -> its letters that make up half to three quarters of all text, in each of its languages; least share
    "LATIN": (frozenset("eaintorsl"), 0.42),
    "CYRILLIC": (frozenset("оеаинтрслв"), 0.40),
    "GREEK": (frozenset("αοιετσςνηυρ"), 0.42),
    "ARABIC": (frozenset("اليمنوريرتی"), 0.35),
    "HEBREW": (frozenset("יוהלאמרתבש"), 0.35),
}
_MOST_ACCENTED = 0.6
"""Of Latin letters; in Vietnamese a third carries accents. More are bytes of another script, read as Latin-1."""
_NARROW = 96
"""Code points; real text of thousands of signs is spread wider than an alphabet."""
_PLAIN_SIGNS = frozenset(".,_-–—…·|=*•:;'\"()[]/\\ \t\r\n+")
"""Of leaders, rules, tables and formulas: no page is doubted for these."""
_SAMPLE = 4_000

_MOST_SIGNS = 0.3
"""Of all characters, where shapes say nothing; code has fewer."""
_MOST_DIGITS = 0.15
"""Of letters and digits; with more it is no prose, whose letters are spread alike."""

Shapes = NDArray[np.int8]
"""By code point: 0 unknown, 1 as high as an x, 2 higher, 3 as high as an x and below the line."""


def _shapes(small: str, tall: str, deep: str) -> Shapes:
    table = np.zeros(0x500, np.int8)
    for letters, shape in ((small, 1), (tall, 2), (deep, 3)):
        table[[ord(letter) for letter in letters]] = shape
    return table


_LETTERS = _shapes(
    "acemnorsuvwxz" + "асеорхгмнптзвикклшчьъэю",
    "bdhkl" + "ABCDEFGHIKLMNOPRSTUVWXYZ" + "АБВГЕЖЗИКЛМНОПРСТУХЧШЭЮЯ",
    "gpqy" + "ру",
)
_DIGITS = _shapes("", "0123456789", ""), _shapes("012", "68", "34579")
"""Of a height, or old-style figures."""


def is_unfit(text: str, chars: LayerChars) -> bool:
    """text: of chars, put in order; both as far as they are visible."""
    counts = {char: count for char, count in Counter(text).items() if not char.isspace()}
    if not counts:
        return False
    unmapped = int((chars.codes == 0).sum()) + sum(counts[char] for char in counts if is_unmapped(char))
    if unmapped >= _MOST_UNMAPPED * sum(counts.values()):
        return True
    if _is_narrow(counts):
        return True
    digits = [shape_agreement(chars, shapes) for shapes in _DIGITS]
    if all(share is not None and share < _WRONG_SHAPES for share in digits):
        return True
    letters = shape_agreement(chars)
    if letters is not None and not _WRONG_SHAPES <= letters < _RIGHT_SHAPES:
        return letters < _WRONG_SHAPES
    return is_odd([char for char in text if not char.isspace()][:_SAMPLE])


def is_unmapped(char: str) -> bool:
    """Whether it can be no letter that a font draws. U+0002 and U+FFFE are PDFium's hyphens."""
    if " " <= char <= "~":
        return False
    return char not in "\x02\ufffe" and (char == "\ufffd" or unicodedata.category(char) in ("Cc", "Co", "Cn", "Cs"))


def is_odd(marks: list[str]) -> bool:
    """Whether characters are spread as in no language: one alone, signs for letters, or a script's rare letters."""
    of_marks = Counter(marks)
    bare = Counter[str]()
    for char, count in of_marks.items():
        bare[unicodedata.normalize("NFKD", char)[0].casefold()[:1]] += count
    counts = {char: count for char, count in bare.items() if char.isalpha()}
    others = sum(n for char, n in bare.items() if unicodedata.category(char)[0] in "SPC" and char not in _PLAIN_SIGNS)
    if others >= _FEWEST_LETTERS and others > _MOST_SIGNS * len(marks):
        return True
    letters = sum(counts.values())
    if letters < _FEWEST_LETTERS:
        return False
    if max(counts.values()) > 0.5 * letters:
        return True
    scripts = Counter[str]()
    by_letter = {letter: unicodedata.name(letter, "NONE").split()[0].split("-")[0] for letter in counts}
    for letter, count in counts.items():
        scripts[by_letter[letter]] += count
    script = max(scripts, key=lambda name: scripts[name])
    if scripts[script] < _FEWEST_LETTERS:
        return False
    of_script = {letter: count for letter, count in counts.items() if by_letter[letter] == script}
    if script in _COMMON:
        digits = sum(count for char, count in bare.items() if char.isdigit())
        if digits > _MOST_DIGITS * (letters + digits):
            return False
        common, least = _COMMON[script]
        share = sum(count for letter, count in of_script.items() if letter in common) / scripts[script]
        if share < least:
            return True
        accented = sum(
            n for char, n in of_marks.items() if char > "\x7f" and not unicodedata.normalize("NFKC", char).isascii()
        )
        return script == "LATIN" and accented > _MOST_ACCENTED * letters
    return False


def _is_narrow(counts: dict[str, int]) -> bool:
    """Whether an alphabet's worth of the signs of a script that has thousands is used over and over."""
    wide = {
        ord(char): count for char, count in counts.items() if "\u3400" <= char < "\ua000" or "\uac00" <= char < "\ud7a4"
    }
    if sum(wide.values()) < _FEWEST_LETTERS:
        return False
    codes = np.repeat(list(wide), list(wide.values()))
    return bool((np.abs(codes - int(np.median(codes))) <= _NARROW // 2).mean() > 0.8)


def shape_agreement(chars: LayerChars, shapes: Shapes = _LETTERS) -> float | None:
    """Share of letters that stand to the letter before them as their code points say; None where glyphs are all of a
    height (capitals, fonts without outlines) or too few."""
    codes, boxes = chars.codes, chars.boxes
    shape = np.where(codes < len(shapes), shapes[np.minimum(codes, len(shapes) - 1)], 0)
    where = np.nonzero((shape[1:] > 0) & (shape[:-1] > 0))[0]
    if len(where) < _FEWEST_PAIRS:
        return None
    one, two = boxes[where].astype(np.float64), boxes[where + 1].astype(np.float64)
    dx, dy = ((two[:, k] + two[:, k + 2] - one[:, k] - one[:, k + 2]) / 2 for k in (0, 1))
    across = np.abs(dx) >= np.abs(dy)
    # the side to which letters rise and the one to which they fall, for lines that run any of four ways
    rises = (
        np.where(across, np.where(dx > 0, -one[:, 1], one[:, 3]), np.where(dy > 0, one[:, 2], -one[:, 0])),
        np.where(across, np.where(dx > 0, -two[:, 1], two[:, 3]), np.where(dy > 0, two[:, 2], -two[:, 0])),
    )
    falls = (
        np.where(across, np.where(dx > 0, one[:, 3], -one[:, 1]), np.where(dy > 0, -one[:, 0], one[:, 2])),
        np.where(across, np.where(dx > 0, two[:, 3], -two[:, 1]), np.where(dy > 0, -two[:, 0], two[:, 2])),
    )
    height = np.maximum(rises[0] + falls[0], rises[1] + falls[1])
    gap = np.where(across, np.abs(dx), np.abs(dy))
    near = (height > 0) & (gap > 0) & (gap < 2.5 * height) & (np.minimum(rises[0] + falls[0], rises[1] + falls[1]) > 0)
    if near.sum() < _FEWEST_PAIRS:
        return None
    first, second = shape[where][near], shape[where + 1][near]
    up = ((rises[1] - rises[0])[near] / height[near]).astype(np.float64)
    down = ((falls[1] - falls[0])[near] / height[near]).astype(np.float64)
    stepped = (np.abs(up) > _STEP) | (np.abs(down) > _STEP)
    if stepped.mean() < 0.15:
        return None
    agrees = (_sign(up) == (second == 2).astype(int) - (first == 2)) & (
        _sign(down) == (second == 3).astype(int) - (first == 3)
    )
    return float(agrees.mean())


def _sign(steps: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(np.abs(steps) > _STEP, np.sign(steps), 0).astype(np.int64)
