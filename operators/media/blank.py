"""Whether a page or picture shows anything at all. Runs in a decoder child."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.prompts.rgb import RGB

_GRAIN = 40
"""Steps of 255 in one channel by which foreground differs from its background; less is the grain of a scan."""
_FLAT, _FLAT_SHARE, _FAINT = 2, 0.9, 20
"""On a background without grain, as no scanner gives it, less is print too."""
_BLOCK_PX = 32
"""The background of a scan is the middle color of its surroundings: a shadow at the gutter is no print."""
_PRINT_SHARE, _PRINT_PX = 0.0052, 4.0
"""Length of the smallest thing that counts, as a share of the picture's longer side, and at least in pixels: an i of 9
points on a page. Dust is smaller."""
_GAP_PX = 2
"""Between pieces of one thing, as an i and its dot."""
_MANY_STEPS, _MANY_PIXELS = 300, 5_000
"""No dust makes as many sharp steps in every eighth row, or as much foreground."""


def is_blank(pixels: RGB) -> bool:
    """Nothing but background, its grain and shadows, and dust: [height, width, 3] at the size that the model sees."""
    rows = pixels[::8]
    steps = np.maximum(rows[:, 1:], rows[:, :-1]) - np.minimum(rows[:, 1:], rows[:, :-1])
    if np.count_nonzero(steps > _GRAIN) > _MANY_STEPS:
        return False
    sample = rows[:, ::8]
    background = np.median(sample.reshape(-1, 3), axis=0).astype(np.uint8)
    if (_difference(sample, background) <= _FLAT).mean() >= _FLAT_SHARE:
        foreground = _difference(pixels, background) > _FAINT
    else:
        foreground = _difference(pixels, _surroundings(pixels)) > _GRAIN
    smallest = max(_PRINT_SHARE * max(pixels.shape[:2]), _PRINT_PX)
    return int(np.count_nonzero(foreground)) <= _MANY_PIXELS and _largest(foreground) < smallest


def _difference(pixels: RGB, background: RGB) -> NDArray[np.uint8]:
    """The largest of the channels': dark yellow and white differ in blue alone."""
    largest: NDArray[np.uint8] = (np.maximum(pixels, background) - np.minimum(pixels, background)).max(axis=2)
    return largest


def _surroundings(pixels: RGB) -> RGB:
    """The middle color of each block of the picture, as large as the picture."""
    height, width = pixels.shape[:2]
    rows, columns = -(-height // _BLOCK_PX), -(-width // _BLOCK_PX)
    padding = ((0, rows * _BLOCK_PX - height), (0, columns * _BLOCK_PX - width), (0, 0))
    few = np.pad(pixels, padding, mode="edge")[::4, ::4]
    side = _BLOCK_PX // 4
    blocks = few.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(rows, columns, -1, 3)
    middle = np.median(blocks, axis=2).astype(np.uint8)
    return np.repeat(np.repeat(middle, _BLOCK_PX, 0), _BLOCK_PX, 1)[:height, :width]


def _largest(foreground: NDArray[np.bool_]) -> int:
    """Pixels of the longer side of the longest thing in it, which holds at least as many of them."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(foreground)), strict=True))
    near = [(dy, dx) for dy in range(-_GAP_PX, _GAP_PX + 1) for dx in range(-_GAP_PX, _GAP_PX + 1)]
    longest = 0
    while left:
        thing = [left.pop()]
        for y, x in thing:
            joined = [place for dy, dx in near if (place := (y + dy, x + dx)) in left]
            thing += joined
            left.difference_update(joined)
        rows, columns = zip(*thing, strict=True)
        longest = max(longest, min(max(max(rows) - min(rows), max(columns) - min(columns)) + 1, len(thing)))
    return longest
