"""Letters of a page's own text in the order and form in which a person writes them, where their font takes them apart.
Pure.
"""

from __future__ import annotations

import unicodedata

import numpy as np

from operators.media.pdf.layer_chars import LayerChars

_ACCENTS = {
    # drawn beside a letter, as TeX's older fonts do -> what belongs upon it
    **dict.fromkeys("`ˋ", "\u0300"),
    **dict.fromkeys("´ˊ", "\u0301"),
    **dict.fromkeys("^ˆ", "\u0302"),
    **dict.fromkeys("~˜", "\u0303"),
    **dict.fromkeys("¯ˉ", "\u0304"),
    "˘": "\u0306",
    "˙": "\u0307",
    "¨": "\u0308",
    **dict.fromkeys("˚°", "\u030a"),
    "˝": "\u030b",
    "ˇ": "\u030c",
    "¸": "\u0327",
    "˛": "\u0328",
}
_PLAIN = {"ı": "i", "ȷ": "j"}
_REACH = 2
"""Characters between an accent and its letter, of which one may be a blank that the renderer put in."""
_FEWEST_LINES = 3
_CLIMBING = 0.9
"""Share of the lines that stand above the one before."""


def composed(chars: LayerChars) -> str:
    """The text, an accent that stands over or under a letter in one character with it."""
    letters: list[str] = list(_in_order(chars))
    boxes = chars.boxes
    accented = not _ACCENTS.keys().isdisjoint(letters)
    for place in [place for place, letter in enumerate(letters) if letter in _ACCENTS] if accented else []:
        near = range(max(place - _REACH, 0), min(place + _REACH + 1, len(letters)))
        best, best_distance = None, 0.5
        for other in near:
            width = float(boxes[other, 2] - boxes[other, 0])
            if other == place or width <= 0 or len(letters[other]) != 1 or not letters[other].isalpha():
                continue
            off = abs(float(boxes[place, 0] + boxes[place, 2] - boxes[other, 0] - boxes[other, 2])) / 2
            if off / width < best_distance and len(_joined(letters[other], letters[place])) == 1:
                best, best_distance = other, off / width
        if best is not None:
            letters[best] = _joined(letters[best], letters[place])
            for between in range(min(best, place) + 1, max(best, place)):
                letters[between] = letters[between].strip()
            letters[place] = ""
    return _downward(letters, chars)


def _downward(letters: list[str], chars: LayerChars) -> str:
    """The lines from the top of the page, or of print that runs up or down it: from turned pages PDFium gives them in
    reverse. Only where they climb on the whole page: in what order a file has its blocks is no fault."""
    boxes = chars.boxes
    inked = np.nonzero(boxes[:, 2] > boxes[:, 0])[0]
    ends = [place for place in np.nonzero((chars.codes == 0x0A) | (chars.codes == 0x0D))[0].tolist() if letters[place]]
    bounds = np.array([-1, *ends, len(letters)])
    reached = np.searchsorted(inked, bounds)
    lines = np.nonzero(np.diff(reached))[0]  # that show something
    if len(lines) < _FEWEST_LINES:
        return "".join(letters)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    starts = middles[inked[reached[lines]]]
    across, along = (middles[inked[reached[lines + 1] - 1]] - starts).sum(axis=0, dtype=np.float64)
    steps = np.diff(starts, axis=0)
    # to the right, or up the page: the next line is further down, or to the right
    down = steps[:, 1] if abs(across) >= abs(along) else -np.sign(along) * steps[:, 0]
    if (down < 0).mean() <= _CLIMBING:
        return "".join(letters)
    return "\n".join("".join(letters[bounds[line] + 1 : bounds[line + 1]]) for line in reversed(lines))


def _joined(letter: str, accent: str) -> str:
    return unicodedata.normalize("NFC", _PLAIN.get(letter, letter) + _ACCENTS[accent])


def _in_order(chars: LayerChars) -> str:
    """Of a glyph that stands for several letters of a script that runs to the left (lam with alef), PDFium gives these
    in the order of the page; they are put in the order of the text."""
    text = chars.text()
    right_to_left = np.nonzero((chars.codes >= 0x590) & (chars.codes < 0x900))[0]
    if len(right_to_left) < 2:
        return text
    letters = list(text)
    same_glyph = (chars.boxes[1:] == chars.boxes[:-1]).all(axis=1)
    here = np.zeros(len(letters), np.bool_)
    here[right_to_left] = True
    same_glyph &= here[1:] & here[:-1] & (chars.boxes[1:, 2] > chars.boxes[1:, 0])
    start = 0
    while start < len(same_glyph):
        end = start
        while end < len(same_glyph) and same_glyph[end]:
            end += 1
        if end > start:
            letters[start : end + 1] = letters[start : end + 1][::-1]
        start = end + 1
    return "".join(letters)
