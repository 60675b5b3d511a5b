"""Tracks of an MP4 or QuickTime file, by the boxes of its `moov`: ISO/IEC 14496-12 (8.5, sample descriptions; 8.12,
protection; 12.1.4, clean aperture) and 23001-7 (tenc).

Bounded: so many boxes are looked at, and of each description its first bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from operators.media.source import Source
from operators.media.video.track_facts import TrackFacts, bytes_at, dolby_vision_profile

_MOST_BOXES = 20_000
_MOST_BYTES = 1 << 18
"""Of the descriptions of one track."""
_ENTRY_BYTES = 86
"""Of the description of a video track, before the boxes in it."""
_PROFILES = (b"dvcC", b"dvvC", b"dvwC")


@dataclass(frozen=True)
class _Box:
    """start, end: of what it holds, as places in the file."""

    kind: bytes
    start: int
    end: int


class _Boxes:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = _MOST_BOXES

    def within(self, start: int, end: int) -> Iterator[_Box]:
        while end - start >= 8 and self._left > 0:
            self._left -= 1
            size, kind = struct.unpack(">I4s", self.read(start, 8).ljust(8, b"\0"))
            head = 8
            if size == 1:
                (size,) = struct.unpack(">Q", self.read(start + 8, 8).ljust(8, b"\0"))
                head = 16
            elif size == 0:
                size = end - start
            if size < head:
                return
            yield _Box(kind, start + head, min(start + size, end))
            start += size

    def read(self, start: int, size: int) -> bytes:
        return bytes_at(self._source, start, size)

    def inside(self, box: _Box, *path: bytes) -> Iterator[_Box]:
        """The boxes that lie in it by that path."""
        if not path:
            yield box
            return
        for part in self.within(box.start, box.end):
            if part.kind == path[0]:
                yield from self.inside(part, *path[1:])


def read(source: Source) -> dict[int, TrackFacts]:
    """By the number of the track, those of which something is to be said."""
    boxes = _Boxes(source)
    file = _Box(b"", 0, source.size_bytes)
    tracks: dict[int, TrackFacts] = {}
    movie = next(boxes.inside(file, b"moov"), None)  # behind it may lie thousands of fragments
    for track in boxes.inside(movie, b"trak") if movie else ():
        number = next((_number(boxes.read(head.start, 24)) for head in boxes.inside(track, b"tkhd")), None)
        for descriptions in boxes.inside(track, b"mdia", b"minf", b"stbl", b"stsd"):
            if number is not None:
                tracks[number] = _described(boxes, descriptions)
    return tracks


def _number(head: bytes) -> int | None:
    """Of the track. head: of tkhd, whose times are of 32 or 64 bits."""
    place = 20 if head[:1] == b"\1" else 12
    return int.from_bytes(head[place : place + 4], "big") if len(head) >= place + 4 else None


def _described(boxes: _Boxes, descriptions: _Box) -> TrackFacts:
    """Of all descriptions that the track's samples refer to."""
    facts = TrackFacts()
    end = min(descriptions.end, descriptions.start + _MOST_BYTES)
    for entry in boxes.within(descriptions.start + 8, end):
        parts = list(boxes.within(entry.start + _ENTRY_BYTES - 8, entry.end))
        for part in parts:
            if part.kind == b"clap" and not any(facts.crop):
                width, height = struct.unpack(">2H", boxes.read(entry.start + 24, 4).ljust(4, b"\0"))
                facts = replace(facts, crop=_clean_aperture(width, height, boxes.read(part.start, 32)))
            elif part.kind in _PROFILES:
                facts = replace(facts, dolby_vision=dolby_vision_profile(boxes.read(part.start, 4)))
        schemes = [part for part in parts if part.kind == b"sinf"]
        if entry.kind == b"drmi" or ((schemes or entry.kind == b"encv") and _is_protected(boxes, schemes)):
            facts = replace(facts, encrypted=True)
    return facts


def _is_protected(boxes: _Boxes, schemes: list[_Box]) -> bool:
    """Unless all that is said of it is that its samples are plain."""
    defaults = [box for scheme in schemes for box in boxes.inside(scheme, b"schi", b"tenc")]
    return not defaults or any(boxes.read(box.start + 6, 1) != b"\0" for box in defaults)


def _clean_aperture(width: int, height: int, data: bytes) -> tuple[int, int, int, int]:
    """What lies outside of it; nothing where it makes no sense. Its offset is that of its center from the picture's."""
    if len(data) < 32:
        return 0, 0, 0, 0
    numbers = struct.unpack(">IIIIiIiI", data)
    if not all(numbers[1::2]):
        return 0, 0, 0, 0
    clean_width, clean_height, across, down = map(Fraction, numbers[::2], numbers[1::2])
    left, top = (width - clean_width) / 2 + across, (height - clean_height) / 2 + down
    edges = (left, top, width - clean_width - left, height - clean_height - top)
    if min(edges) < 0 or clean_width < 1 or clean_height < 1:
        return 0, 0, 0, 0
    left_px, top_px, right_px, bottom_px = (round(edge) for edge in edges)
    return left_px, top_px, right_px, bottom_px
