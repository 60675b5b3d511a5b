"""Which of two texts is to be seen where both stand at one place: one may be in a layer that is off, covered by a box
on which the other was written, or invisible.

Each is drawn alone and compared with the page's picture. That is dear, and done only where words lie on words.

N: characters.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pypdfium2.raw as pdfium
from numpy.typing import NDArray

from model.prompts.rgb import RGB
from operators.media.pdf.layer_chars import Layer, LayerChars, by_rows

_LINES, _UNDER, _FEW = 1.4, 0.4, 0.1
"""Words for each pixel of the middle of a word's box, from which it is contested; those that are seen, from which one
that is not lies under them; of all invisible ones, as many as may do so by chance."""
_FEWEST, _NARROWEST = 4, 0.2
"""Letters that stand where others do, from which a page is looked at; in heights of a letter, how near that is."""
_MOST_OBJECTS, _MOST_PIXELS = 400, 4_000_000
_NEAR = 90
"""Steps of 255 between a color and the same with soft edges."""
_SHOWN = 0.55
"""Share of an object's pixels that the picture shows; those of a hidden one are met by a quarter, by chance."""
_OFF = 4
"""Pixels by which letters stand out of their object's box at most."""
_SEEN, _UNSEEN, _INVISIBLE = range(3)


def unseen(layer: Layer, chars: LayerChars, pixels: RGB) -> NDArray[np.bool_]:
    """[N]: whether something else is seen in its place."""
    letters = ~chars.blanks
    hidden = np.zeros(len(chars), np.bool_)
    if _meetings(chars.only(letters)) < _FEWEST:
        return hidden
    words, starts = chars.words
    bands = _bands(chars, starts)
    contested = (_covered(bands, np.ones(len(starts), np.bool_), pixels.shape[:2]) >= _LINES)[words] & letters
    if not contested.any():
        return hidden
    drawn = np.full(len(chars), _SEEN)
    drawn[letters] = _drawn(layer, chars.only(letters), pixels)
    invisible = drawn == _INVISIBLE
    seen_words = np.bincount(words[letters], drawn[letters] == _SEEN, len(starts)) > 0
    under = (_covered(bands, seen_words, pixels.shape[:2]) >= _UNDER)[words]
    # an invisible layer that reads a picture lies on no other words, but for some
    copy = (invisible & under).sum() > _FEW * invisible.sum()
    hidden[:] = letters & ((drawn == _UNSEEN) | (invisible & (under | copy)))
    return hidden


def _meetings(chars: LayerChars) -> int:
    """How many letters stand where another does: nearer than the narrowest letters of a word, and not of one glyph."""
    sides = chars.boxes[:, 2:] - chars.boxes[:, :2]
    if not sides.any():
        return 0
    height = float(np.median(sides[:, 1][sides[:, 1] > 0]))
    x, y = (chars.boxes[:, :2] + chars.boxes[:, 2:]).T / 2
    row = np.floor(y / height).astype(np.int64)
    order = by_rows(np.argsort(x, kind="stable"), row)
    one, two = order[:-1], order[1:]
    near = (row[one] == row[two]) & (x[two] - x[one] < _NARROWEST * height)
    one, two = one[near], two[near]
    return int(((sides[one] > 0).any(axis=1) & (chars.boxes[one] != chars.boxes[two]).any(axis=1)).sum())


def _bands(chars: LayerChars, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The middle half of each word's box, which no neighboring line reaches: x0, y0, x1, y1."""
    boxes = chars.boxes.copy()
    boxes[chars.blanks] = (np.inf, np.inf, -np.inf, -np.inf)
    low = np.minimum.reduceat(boxes[:, :2], starts)
    high = np.maximum.reduceat(boxes[:, 2:], starts)
    wide = (high - low)[:, 0] >= (high - low)[:, 1]
    quarter = np.where(np.isfinite(high), (high - low) / 4, 0)
    quarter[wide, 0] = 0
    quarter[~wide, 1] = 0
    bands = np.concatenate([low + quarter, high - quarter], axis=1)
    return np.where(np.isfinite(bands), bands, 0).clip(0, 100_000).astype(np.int64)


def _covered(bands: NDArray[np.int64], by: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float64]:
    """Of each band, how many of the chosen ones lie on one of its pixels, on average."""
    counts = np.zeros(size, np.uint8)
    for x0, y0, x1, y1 in bands[by].tolist():
        counts[y0 : y1 + 1, x0 : x1 + 1] += counts[y0 : y1 + 1, x0 : x1 + 1] < 255
    areas = [counts[y0 : y1 + 1, x0 : x1 + 1] for x0, y0, x1, y1 in bands.tolist()]
    return np.array([area.mean() if area.size else 0.0 for area in areas])


def _drawn(layer: Layer, chars: LayerChars, pixels: RGB) -> NDArray[np.int64]:
    """[N]: of the object that draws it, _SEEN, _UNSEEN or _INVISIBLE."""
    handles = [pdfium.FPDFText_GetTextObject(layer.text, place) for place in chars.places.tolist()]
    addresses = np.array([ctypes.cast(handle, ctypes.c_void_p).value or 0 for handle in handles], np.uint64)
    _, firsts, objects = np.unique(addresses, return_index=True, return_inverse=True)
    states = np.full(len(firsts), _SEEN)
    pixels_left = _MOST_PIXELS
    for number, first in enumerate(firsts[:_MOST_OBJECTS].tolist()):
        if addresses[first] and pixels_left > 0:
            boxes = chars.boxes[objects == number]
            around = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
            states[number], area = _compared(layer, handles[first], around, pixels)
            pixels_left -= area
    return states[objects]


def _compared(layer: Layer, drawn: object, around: tuple[float, float, float, float], pixels: RGB) -> tuple[int, int]:
    """Whether the picture shows a text object, and how many pixels that took. around: the box of its letters; where
    it is not in the object's, that is part of a larger thing of which PDFium does not say where it stands."""
    sides = [ctypes.c_float() for _ in range(4)]
    pdfium.FPDFPageObj_GetBounds(drawn, *sides)
    left, bottom, right, top = (side.value for side in sides)
    x0, y0, x1, y1 = layer.in_pixels(np.array([[left, right, bottom, top]]))[0].tolist()
    across = y1 - y0 if layer.rotation % 180 else x1 - x0
    inside = x0 - _OFF <= around[0] and around[2] <= x1 + _OFF and y0 - _OFF <= around[1] and around[3] <= y1 + _OFF
    if right <= left or not 0 < (x1 - x0) * (y1 - y0) <= _MOST_PIXELS or not inside:
        return _SEEN, 0
    bitmap = pdfium.FPDFTextObj_GetRenderedBitmap(layer.page.pdf, layer.page, drawn, across / (right - left))
    if not bitmap:
        return _INVISIBLE, 0
    try:
        height, stride = pdfium.FPDFBitmap_GetHeight(bitmap), pdfium.FPDFBitmap_GetStride(bitmap)
        buffer = ctypes.cast(pdfium.FPDFBitmap_GetBuffer(bitmap), ctypes.POINTER(ctypes.c_ubyte))
        bgra = np.ctypeslib.as_array(buffer, (height, stride)).reshape(height, -1, 4)
        bgra = np.rot90(bgra[:, : pdfium.FPDFBitmap_GetWidth(bitmap)].copy(), -layer.rotation // 90 % 4)
    finally:
        pdfium.FPDFBitmap_Destroy(bitmap)
    rows, columns = np.nonzero(bgra[..., 3] > 200)
    if not len(rows):
        return _INVISIBLE, bgra.size // 4
    colors = bgra[rows, columns, 2::-1].astype(np.int16)
    # it is drawn from a whole pixel on
    ys = [(rows + int(y0) + dy).clip(0, pixels.shape[0] - 1) for dy in (-1, 0, 1, 2)]
    xs = [(columns + int(x0) + dx).clip(0, pixels.shape[1] - 1) for dx in (-1, 0, 1, 2)]
    shown = any((np.abs(pixels[y, x] - colors).max(axis=1) < _NEAR).mean() >= _SHOWN for y in ys for x in xs)
    return _SEEN if shown else _UNSEEN, bgra.size // 4
