"""Which frames of a video are looked at: uniform in presentation time. Pure arithmetic over timestamps."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence

MIN_CLIP_S = 1.0
"""A last clip shorter than this is joined to the one before."""
_SAME_S = 1e-6
"""Times closer than this are the same: below any time base in use (90 kHz, 1 ns rounding of mkv)."""


def clip_bounds(end_s: float, clip_s: float) -> list[tuple[float, float]]:
    """[start, end) of the clips of a video of that length, in seconds; all but the last are clip_s long."""
    count = max(1, math.ceil((end_s - _SAME_S) / clip_s))
    if count > 1 and end_s - (count - 1) * clip_s < min(MIN_CLIP_S, clip_s / 2):
        count -= 1
    edges = [index * clip_s for index in range(count)] + [end_s]
    return list(itertools.pairwise(edges))


def targets(start_s: float, end_s: float, fps: float) -> list[float]:
    """start + k / fps, as long as it lies before the end; at least the start itself."""
    count = max(1, math.ceil((end_s - start_s) * fps - _SAME_S))
    return [start_s + index / fps for index in range(count)]


def shown(times_s: Sequence[float], wanted_s: Sequence[float]) -> list[int]:
    """Index of the frame on screen at each wanted time: the last that began by then, else the first.

    times_s: presentation times, ascending. A frame that would come twice comes once.
    """
    chosen: list[int] = []
    for wanted in wanted_s:
        index = max(0, bisect_right(times_s, wanted + _SAME_S) - 1)
        if not chosen or index > chosen[-1]:
            chosen.append(index)
    return chosen
