"""Foreground on background: what differs from the background around it, and its connected components. Works on numpy
arrays alone.

Source: components by runs (He, Chao, Suzuki: run-based two-scan labelling).

Shapes: H, W pixels of the page; n components. Boxes are [x0, y0, x1, y1] in pixels, ends excluded.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Gray: TypeAlias = NDArray[np.uint8]  # [H, W]
Boxes: TypeAlias = NDArray[np.int64]  # [n, 4]

_BLOCK_PX = 48
_LEAST_CONTRAST = 28
_STROKE = 0.45  # of a letter's lesser side: thicker than a stroke of any type, and than where two of a bold k meet
_LEAST_STEP = 6  # of brightness from a pixel to the next, across the softest edge of a letter
_CUT = 0.15


def background_of(gray: Gray) -> Gray:
    """Brightness of the background under every pixel, [H, W]: medians of blocks, since foreground never fills half of
    one."""
    height, width = gray.shape
    rows, columns = -(-height // _BLOCK_PX), -(-width // _BLOCK_PX)
    padded = np.pad(gray, ((0, rows * _BLOCK_PX - height), (0, columns * _BLOCK_PX - width)), mode="edge")
    blocks = padded.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX).swapaxes(1, 2).reshape(rows, columns, -1)
    medians = np.median(blocks[:, :, ::7], axis=2)
    # a block full of a headline's strokes is outvoted by its neighbors
    around = np.pad(medians, 1, mode="edge")
    nine = [around[dy : dy + rows, dx : dx + columns] for dy in range(3) for dx in range(3)]
    smooth = np.median(np.stack(nine), axis=0).astype(np.uint8)
    return np.repeat(np.repeat(smooth, _BLOCK_PX, 0), _BLOCK_PX, 1)[:height, :width]


def foreground_of(gray: Gray, background: Gray) -> NDArray[np.bool_]:
    """Where the page differs from its background, in either direction; threshold by Otsu's method."""
    difference = np.abs(gray.astype(np.int16) - background).astype(np.uint8)
    counts = np.bincount(difference[difference >= _LEAST_CONTRAST // 2], minlength=256).astype(np.float64)
    if counts.sum() == 0:
        return np.zeros(gray.shape, np.bool_)
    mass = counts.cumsum()
    moment = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (moment[-1] * mass / mass[-1] - moment) ** 2 / (mass * (mass[-1] - mass))
    threshold = int(np.nanargmax(np.where(np.isfinite(between), between, -1)))
    foreground: NDArray[np.bool_] = difference > min(max(threshold, _LEAST_CONTRAST), 110)
    return foreground


def components(foreground: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Boxes, NDArray[np.int64]]:
    """Connected foreground (8 neighbors): label of every pixel (0: background), box and area by label; row 0 is
    empty."""
    height, width = foreground.shape
    edges = np.diff(np.pad(foreground, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    count = len(rows)
    if count == 0:
        return np.zeros(foreground.shape, np.int32), np.zeros((1, 4), np.int64), np.zeros(1, np.int64)
    stride = width + 3
    # runs of the next row that touch this one: a range, since both are sorted
    first = np.searchsorted(rows * stride + ends, (rows + 1) * stride + starts, "left")
    last = np.searchsorted(rows * stride + starts, (rows + 1) * stride + ends, "right")
    touching = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(count), touching)
    lower = np.repeat(first, touching) + np.arange(len(upper)) - np.repeat(touching.cumsum() - touching, touching)
    root = connected(count, upper, lower)
    _, label = np.unique(root, return_inverse=True)
    label = label + 1
    boxes = np.zeros((int(label.max()) + 1, 4), np.int64)
    boxes[1:, :2] = max(height, width)
    np.minimum.at(boxes[:, 0], label, starts)
    np.minimum.at(boxes[:, 1], label, rows)
    np.maximum.at(boxes[:, 2], label, ends)
    np.maximum.at(boxes[:, 3], label, rows + 1)
    areas = np.bincount(label, weights=ends - starts, minlength=len(boxes)).astype(np.int64)
    # paint runs: +label where one starts, -label behind its end
    painted = np.zeros((height, width + 1), np.int32)
    np.add.at(painted, (rows, starts), label)
    np.add.at(painted, (rows, ends), -label)
    return painted.cumsum(axis=1)[:, :width].astype(np.int32), boxes, areas


def connected(count: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Least index of each one's connected component."""
    root = np.arange(count)
    while True:
        least = np.minimum(root[one], root[other])
        after = root.copy()
        np.minimum.at(after, root[one], least)
        np.minimum.at(after, root[other], least)
        after = after[after]
        if np.array_equal(after, root):
            return root
        root = after


def is_solid(labels: NDArray[np.int32], label: int, box: NDArray[np.int64], background: Gray) -> bool:
    """Whether a component is as large as a headline's letter and holds a square that no stroke is thick enough for."""
    x0, y0, x1, y1 = (int(side) for side in box)
    width, height = x1 - x0, y1 - y0
    if height < 24 or width < 0.5 * height:
        return False
    here = background[y0:y1, x0:x1].astype(np.int16)
    # amid a large shape its own color passes for background
    around = np.median(np.concatenate([here[0], here[-1], here[:, 0], here[:, -1]]))
    shape = (labels[y0:y1, x0:x1] == label) | (np.abs(here - around) > _LEAST_CONTRAST)
    sums = np.pad(shape, ((1, 0), (1, 0))).cumsum(0, dtype=np.int32).cumsum(1)
    side = int(_STROKE * min(width, height)) + 1
    inside = sums[side:, side:] - sums[side:, :-side] - sums[:-side, side:] + sums[:-side, :-side]
    return bool(inside.max(initial=0) == side**2)


def is_cut_off(labels: NDArray[np.int32], label: int, box: NDArray[np.int64], gray: Gray) -> bool:
    """Whether some of a component's edge is none of the picture's: amid a large shape `background_of` sees its color
    as background, and what is left of the shape ends where a block does."""
    x0, y0, x1, y1 = (int(side) for side in box)
    around = slice(max(0, y0 - 1), y1 + 1), slice(max(0, x0 - 1), x1 + 1)
    shape, here = labels[around] == label, gray[around].astype(np.int16)
    edges = faint = 0
    for axis in (0, 1):
        edge = np.diff(shape, axis=axis)
        edges += int(edge.sum())
        faint += int((edge & (np.abs(np.diff(here, axis=axis)) < _LEAST_STEP)).sum())
    return faint > _CUT * edges
