"""What is known of a video's frames without decoding any, and its form as text, in which it travels with a unit from
the probe to whoever decodes it. Opens nothing, imports no decoder; the text comes from a child that nobody trusts.

Packets of the stream are numbered from 0 in the order in which they lie in the file, which is that of decoding. What
a packet says of its time may depend on where reading began; its number does not.
"""

from __future__ import annotations

import base64
import json
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import Any

MOST_TEXT = 3 << 20
"""Characters of one index; a longer one is left out, and looked up anew."""
_MOST_JSON = 48 << 20
_MOST_FRAMES = 1 << 22
_MOST_INT = 1 << 62
_NOTES = ("joined", "times_by_rate", "time_gap", "truncated")
MOST_CONCEALED = 3
"""So many lost frames of a GOP a decoder no longer conceals: those that refer to them show what was there before."""
_EARLIER = (1, 2, 4, 8)
"""How many keyframes before the one that is needed are known too: for streams whose keyframes do not show all at
once, and for seeks that land behind them."""


@dataclass(frozen=True)
class Key:
    """A packet from which decoding may begin. number: of the packet. pts, dts: as the file gives them, in its time
    base. pos: byte at which it lies; near: the last byte known at or before it."""

    number: int
    pts: int | None
    dts: int | None
    pos: int | None
    near: int | None


_KEY_FIELDS = ("number", "pts", "dts", "pos", "near")


@dataclass(frozen=True)
class FrameIndex:
    """stream: its index in the file. base: seconds of a tick. origin_s: where times count from. ticks: of the packets
    from number `first` on; of joined recordings they go on from one to the next. hidden: numbers of packets that show
    no frame. by_order: frames come in another order than their packets, and carry no times by which they could be
    sorted: the n-th frame to come out is the one of ticks[n]. damaged: numbers of packets whose frames are damaged, and
    not looked at. lost: how many these are, and how many the file lacks besides, in the time of the clip. notes: of
    INPUT_NOTES."""

    stream: int
    base: Fraction
    origin_s: Fraction
    first: int
    ticks: Sequence[int]
    keys: Sequence[Key]
    hidden: frozenset[int] = frozenset()
    by_order: bool = False
    damaged: frozenset[int] = frozenset()
    lost: int = 0
    notes: frozenset[str] = frozenset()

    @cached_property
    def order(self) -> list[int]:
        """Numbers of the frames that can be looked at, in the order in which they are shown."""
        out = self.hidden | self.damaged
        places: Sequence[int] = range(len(self.ticks))
        if out:
            places = [place for place in places if place + self.first not in out]
        # of frames of one time, the one of the lower number comes first
        return [place + self.first for place in sorted(places, key=self.ticks.__getitem__)]

    @cached_property
    def times_s(self) -> list[float]:
        """When each of `order` begins, in seconds from the origin."""
        return self._seconds(self.order)

    @property
    def begins_s(self) -> float:
        """When the first of `order` begins, in seconds from the origin."""
        return self._seconds(self.order[:1])[0]

    def _seconds(self, numbers: Sequence[int]) -> list[float]:
        over = self.base.denominator * self.origin_s.denominator
        step = self.base.numerator * self.origin_s.denominator
        origin = self.origin_s.numerator * self.base.denominator
        ticks, first = self.ticks, self.first
        return [(ticks[number - first] * step - origin) / over + 0.0 for number in numbers]

    def tick(self, number: int) -> int:
        return self.ticks[number - self.first]

    def key_before(self, number: int, back: int = 0) -> Key | None:
        """The last keyframe that is not shown after the frame of that number, nor decoded after it; or the one so many
        before that. None: the start of the file."""
        at = bisect_right(self.keys, number, key=lambda key: key.number) - 1
        while at >= 0 and self.keys[at].number >= self.first and self.tick(self.keys[at].number) > self.tick(number):
            at -= 1
        return self.keys[at - back] if at - back >= 0 else None

    def part(self, start_s: float, end_s: float) -> FrameIndex:
        """What is needed for the frames that are on screen in [start_s, end_s)."""
        times = self.times_s
        begin = max(0, bisect_right(times, start_s + 1e-6) - 1)
        end = max(begin + 1, bisect_right(times, end_s - 1e-6))
        numbers = self.order[begin:end]
        key = self.key_before(numbers[0] if self.by_order else min(numbers, key=self.tick), 1 if self.by_order else 0)
        low = min(key.number if key else self.first, *numbers)
        high = max(numbers) + 1
        at = bisect_right(self.keys, low, key=lambda key: key.number)
        after = bisect_right(self.keys, high, key=lambda key: key.number)
        keys = [self.keys[at - 1 - back] for back in reversed(_EARLIER) if at - 1 - back >= 0]
        keys += self.keys[max(0, at - 1) : after + 1]  # one behind it: where the order of its last frames ends
        keys = [key for key in keys if key.number < self.first + len(self.ticks)]
        if self.by_order and keys:
            high = max(high, min(keys[-1].number + 1, high + 600))
        window = range(low - self.first, high - self.first)
        return replace(
            self,
            first=low,
            ticks=list(self.ticks[window.start : window.stop]),
            keys=keys,
            hidden=frozenset(number for number in self.hidden if low <= number < high),
            damaged=frozenset(number for number in self.damaged if low <= number < high),
        )

    def packed(self) -> str | None:
        """As text of [!-~]; None where it would be too long."""
        value = {
            "stream": self.stream,
            "base": [self.base.numerator, self.base.denominator],
            "origin": [self.origin_s.numerator, self.origin_s.denominator],
            "first": self.first,
            "ticks": _steps(self.ticks),
            "keys": [_steps([getattr(key, name) for key in self.keys]) for name in _KEY_FIELDS],
            "hidden": sorted(self.hidden),
            "by_order": int(self.by_order),
            "damaged": sorted(self.damaged),
            "lost": self.lost,
            "notes": sorted(self.notes),
        }
        text = base64.b85encode(zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 9)).decode()
        return text if len(text) <= MOST_TEXT else None


def unpacked(text: str | None) -> FrameIndex | None:
    """None for what is none, whatever it is."""
    if text is None or len(text) > MOST_TEXT:
        return None
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b85decode(text), _MOST_JSON)
        if not inflate.eof:
            return None
        return _checked(json.loads(data))
    except (ValueError, KeyError, TypeError, IndexError, zlib.error, RecursionError, ZeroDivisionError, OverflowError):
        return None


def joined(texts: Iterable[str | None], *, truncated: bool) -> str | None:
    """The index of a whole video from those of its clips; None where one has none. truncated: its end is missing."""
    parts = [unpacked(text) for text in texts]
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    first = min(part.first for part in known)
    if max(part.first + len(part.ticks) for part in known) - first > _MOST_FRAMES:
        return None
    ticks: dict[int, int] = {}
    shown: set[int] = set()
    for part in known:
        numbers = range(part.first, part.first + len(part.ticks))
        ticks.update(zip(numbers, part.ticks, strict=True))
        shown.update(number for number in numbers if number not in part.hidden)
    every = range(first, max(ticks) + 1)
    low = min(ticks.values())
    keys = {key.number: key for part in known for key in part.keys}
    full = replace(
        known[0],
        first=first,
        ticks=[ticks.get(number, low) for number in every],
        keys=[keys[number] for number in sorted(keys)],
        hidden=frozenset(number for number in every if number not in shown),
        damaged=frozenset().union(*(part.damaged for part in known)),
        lost=min(sum(part.lost for part in known), _MOST_FRAMES),
        notes=frozenset().union(*(part.notes for part in known)) | ({"truncated"} if truncated else set()),
    )
    return full.packed()


def _checked(value: Any) -> FrameIndex:
    """Raises ValueError, TypeError, KeyError and the like for what is no index."""
    ticks = list(accumulate(_integers(value["ticks"])))
    keys = [_key(*row) for row in zip(*map(_values, value["keys"]), strict=True)]
    first = _integer(value["first"])
    notes = frozenset(value["notes"])
    base, origin_s = (Fraction(*(_integer(part) for part in value[name])) for name in ("base", "origin"))
    numbers = [key.number for key in keys]
    hidden, damaged = (frozenset(_integers(value[name])) for name in ("hidden", "damaged"))
    if (
        not 0 < len(ticks) <= _MOST_FRAMES
        or first < 0
        or base <= 0
        or numbers != sorted({*numbers})
        or any(number < 0 for number in numbers)
        or all(number in hidden or number in damaged for number in range(first, first + len(ticks)))
        or not notes <= {*_NOTES}
        or any(abs(tick) > _MOST_INT for tick in (min(ticks), max(ticks)))
    ):
        raise ValueError("no index of frames")
    return FrameIndex(
        stream=_integer(value["stream"]),
        base=base,
        origin_s=origin_s,
        first=first,
        ticks=ticks,
        keys=keys,
        hidden=hidden,
        by_order=bool(_integer(value["by_order"])),
        damaged=damaged,
        lost=min(max(0, _integer(value["lost"])), _MOST_FRAMES),
        notes=notes,
    )


def _key(number: int | None, *places: int | None) -> Key:
    pts, dts, pos, near = places
    return Key(_integer(number), pts, dts, pos, near)


def _steps(values: Sequence[int | None]) -> list[int | None]:
    """Each as the difference to the last known one: near to each other, they are short and alike."""
    last, steps = 0, list[int | None]()
    for value in values:
        steps.append(None if value is None else value - last)
        last = last if value is None else value
    return steps


def _values(steps: Any) -> list[int | None]:
    if not isinstance(steps, list) or len(steps) > _MOST_FRAMES:
        raise ValueError("no list of integers")
    last, values = 0, list[int | None]()
    for step in steps:
        last = last if step is None else _integer(last + _integer(step))
        values.append(None if step is None else last)
    return values


def _integers(values: Any) -> list[int]:
    if not isinstance(values, list) or len(values) > _MOST_FRAMES or {*map(type, values)} - {int}:
        raise ValueError("no list of integers")
    return values


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) > _MOST_INT:
        raise ValueError("no integer")
    return value
