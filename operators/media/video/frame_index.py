"""What the packets of a video tell about its frames, without decoding any: when each is shown, from where it can be
decoded, and where the file ends before it says so."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av

from operators.media.source import Source
from operators.media.video.containers import HEAD_BYTES
from operators.media.video.packed_index import FrameIndex, Key
from operators.media.video.packet_reader import demuxed

REST_S = 0.5
"""Stated but missing seconds from which a file counts as truncated."""
JUMP_S = 10.0
"""A clock that goes forward by more, in a container of broadcasts, has been set: what FFmpeg's command takes for it."""
BACK_S = 0.1
"""Decoding times that go back by more do so because the clock was set; by less, because a container is careless."""
_LAST_S = 9e8
"""No frame begins later than this (some 28 years): what says so has a broken clock."""
_BROADCAST = {"mpegts", "mpeg"}
"""Containers whose clock may be set anew within a file (AVFMT_TS_DISCONT)."""
_BY_RATE = {"avi", "asf"}
"""Containers that carry decoding times alone: the others of their packets are FFmpeg's guess."""
_RAW = {"mpegvideo", "m4v"}
"""Streams without a container, which carry no times at all."""
_FEW = 0.01
"""Share of packets without a time up to which these count as damage."""
_HIDDEN_VP8 = 0x10
"""The bit of a VP8 packet's first byte that says that its frame is shown (RFC 6386 §9.1)."""


@dataclass(frozen=True)
class FileIndex:
    """frames: of the whole stream. end_s: when the last frame ends; readable_s: when the last packet of any stream
    ends; stated_s: what the container states. Seconds from the frames' origin."""

    frames: FrameIndex
    end_s: float
    readable_s: float
    stated_s: float

    @property
    def is_truncated(self) -> bool:
        # the last frame of a slow video stays longer than its packet says
        return self.stated_s - max(self.readable_s, self.end_s) > REST_S


@dataclass
class _Packets:
    """What is read of the packets of the stream, by their number, and of those beside it."""

    pts: list[int | None]
    dts: list[int | None]
    keys: list[Key]
    hidden: set[int]
    last_duration: int = 0
    first_s: Fraction | None = None  # of any stream
    last_s: Fraction = Fraction(0)


def read(source: Source, container: Any, stream: Any) -> FileIndex | None:
    """Reads every packet of the file. None where the stream holds no frame that is shown."""
    packets = _read(container, stream)
    names = set(container.format.name.split(","))
    base = stream.time_base
    usual = _usual(stream, is_raw=bool(names & _RAW))
    notes = set()
    ticks, by_order = _presented(packets, names, usual)
    if by_order:
        notes.add("times_by_rate")
    ticks, was_joined = _rebased(ticks, packets.dts, base, usual, is_broadcast=bool(names & _BROADCAST))
    if was_joined:
        notes.add("joined")
    shown = [number for number in range(len(ticks)) if number not in packets.hidden]
    origin_s = _origin(container, packets, [ticks[number] * base for number in shown[:64]])
    latest = (Fraction(_LAST_S) + origin_s) / base
    late = {number for number in shown if ticks[number] > latest}
    if late:
        notes.add("time_gap")
    hidden = frozenset(packets.hidden | late)
    if len(hidden) == len(ticks):
        return None
    frames = FrameIndex(
        stream=stream.index,
        base=base,
        origin_s=origin_s,
        first=0,
        ticks=ticks,
        keys=packets.keys,
        hidden=hidden,
        by_order=by_order,
        notes=frozenset(notes),
    )
    last = frames.order[-1]
    is_last_read = last == max(range(len(ticks)), key=lambda number: ticks[number])
    stay = packets.last_duration if is_last_read and packets.last_duration > 0 else usual
    end_s = min(_LAST_S, float(ticks[last] * base - origin_s + stay * base))
    readable_s = end_s if was_joined else max(float(packets.last_s - origin_s), 0.0)
    return FileIndex(frames, end_s, readable_s, _stated(source, container, stream, origin_s, max(readable_s, end_s)))


def _read(container: Any, stream: Any) -> _Packets:
    packets = _Packets([], [], [], set())
    is_vp8 = stream.codec_context.name == "vp8"
    near: int | None = None
    latest: int | None = None
    for packet in demuxed(container):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and packet.time_base is not None:
            start_s = stamp * packet.time_base
            end_s = start_s + (packet.duration or 0) * packet.time_base
            packets.first_s = start_s if packets.first_s is None else min(packets.first_s, start_s)
            packets.last_s = max(packets.last_s, end_s)
        if packet.stream_index != stream.index:
            continue
        number = len(packets.pts)
        near = packet.pos if packet.pos is not None else near
        packets.pts.append(packet.pts)
        packets.dts.append(packet.dts)
        if packet.is_keyframe:
            packets.keys.append(Key(number, packet.pts, packet.dts, packet.pos, near))
        if packet.is_discard or (is_vp8 and not memoryview(packet)[0] & _HIDDEN_VP8):
            packets.hidden.add(number)
        elif packet.pts is not None and (latest is None or packet.pts >= latest):
            latest, packets.last_duration = packet.pts, packet.duration or 0
    return packets


def _usual(stream: Any, *, is_raw: bool) -> int:
    """Ticks from one frame to the next, as the stream itself states its rate, or the container does."""
    rates = (stream.base_rate, stream.average_rate) if is_raw else (stream.average_rate, stream.base_rate)
    rate = next((rate for rate in rates if rate and rate > 0), Fraction(25))
    return max(1, int(round(1 / rate / stream.time_base)))


def _presented(packets: _Packets, names: set[str], usual: int) -> tuple[list[int], bool]:
    """(ticks of presentation by number, whether frames are told by the order in which they come)."""
    pts, dts = packets.pts, packets.dts
    if names & _RAW:
        return [number * usual for number in range(len(pts))], True
    if names & _BY_RATE and pts != dts:
        return sorted(_filled(dts, usual)), True
    unknown = sum(tick is None for tick in pts)
    known = [number for number, tick in enumerate(pts) if tick is not None and dts[number] is not None]
    if unknown > len(pts) * _FEW and known and unknown < len(pts):
        # several frames in a packet of the container, of which the first alone has its time
        first = known[0]
        delay = (pts[first] or 0) - (dts[first] or 0)
        decoded = sorted(_filled(dts, usual))
        even = [decoded[0] + number * usual for number in range(len(decoded))]
        # a frame that begins amid a packet may have got the time of the one behind it
        if all(abs(tick - there) <= 2 * usual for tick, there in zip(decoded, even, strict=True)):
            decoded = even
        return [tick + delay for tick in decoded], True
    ticks = [pts[number] if pts[number] is not None else dts[number] for number in range(len(pts))]
    return _filled(ticks, usual), False


def _filled(ticks: list[int | None], usual: int) -> list[int]:
    """Packets without a time lie evenly between those that have one."""
    known = [number for number, tick in enumerate(ticks) if tick is not None]
    if not known:
        return [number * usual for number in range(len(ticks))]
    filled = [tick if tick is not None else 0 for tick in ticks]
    for here, there in pairwise(known):
        step = (filled[there] - filled[here]) / (there - here)
        for number in range(here + 1, there):
            filled[number] = filled[here] + round((number - here) * step)
    for number in range(known[0]):
        filled[number] = filled[known[0]] - (known[0] - number) * usual
    for number in range(known[-1] + 1, len(ticks)):
        filled[number] = filled[known[-1]] + (number - known[-1]) * usual
    return filled


def _rebased(
    ticks: list[int], dts: list[int | None], base: Fraction, usual: int, *, is_broadcast: bool
) -> tuple[list[int], bool]:
    """(ticks that go on where the clock was set, whether it was): set back in any container, forward in those of
    broadcasts."""
    by_dts = sum(tick is not None for tick in dts) * 2 > len(dts)
    jump = round(Fraction(JUMP_S) / base)
    # presentation times go back by as much as frames are reordered
    back = round(Fraction(BACK_S) / base) if by_dts else jump
    offset, was_joined = 0, False
    last: int | None = None
    reached: int | None = None
    rebased: list[int] = []
    for tick, decoded_at in zip(ticks, dts, strict=True):
        clock = decoded_at if by_dts else tick
        if clock is not None:
            if last is not None and reached is not None:
                is_set = clock < last - back or (is_broadcast and clock - last > jump)
                if is_set:  # the keyframe that begins what follows is shown right after what came before
                    offset, was_joined = reached + usual - tick, True
                    last = clock
            last = clock if by_dts or last is None else max(last, clock)
        rebased.append(tick + offset)
        reached = rebased[-1] if reached is None else max(reached, rebased[-1])
    return rebased, was_joined


def _origin(container: Any, packets: _Packets, first_frames_s: list[Fraction]) -> Fraction:
    """Where a player's clock begins, exactly; never after the first frame. container.start_time is rounded to a
    microsecond, so a frame would come before it."""
    start = container.start_time
    starts_s = [stream.start_time * stream.time_base for stream in container.streams if stream.start_time is not None]
    if start is None:
        origin_s = packets.first_s if packets.first_s is not None else Fraction(0)
    else:
        rounded_s = Fraction(start, av.time_base)
        exact_s = [start_s for start_s in starts_s if abs(start_s - rounded_s) < Fraction(2, av.time_base)]
        origin_s = min(exact_s, default=rounded_s)
    return min([origin_s, *first_frames_s])


def _stated(source: Source, container: Any, stream: Any, origin_s: Fraction, known_s: float) -> float:
    """Seconds that the container says it lasts; 0.0 where it does not."""
    stated_s = float(Fraction(container.duration, av.time_base)) if container.duration else 0.0
    names = set(container.format.name.split(","))
    if names & _BROADCAST:  # an estimate of FFmpeg's
        return 0.0
    if "avi" in names and stream.frames and stream.average_rate:  # the duration is cut down to what is there
        stated_s = max(stated_s, float(stream.frames / stream.average_rate))
    if "asf" in names:
        stated_s = max(stated_s, _stated_by_asf(source.head(HEAD_BYTES)))
    if stated_s <= known_s + float(origin_s) + REST_S:
        stated_s = min(stated_s, known_s)  # Matroska may count its duration from zero, not from its start
    return min(stated_s, _LAST_S)


_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _stated_by_asf(head: bytes) -> float:
    """Play duration less preroll of the File Properties Object (ASF specification 3.2), in seconds."""
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 88:
        return 0.0
    play, preroll = (int.from_bytes(head[at + offset : at + offset + 8], "little") for offset in (64, 80))
    return max(0.0, play / 1e7 - preroll / 1e3)
