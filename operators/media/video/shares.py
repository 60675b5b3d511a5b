"""How the frames that are wanted of one video are divided among several decoders. Pure arithmetic over an index.

Each begins at a keyframe behind all that those before it decode, so together they decode what one alone would have, and
no packet twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from operators.media.video.packed_index import FrameIndex

_FRAME = 8
"""Packets that take as long to decode as a frame takes to be made a picture."""


@dataclass
class _Stretch:
    """From a keyframe to the last frame that is wanted of it. cost: in packets."""

    places: list[int]
    cost: int
    last: int


def share_of(index: FrameIndex, places: Sequence[int], number: int, count: int) -> list[int]:
    """Those of the places of `index.order` that the decoder of that number, of so many, decodes. places: ascending; one
    may come twice. Empty where not every decoder would have some."""
    shares = _divided(_stretches(index, places), count)
    return shares[number] if all(shares) else []


def _stretches(index: FrameIndex, places: Sequence[int]) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    for place in places:
        frame = index.order[place]
        key = index.key_before(frame)
        last = stretches[-1].last if stretches else -1
        if key is not None and key.number > last + 1:
            stretches.append(_Stretch([], 0, key.number - 1))
        elif not stretches:
            stretches.append(_Stretch([], 0, -1))
        stretch = stretches[-1]
        stretch.cost += max(0, frame - stretch.last) + _FRAME
        stretch.last = max(frame, stretch.last)
        stretch.places.append(place)
    return stretches


def _divided(stretches: Sequence[_Stretch], count: int) -> list[list[int]]:
    total, done = sum(stretch.cost for stretch in stretches), 0
    shares: list[list[int]] = [[] for _ in range(count)]
    for stretch in stretches:
        shares[min(count - 1, (2 * done + stretch.cost) * count // (2 * total))] += stretch.places
        done += stretch.cost
    return shares
