"""Whether a page or picture shows anything at all. Runs in a decoder child."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.prompts.rgb import RGB, channels_of

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
    height, width = pixels.shape[:2]
    channels = channels_of(pixels)
    count = channels.shape[2]
    most_steps = _MANY_STEPS * count // 3
    rows = channels[::8]
    for some in (rows[::8], rows):  # a page of print shows it in few
        if np.count_nonzero(_apart(some[:, 1:], some[:, :-1]) > _GRAIN) > most_steps:
            return False
    sample = rows[:, ::8]
    background = np.median(sample.reshape(-1, count), axis=0).astype(np.uint8)
    flat = bool((_apart(sample, background).max(axis=2) <= _FLAT).mean() >= _FLAT_SHARE)
    around = np.tile(background, width) if flat else _surroundings(channels).reshape(height, -1)
    differs = _apart(channels.reshape(height, -1), around) > (_FAINT if flat else _GRAIN)
    if np.count_nonzero(differs) > count * _MANY_PIXELS:
        return False
    pixel = np.flatnonzero(differs) // count  # in any of the channels: dark yellow and white differ in blue alone
    foreground = pixel[np.flatnonzero(np.diff(pixel, prepend=-1))]  # each once: they are in order
    smallest = max(_PRINT_SHARE * max(height, width), _PRINT_PX)
    return len(foreground) <= _MANY_PIXELS and _largest(foreground // width, foreground % width) < smallest


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    apart: NDArray[np.uint8] = np.maximum(one, other) - np.minimum(one, other)
    return apart


def _surroundings(channels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle color of each block of the picture, as large as the picture: [height, width, 1 or 3]."""
    height, width, count = channels.shape
    rows, columns = -(-height // _BLOCK_PX), -(-width // _BLOCK_PX)
    side = _BLOCK_PX // 4
    few = channels[::4, ::4]
    if few.shape[:2] != (rows * side, columns * side):
        few = np.pad(few, ((0, rows * side - few.shape[0]), (0, columns * side - few.shape[1]), (0, 0)), mode="edge")
    blocks = few.reshape(rows, side, columns, side, count).swapaxes(1, 2).reshape(rows, columns, -1, count)
    middle = np.median(blocks, axis=2).astype(np.uint8)
    return np.repeat(np.repeat(middle, _BLOCK_PX, 1)[:, :width], _BLOCK_PX, 0)[:height]


def _largest(y: NDArray[np.int64], x: NDArray[np.int64]) -> int:
    """Pixels of the longer side of the longest thing in them, which holds at least as many of them."""
    left = set(zip(y.tolist(), x.tolist(), strict=True))
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
