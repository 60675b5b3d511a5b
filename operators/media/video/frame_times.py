"""Which frames of a video are looked at: uniform in presentation time. Pure arithmetic over timestamps."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

MIN_CLIP_S = 1.0
"""A last clip shorter than this is joined to the one before."""
LABEL_S = 0.1
"""A frame is shown under its own time where that lies at most so long before the wanted one, else under the wanted
time: prompts give times to a tenth of a second, and frames of a uniform rate keep theirs."""
HOLD_S = 600.0
"""A frame is not shown again when it has been on screen for longer."""
_SAME_S = 1e-6
"""Times closer than this are the same: below any time base in use (90 kHz, 1 ns rounding of mkv)."""


def clip_bounds(times_s: Sequence[float], end_s: float, clip_s: float) -> list[tuple[float, float]]:
    """[start, end) of the clips of a video that ends then, in seconds; all but the last are clip_s long. Only clips in
    which a frame begins: a frame that stays for hours, or a jump of the clock, gives no others.

    times_s: when each frame begins, ascending.
    """
    count = max(1, math.ceil((end_s - _SAME_S) / clip_s))
    if count > 1 and end_s - (count - 1) * clip_s < min(MIN_CLIP_S, clip_s / 2):
        count -= 1
    clips: list[tuple[float, float]] = []
    at = 0
    while at < len(times_s):
        number = min(count - 1, max(0, math.floor((times_s[at] + _SAME_S) / clip_s)))
        end = end_s if number == count - 1 else (number + 1) * clip_s
        clips.append((number * clip_s, end))
        at = len(times_s) if number == count - 1 else max(at + 1, bisect_left(times_s, end - _SAME_S))
    return clips


def targets(start_s: float, end_s: float, fps: float) -> list[float]:
    """start + k / fps, as long as it lies before the end; at least the start itself."""
    count = max(1, math.ceil((end_s - start_s) * fps - _SAME_S))
    return [start_s + index / fps for index in range(count)]


def on_screen(times_s: Sequence[float], wanted_s: Sequence[float]) -> list[tuple[int, float]]:
    """(index of the frame on screen, time under which it is shown) for each wanted time from the first frame on; where
    there is none, the first frame at its own time.

    times_s: when each frame begins, ascending. A frame that stays on screen comes again, so that what is shown is never
    farther apart than what is wanted, by more than LABEL_S; but not for more than HOLD_S, and then an even number of
    frames goes before, since models look at them two by two.
    """
    chosen: list[tuple[int, float]] = []
    for wanted in wanted_s:
        index = bisect_right(times_s, wanted + _SAME_S) - 1
        if index < 0:
            continue
        is_new = not chosen or index > chosen[-1][0]
        is_old = wanted - times_s[index] > HOLD_S
        if is_old and (not chosen or (not is_new and len(chosen) % 2 == 0)):
            continue
        keeps_its_time = is_new and 0 <= wanted - times_s[index] <= LABEL_S and times_s[index] >= wanted_s[0]
        chosen.append((index, times_s[index] if keeps_its_time else wanted))
    if not chosen and times_s:
        after = bisect_left(times_s, wanted_s[0])
        index = min(after, len(times_s) - 1)
        chosen.append((index, max(times_s[index], wanted_s[0])))
    return chosen
