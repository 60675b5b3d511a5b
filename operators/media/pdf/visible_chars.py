"""Which characters of a page's own text its picture shows, and which it shows twice.

Nothing here interprets how a page is drawn. Where there is contrast within a character's box, something is to be seen;
that one look at the picture covers text beyond the page, in hidden layers, clipped away, covered, invisible, and white
on white. An invisible layer over a scan stays: there is print where it stands.

N: characters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.prompts.rgb import RGB, channels_of
from operators.media.pdf.layer_chars import LayerChars, by_rows

_CONTRAST = 16
"""Steps of 255 in one channel within a character's box; print of 6 points in light gray (#dcdcdc) has more."""
_COLUMNS, _ROWS = 6, 8
_MOST_LARGE = 2_000
"""Boxes that are looked at whole, 10 us each."""
_MOST_SHARE, _LEAST_SHARE = 0.5, 0.2
"""Of a word's characters: where as many show contrast all are visible, as a full stop on the edge of a pixel; where
fewer do none is, as words under a bar whose edge runs through one of them."""
_SAME_PLACE, _SHADOW = 0.15, 0.35
"""Of a word's height, by which two drawings of one letter lie apart at most, since two letters of a word lie farther;
and two drawings of a whole word, one of which is the other's shadow."""


def visible(chars: LayerChars, pixels: RGB) -> NDArray[np.bool_]:
    """[N]; blanks are."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = chars.boxes.T
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    letters = ~chars.blanks
    on_page = letters & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if not on_page.any():
        return ~letters
    shown = on_page.copy()
    placed = (x0 != x1) | (y0 != y1)  # all else is of fonts without outlines: nothing speaks against it
    where = np.nonzero(on_page & placed)[0]
    shown[where] = _contrast(chars.boxes[where], pixels, 0)
    words, starts = chars.words
    sizes = np.add.reduceat(letters, starts)
    where = np.nonzero(on_page & ~shown & (sizes[words] <= 2))[0]  # a bar or a full stop fills its box
    shown[where] = _contrast(chars.boxes[where], pixels, 1)
    share = (np.add.reduceat(shown, starts) / np.maximum(sizes, 1))[words]
    seen: NDArray[np.bool_] = on_page & ((shown & (share >= _LEAST_SHARE)) | (share >= _MOST_SHARE))
    return seen | ~letters


def _contrast(boxes: NDArray[np.float32], pixels: RGB, margin: int) -> NDArray[np.bool_]:
    """[N]: whether the picture differs within each box, at the points of a grid. margin: pixels around it."""
    height, width = pixels.shape[:2]
    channels = channels_of(pixels)
    count = channels.shape[2]
    flat = channels.reshape(-1, count)
    shown = np.zeros(len(boxes), np.bool_)
    left = np.arange(len(boxes))
    # most letters differ in green, at few points
    for chosen, (across, down) in (((count // 2,), _FEW_POINTS), (range(count), _ALL_POINTS)):
        x0, y0, x1, y1 = boxes[left].T
        x = (x0 - margin + across[:, None] * (x1 - x0 + 2 * margin)).astype(np.int32).clip(0, width - 1)
        y = (y0 - margin + down[:, None] * (y1 - y0 + 2 * margin)).astype(np.int32).clip(0, height - 1)
        points = y * width + x
        for channel in chosen:
            values = flat[:, channel][points]  # [points, characters]
            shown[left] |= (values.max(axis=0) - values.min(axis=0)) >= _CONTRAST
        left = left[~shown[left]]
        if not len(left):
            return shown
    large = (boxes[left, 2] - boxes[left, 0] > _COLUMNS) | (boxes[left, 3] - boxes[left, 1] > _ROWS)
    for index in left[large][:_MOST_LARGE]:  # thin strokes of large print may pass between the points
        x0, y0, x1, y1 = (max(int(side), 0) for side in boxes[index])
        area = channels[y0 : y1 + 1, x0 : x1 + 1]
        if area.size:
            shown[index] = bool((np.ptp(area.reshape(-1, count), axis=0) >= _CONTRAST).any())
    return shown


def _points(step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of a grid in a box every so many, spread over its columns and rows, as shares of its sides, across and down."""
    down, across = (axis.ravel() for axis in np.mgrid[0:_ROWS, 0:_COLUMNS])
    chosen = (across + 2 * down) % step == 0
    return (across[chosen] / (_COLUMNS - 1)).astype(np.float32), (down[chosen] / (_ROWS - 1)).astype(np.float32)


_FEW_POINTS, _ALL_POINTS = _points(10), _points(1)


def drawn_again(chars: LayerChars) -> NDArray[np.bool_]:
    """[N]: whether the same is drawn at the same place before, as bold print and shadows are faked: single letters
    within a word, or words as a whole."""
    again = np.zeros(len(chars), np.bool_)
    words, starts = chars.words
    placed = chars.boxes[:, 3] > chars.boxes[:, 1]
    where = np.nonzero(placed)[0]
    if len(where) < 2:
        return again
    tallest = np.maximum.reduceat(chars.boxes[:, 3] - chars.boxes[:, 1], starts)
    one, two = _same_place(chars.only(where), np.maximum(_SHADOW * tallest[words[where]], 0.5))
    first, second = where[np.minimum(one, two)], where[np.maximum(one, two)]
    apart = np.abs(chars.boxes[first] - chars.boxes[second]).reshape(-1, 2, 2).mean(axis=1).max(axis=1)
    within = words[first] == words[second]
    near = ~within | (apart <= np.maximum(_SAME_PLACE * tallest[words[second]], 0.5))
    first, second, within = first[near], second[near], within[near]
    if not len(second):
        return again
    again[second[~within]] = True
    share = np.add.reduceat(again, starts) / np.maximum(np.add.reduceat(placed, starts), 1)
    again = placed & (share >= _MOST_SHARE)[words]
    again[second[within]] = True
    return again


def _same_place(chars: LayerChars, near: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of equal characters that lie as near to each other, pixels [N]."""
    x = (chars.boxes[:, 0] + chars.boxes[:, 2]) / 2
    y = (chars.boxes[:, 1] + chars.boxes[:, 3]) / 2
    codes = chars.codes.astype(np.int64)
    row_height = max(float(np.median(near)) / _SHADOW, 4.0)
    # two that lie close fall into one row of one of these
    rows = np.floor(y / row_height + np.array([[0.0], [0.5]], y.dtype)).astype(np.int64)
    order = by_rows(np.argsort(x, kind="stable"), rows, codes)
    one = np.concatenate([order[:, :-1], order[:, :-2]], axis=1).ravel()
    two = np.concatenate([order[:, 1:], order[:, 2:]], axis=1).ravel()
    same = codes[one] == codes[two]
    one, two = one[same], two[same]
    dx, dy = np.abs(x[one] - x[two]), np.abs(y[one] - y[two])
    # a glyph that stands for both letters of a word is one drawing
    ligature = (dx == 0) & (dy == 0) & (np.abs(one - two) <= 2)
    close = (dx <= near[two]) & (dy <= near[two]) & ~ligature
    return one[close], two[close]
