"""The packets of a video's stream with their numbers, from a keyframe on.

A seek may land behind the keyframe that it was to find, where a container has no index, or be refused; so what it
found is compared with what the index says, and the next seek goes farther back, at last to the start of the file.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import av

from operators.media.progress import progress
from operators.media.source import Source
from operators.media.video.open_container import opened
from operators.media.video.packed_index import FrameIndex, Key

_ERRORS = 64
"""Errors one behind the other after which a file counts as ended: its reader finds nothing behind the damage."""
_NEAR = 96
"""Packets up to which reading on costs less than a seek."""
_BY_BYTE = {"mpegts", "mpeg"}
"""Containers without an index, which FFmpeg searches by decoding times, but can enter at any byte."""


def demuxed(container: Any, stream: Any = None) -> Iterator[Any]:
    """Packets with data, of that stream or of all. What is broken is stepped over."""
    errors = 0
    while errors < _ERRORS:
        try:
            for packet in container.demux(*(() if stream is None else (stream,))):
                progress()
                if packet.size:
                    errors = 0
                    yield packet
            return
        except av.FFmpegError:
            errors += 1


class PacketReader:
    """stream: its index in the file; None for the best one. next: number of the packet that `read` gives next."""

    def __init__(self, source: Source, stream: int | None) -> None:
        self._source = source
        self._index = stream
        self._stack = contextlib.ExitStack()
        self._former = contextlib.ExitStack()
        self._open()

    def _open(self) -> None:
        # somebody may still look at the former stream, which has to outlive that; nothing is read from it any more
        self._former.push(self._stack.pop_all())
        self.container, self.stream = self._stack.enter_context(opened(self._source, self._index))
        self._packets = demuxed(self.container, self.stream)
        self._first: Any = None
        self.next: int | None = 0

    def close(self) -> None:
        self._stack.close()
        self.close_former()

    def close_former(self) -> None:
        """What was opened before the file was opened anew. Nobody looks at its stream any more."""
        self._former.close()

    def forget(self) -> None:
        """Somebody else has read from the container."""
        self.next = None

    def read(self) -> tuple[int, Any] | None:
        """(number, packet); None at the end."""
        assert self.next is not None
        packet = self._first or next(self._packets, None)
        self._first = None
        if packet is None:
            return None
        self.next += 1
        return self.next - 1, packet

    def go_to(self, index: FrameIndex, key: Key | None) -> None:
        """`read` then gives that keyframe's packet; without one, the first of the file."""
        number = key.number if key else 0
        if self.next is not None and 0 <= number - self.next <= _NEAR:
            self._skip_to(number)
            return
        if key is not None and number > 0:
            at = bisect_right(index.keys, number, key=lambda other: other.number)
            for back in (1, 2, 3, 5, 9):
                if back <= at and self._lands(index.keys[at - back], key):
                    return
        self._open()
        self._skip_to(number)

    def _skip_to(self, number: int) -> None:
        while self.next is not None and self.next < number and self.read() is not None:
            pass

    def _lands(self, at: Key, key: Key) -> bool:
        """Whether a seek to the one keyframe comes by the other, which is then the next packet."""
        by_byte = bool({*self.container.format.name.split(",")} & _BY_BYTE) and at.near is not None
        for place in (at.near,) if by_byte else (at.pts, at.dts):
            if place is None:
                continue
            self.next, self._first = None, None
            try:
                if by_byte:
                    self.container.seek(place, unsupported_byte_offset=True)
                else:
                    self.container.seek(place, stream=self.stream, backward=True)
            except (av.FFmpegError, OSError):
                continue
            self._packets = demuxed(self.container, self.stream)
            for count, packet in enumerate(self._packets):
                if _is(packet, key):
                    self.next, self._first = key.number, packet
                    return True
                if _is_behind(packet, key, by_byte=by_byte) or count > key.number:
                    break
        return False


def _is(packet: Any, key: Key) -> bool:
    if not packet.is_keyframe:
        return False
    same = [
        ours == theirs for ours, theirs in ((packet.pts, key.pts), (packet.dts, key.dts)) if None not in (ours, theirs)
    ]
    if packet.pos is not None and key.pos is not None:
        return bool(packet.pos == key.pos) and (any(same) or not same)
    return bool(same) and all(same)


def _is_behind(packet: Any, key: Key, *, by_byte: bool) -> bool:
    """by_byte: its clock may have been set anew, so that only places count."""
    if not by_byte and packet.dts is not None and key.dts is not None:
        return bool(packet.dts > key.dts)
    return packet.pos is not None and key.near is not None and bool(packet.pos > key.near)
