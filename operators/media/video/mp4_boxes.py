"""The boxes of an MP4 or QuickTime file, as places in it: ISO/IEC 14496-12 (4.2). Bounded: so many are looked at."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from operators.media.source import Source
from operators.media.video.track_facts import bytes_at

_MOST_BOXES = 20_000


@dataclass(frozen=True)
class Box:
    """start, end: of what it holds, as places in the file."""

    kind: bytes
    start: int
    end: int


class Boxes:
    """Of one file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = _MOST_BOXES

    def movie(self) -> Box | None:
        """`moov`; behind it may lie thousands of fragments."""
        return next(self.inside(Box(b"", 0, self._source.size_bytes), b"moov"), None)

    def tracks(self, movie: Box) -> Iterator[tuple[int, Box]]:
        """(the number of the track, its `trak`) of those that have one."""
        for track in self.inside(movie, b"trak"):
            number = next((_number(self.read(head.start, 24)) for head in self.inside(track, b"tkhd")), None)
            if number is not None:
                yield number, track

    def within(self, start: int, end: int) -> Iterator[Box]:
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
            yield Box(kind, start + head, min(start + size, end))
            start += size

    def inside(self, box: Box, *path: bytes) -> Iterator[Box]:
        """The boxes that lie in it by that path."""
        if not path:
            yield box
            return
        for part in self.within(box.start, box.end):
            if part.kind == path[0]:
                yield from self.inside(part, *path[1:])

    def read(self, start: int, size: int) -> bytes:
        return bytes_at(self._source, start, size)


def _number(head: bytes) -> int | None:
    """Of the track. head: of tkhd, whose times are of 32 or 64 bits."""
    place = 20 if head[:1] == b"\1" else 12
    return int.from_bytes(head[place : place + 4], "big") if len(head) >= place + 4 else None
