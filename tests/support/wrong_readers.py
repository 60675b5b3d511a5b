"""Peers of `sightread bench decode` that are wrong, or do not come back."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

from jobs.bench.decode_readers import PyAV, Shown, Wanted


class OneLate(PyAV):
    """Now and then the frame behind the one on screen, at the right time."""

    def read(self, wanted: Wanted) -> Shown:
        chance = Random(1)
        late = [chance.random() < 0.5 for _ in wanted.times_s]
        times_s = tuple(time_s + 0.04 * is_late for time_s, is_late in zip(wanted.times_s, late, strict=True))
        shown = super().read(replace(wanted, times_s=times_s))
        return [(picture, at_s - 0.04 * is_late) for (picture, at_s), is_late in zip(shown, late, strict=True)]


class WrongTimes(PyAV):
    """The right frames, a second late."""

    def read(self, wanted: Wanted) -> Shown:
        return [(picture, time_s + 1) for picture, time_s in super().read(wanted)]


class Short(PyAV):
    """Without its last frame."""

    def read(self, wanted: Wanted) -> Shown:
        return super().read(wanted)[:-1]


class Failing(PyAV):
    def read(self, wanted: Wanted) -> Shown:
        raise ValueError("no such codec\nand more")


class Dying(PyAV):
    def read(self, wanted: Wanted) -> Shown:
        os._exit(3)


class Missing:
    def __init__(self) -> None:
        raise ImportError("No module named 'rare'")
