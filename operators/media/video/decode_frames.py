"""Chosen frames of a video, decoded from keyframe to keyframe.

First the quick way: decoding begins at the keyframe before each wanted frame, goes on no farther than it must, and
skips what nothing refers to (NONREF). When a frame that should be there does not come, or comes damaged, the stretch is
decoded again from an earlier keyframe, frame by frame, and in the place of what is missing stands what was on screen
before it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import av

from operators.media.source import Source
from operators.media.video.open_container import decoder_of
from operators.media.video.packed_index import MOST_CONCEALED, FrameIndex, Key
from operators.media.video.packet_reader import PacketReader

Picture = TypeVar("Picture")

_ONE_TO_ONE = {"h264", "hevc", "mpeg1video", "mpeg2video", "av1", "libdav1d", "mjpeg"}
"""Decoders that give a frame for every packet: one that does not come is missing. Others have packets without one."""
_DOUBTFUL = 300
"""Packets behind a lost one, up to the next keyframe, whose frames are taken for damaged: they would show what was
there before it."""
_FAR = 4000
"""Packets from the start of the file up to which decoding begins there when nothing nearer gives the first frame."""


@dataclass
class Outcome(Generic[Picture]):
    """pictures: by place, as they were wanted. damaged: frames among those decoded that are damaged or missing."""

    pictures: dict[int, Picture] = field(default_factory=dict)
    damaged: int = 0


@dataclass
class _Pass:
    """What happened in decoding a stretch. keys: numbers of keyframes. sent, came: numbers of packets and frames; bad:
    of damaged ones; begun: of keyframes at which decoding began; lost: of packets that could not be decoded at all,
    ascending."""

    keys: list[int]
    sent: set[int] = field(default_factory=set)
    came: set[int] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    lost: list[int] = field(default_factory=list)
    has_fields: bool = False

    def refers_to_lost(self, number: int) -> bool:
        """Whether so much before it is lost, and no keyframe between, that it shows what was there before."""
        if not self.lost:
            return False
        at = bisect_right(self.keys, number) - 1
        start = max(self.keys[at] if at >= 0 else 0, number - _DOUBTFUL)
        return bisect_right(self.lost, number) - bisect_left(self.lost, start) >= MOST_CONCEALED


class FrameDecoder:
    """Of one file. stream: its index, where it was chosen before."""

    def __init__(self, source: Source, stream: int | None = None) -> None:
        self._reader = PacketReader(source, stream)
        self._is_gradual = False

    @property
    def container(self) -> Any:
        return self._reader.container

    @property
    def stream(self) -> Any:
        """The one that is looked at; of the file as it is open now. It lives until `frames_at` is called once more."""
        return self._reader.stream

    def close(self) -> None:
        self._reader.close()

    def forget(self) -> None:
        """Somebody else has read from the container."""
        self._reader.forget()

    def frames_at(
        self, index: FrameIndex, places: Sequence[int], picture: Callable[[Any], Picture]
    ) -> Outcome[Picture]:
        """At these places of `index.order`, ascending; one may come twice. Raises av.FFmpegError."""
        return self.quickly(index, places, picture) or self._thoroughly(index, places, picture)

    def quickly(
        self, index: FrameIndex, places: Sequence[int], picture: Callable[[Any], Picture]
    ) -> Outcome[Picture] | None:
        """As `frames_at`, by no more than each frame needs; None where that is not enough."""
        self._reader.close_former()
        return None if self._is_gradual or index.by_order else self._quickly(index, places, picture)

    def _quickly(
        self, index: FrameIndex, places: Sequence[int], picture: Callable[[Any], Picture]
    ) -> Outcome[Picture] | None:
        """None where one of them is damaged or does not come."""
        place_of = {index.order[place]: place for place in places}
        outcome: Outcome[Picture] = Outcome()
        done = _Pass([key.number for key in index.keys])
        for number, frame in self._stretches(index, sorted(place_of, key=index.tick), done):
            if number in done.bad:
                if number in place_of:
                    return None
            elif number in place_of:
                outcome.pictures[place_of[number]] = picture(frame)
        # intra refresh: the decoder gives nothing for the keyframe itself
        self._is_gradual = bool(done.begun - done.came - done.bad - index.hidden)
        if self._is_gradual or len(outcome.pictures) < len(place_of):
            return None
        outcome.damaged = len(done.bad - index.damaged)
        return outcome

    def _stretches(self, index: FrameIndex, wanted: list[int], done: _Pass) -> Iterator[tuple[int, Any]]:
        """wanted: numbers, in order of presentation. From the keyframe before each that is not yet passed."""
        chosen = set(wanted)
        starts = [index.key_before(number) for number in wanted]
        at = 0
        while at < len(wanted):
            key = starts[at]
            begins = at == 0 or (key is not None and key.number > (self._reader.next or 0))
            if begins:
                if at:
                    yield from self._decoded(None, done)
                decoder_of(self.stream).flush_buffers()
                self._reader.go_to(index, key)
                if key is not None:
                    done.begun.add(key.number)
            end = at
            while end < len(wanted) and starts[end] == key:
                end += 1
            last = max(wanted[at:end])
            while self._reader.next is not None and self._reader.next <= last:
                if (read := self._reader.read()) is None:
                    break
                number, packet = read
                decoder_of(self.stream).skip_frame = "DEFAULT" if number in chosen else "NONREF"
                yield from self._decoded((number, packet), done)
            at = end
        decoder_of(self.stream).skip_frame = "DEFAULT"
        yield from self._decoded(None, done)

    def _thoroughly(
        self, index: FrameIndex, places: Sequence[int], picture: Callable[[Any], Picture]
    ) -> Outcome[Picture]:
        begin = index.order[places[0]]
        outcome: Outcome[Picture] = Outcome()
        # a picture that is renewed part by part may take several keyframes until it is whole
        for back in (3, 7) if self._is_gradual else (1, 3):
            key = index.key_before(begin, back)
            outcome, came = self._each_frame(index, places, picture, key)
            if came or key is None:
                break
        else:
            if begin <= _FAR:
                outcome, came = self._each_frame(index, places, picture, None)
        return outcome

    def _each_frame(
        self, index: FrameIndex, places: Sequence[int], picture: Callable[[Any], Picture], key: Key | None
    ) -> tuple[Outcome[Picture], bool]:
        """(outcome, whether the first of them came): at each place the frame on screen, of those that are undamaged."""
        place_of = {number: place for place, number in enumerate(index.order)}
        outcome: Outcome[Picture] = Outcome()
        done = _Pass([key.number for key in index.keys])
        pending = sorted({*places})
        first, last = pending[0], pending[-1]
        before: tuple[int, Any] | None = None
        picked: dict[int, Picture] = {}

        def show(until: int) -> None:
            while pending and pending[0] < until:
                place = pending.pop(0)
                if before is None:  # nothing is shown that was not on screen yet
                    continue
                if before[0] not in picked:
                    picked[before[0]] = picture(before[1])
                outcome.pictures[place] = picked[before[0]]

        came_out = first_came = False
        for number, frame in self._all(index, key, done):
            place = place_of.get(number, -1)
            if number < index.first and number not in done.bad:
                before = (-1, frame)  # of before the clip: on screen until its first
            if place < 0 or number in done.bad or (before is not None and place <= before[0]):
                continue
            show(place)
            before = (place, frame)
            came_out = came_out or place >= first
            first_came = first_came or place == first
            if place >= last:
                break
        if not came_out:
            outcome.pictures.clear()  # what was on screen before the clip is none of it
        elif before is not None:
            show(last + 1)
        for _ in self._decoded(None, done):  # what is only late is not missing
            pass
        among = {*index.order[first : last + 1]}
        bad = done.bad | self._missing(done, among)
        if not index.by_order:
            bad = {number for number in bad if number >= min(among) and number not in index.damaged}
        if index.first == 0 and index.keys and not any(number < index.keys[0].number for number in done.came):
            # a recording that begins amid a GOP: nothing of it can be shown before its first keyframe
            key_number = index.keys[0].number
            leading = {*index.order[: index.order.index(key_number)]} if key_number in among else set[int]()
            bad = {number for number in bad - leading if number >= key_number}
        outcome.damaged = len(bad)
        return outcome, first_came

    def _missing(self, done: _Pass, among: set[int]) -> set[int]:
        """Packets that gave no frame though they should have."""
        if not done.bad and (self.stream.codec_context.name not in _ONE_TO_ONE or done.has_fields):
            return set()
        return among & (done.sent - done.came)

    def _all(self, index: FrameIndex, key: Key | None, done: _Pass) -> Iterator[tuple[int, Any]]:
        """Every frame from there on. Of those that are told by their order, with the number of their place."""
        for _ in self._decoded(None, _Pass([])):
            pass
        context = decoder_of(self.stream)
        context.flush_buffers()
        context.skip_frame = "DEFAULT"
        self._reader.go_to(index, key)
        ranks = _Ranks(index) if index.by_order else None
        while True:
            read = self._reader.read() if self._reader.next is not None else None
            for number, frame in self._decoded(read, done):
                yield (ranks.place(number) if ranks else number), frame
            if read is None:
                return

    def _decoded(self, read: tuple[int, Any] | None, done: _Pass) -> Iterator[tuple[int, Any]]:
        """Frames that come for that packet, or, without one, what the decoder still holds. Damage costs the packet that
        it lies in."""
        context = decoder_of(self.stream)
        if read is None:
            packet = None
        else:
            number, packet = read
            done.sent.add(number)
            packet.pts, packet.dts = number, None  # comes back with the frame
        try:
            frames = context.decode(packet)
        except av.FFmpegError:
            if read is not None:
                done.bad.add(read[0])
                if not read[1].is_disposable:
                    done.lost.append(read[0])
            return
        for frame in frames:
            if frame.pts is None:
                continue
            done.came.add(frame.pts)
            done.has_fields |= frame.interlaced_frame
            if frame.is_corrupt or done.refers_to_lost(frame.pts):
                done.bad.add(frame.pts)
            yield frame.pts, frame


class _Ranks:
    """The place of each frame that comes where only the order tells: the frames of the packets from one keyframe to the
    next fill the places of the same numbers."""

    def __init__(self, index: FrameIndex) -> None:
        self._starts = sorted({0, *(key.number for key in index.keys)})
        self._counts: dict[int, int] = {}

    def place(self, number: int) -> int:
        start = max(start for start in self._starts if start <= number)
        rank = self._counts.get(start, 0)
        self._counts[start] = rank + 1
        return start + rank
