"""What the packets of a video tell about its frames, without decoding any: when each is shown, from where it can be
decoded, and where the file ends before it says so."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from operator import le, sub
from typing import Any

import av

from operators.media.source import Source
from operators.media.video import file_packets, mp4_samples
from operators.media.video.containers import HEAD_BYTES
from operators.media.video.file_packets import FilePackets
from operators.media.video.packed_index import MOST_CONCEALED, FrameIndex

REST_S = 0.5
"""Stated but missing seconds from which a file counts as truncated."""
JUMP_S = 10.0
"""A clock that goes forward by more, in a container of broadcasts, has been set: what FFmpeg's command takes for it."""
BACK_S = 0.1
"""Decoding times that go back by more do so because the clock was set; by less, because a container is careless."""
_LAST_S = 9e8
"""No frame begins later than this (some 28 years): what says so has a broken clock."""
_AROUND = 32
"""Packets on either side of a gap, among which its frames are in whatever order."""
_AVI_HEADER = 8
"""Bytes of a chunk before its data (RIFF: four letters and a size)."""
_MOST_LOST = 1000
"""Frames that one gap may count for."""
_BROADCAST = {"mpegts", "mpeg"}
"""Containers whose clock may be set anew within a file (AVFMT_TS_DISCONT)."""
_BY_RATE = {"avi", "asf"}
"""Containers that carry decoding times alone: the others of their packets are FFmpeg's guess."""
_RAW = {"mpegvideo", "m4v"}
"""Streams without a container, which carry no times at all."""
_FEW = 0.01
"""Share of packets without a time up to which these count as damage."""
_SLOW = 0.02
"""Share of frames that stay longer than JUMP_S from which that is the way of the video."""
_NEAR = 4
"""Packets before a gap within which a complaint of the demuxer is about it."""


@dataclass(frozen=True)
class FileIndex:
    """frames: of the whole stream. end_s: when the last frame ends; readable_s: when the last packet of any stream
    ends; stated_s: what the container states. lost_s: when each frame was to be shown that is damaged or missing, as
    far as the packets tell. Seconds from the frames' origin."""

    frames: FrameIndex
    end_s: float
    readable_s: float
    stated_s: float
    lost_s: list[float]

    def part(self, start_s: float, end_s: float) -> FrameIndex:
        """What is needed of it for the frames on screen in [start_s, end_s)."""
        lost = bisect_left(self.lost_s, end_s) - bisect_left(self.lost_s, start_s)
        return replace(self.frames.part(start_s, end_s), lost=lost)

    @property
    def is_truncated(self) -> bool:
        # the last frame of a slow video stays longer than its packet says
        return self.stated_s - max(self.readable_s, self.end_s) > REST_S


def read(source: Source, container: Any, stream: Any) -> FileIndex | None:
    """None where the stream holds no frame that is shown."""
    packets = file_packets.read(container, stream, mp4_samples.read(source, container, stream))
    names = set(container.format.name.split(","))
    if "avi" in names:
        _true_places(packets, stream)
    base = stream.time_base
    usual = _usual(stream, is_raw=bool(names & _RAW))
    notes = set()
    ticks, by_order, joints = _presented(packets, names, base, usual)
    if by_order:
        notes.add("times_by_rate")
    if joints:
        notes.add("joined")
    damaged, missing = _damage(packets, ticks, base, names)
    shown = [number for number in range(len(ticks)) if number not in packets.hidden]
    origin_s = _origin(container, packets, [ticks[number] * base for number in shown[:64]])
    latest = (Fraction(_LAST_S) + origin_s) // base
    late = {number for number in shown if ticks[number] > latest} if max(ticks, default=0) > latest else set()
    if late:
        notes.add("time_gap")
    hidden = frozenset(packets.hidden | late)
    if len(hidden | damaged) == len(ticks):
        damaged = set()
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
        damaged=frozenset(damaged - hidden),
        by_order=by_order,
        notes=frozenset(notes),
    )
    last = max(ticks[number] for number in shown if number not in late)
    stay = packets.last_duration if packets.last_duration > 0 and not late else usual
    end_s = min(_LAST_S, float(last * base - origin_s + stay * base))
    readable_s = end_s if joints else max(float(packets.last_s - origin_s), 0.0)
    # where recordings were joined, one of them was cut: no damage, though its last frame may be half a frame
    cut = {near for number in joints for near in range(number - _NEAR, number + 1)}
    lost = {*missing, *(ticks[number] for number in frames.damaged - cut)}
    return FileIndex(
        frames,
        end_s,
        readable_s,
        _stated(source, container, stream, origin_s, max(readable_s, end_s)),
        sorted(float(tick * base - origin_s) for tick in lost),
    )


def _true_places(packets: FilePackets, stream: Any) -> None:
    """An AVI counts the frames that are read; where some cannot be, its index still says which are which."""
    places = {entry.pos + _AVI_HEADER: entry.timestamp for entry in stream.index_entries}
    true = [None if pos is None else places.get(pos) for pos in packets.positions]
    if None in true or true == packets.dts:
        return
    for number, (before, after) in enumerate(pairwise(true), 1):
        if before is not None and after is not None and after > before + 1:
            packets.behind_damage.add(number)
    same = packets.pts == packets.dts
    packets.dts = true
    if same:
        packets.pts = true


def _damage(packets: FilePackets, ticks: list[int], base: Fraction, names: set[str]) -> tuple[set[int], list[int]]:
    """(numbers of frames that are damaged, when missing ones were to be shown). Where many are missing, those up to the
    next keyframe show what was there before."""
    is_broadcast = bool(names & _BROADCAST)
    # a frame lies in several packets of these, so that the one before a gap lacks its end
    puts_together = is_broadcast or "asf" in names
    clocks = packets.dts if _are_most_known(packets.dts) else packets.pts
    known = [number for number, clock in enumerate(clocks) if clock is not None]
    ticking = [clock for clock in clocks if clock is not None]
    steps = list(zip(known[1:], map(sub, known[1:], known), map(sub, ticking[1:], ticking), strict=False))
    forward = sorted(step for _, count, step in steps if count == 1 and step > 0)
    # among packets that have their times, one without has lost what stood before it
    nameless = set[int]()
    if "mpegts" in names and None in packets.pts:
        nameless = {number for number, clock in enumerate(packets.pts) if clock is None and packets.dts[number] is None}
    if len(nameless) > len(ticks) * _FEW:
        nameless = set()
    damaged, missing = packets.corrupt | nameless, list[int]()
    if not forward:
        return damaged, missing
    usual = forward[len(forward) // 2]
    steps = [(number, count, step) for number, count, step in steps if step > (count + 0.5) * usual]
    if not steps:
        return damaged, missing
    is_even = sum(abs(step - usual) <= max(2, usual * 0.2) for step in forward) > 0.9 * len(forward)
    most = round(Fraction(JUMP_S) / base)
    keys = [key.number for key in packets.keys]
    for number, count, step in steps:
        # decoding times show a gap some frames after it; what a demuxer calls corrupt lies before it
        signs = [near for near in range(number - _NEAR, number + 1) if near in packets.behind_damage]
        signs += [near for near in range(number - count, number + 1) if near in packets.corrupt]
        # broadcasts keep their rate, but for a frame or two whose time FFmpeg guesses
        is_hole = is_broadcast and is_even and (count + MOST_CONCEALED) * usual <= step <= most
        if not signs and not is_hole:
            continue
        start = min(signs, default=number - count + 1)
        around = [near for near in range(max(0, start - _AROUND), start + _AROUND) if near not in nameless]
        shown = sorted(ticks[near] for near in around if near < len(ticks))
        begin, end = max(pairwise(shown), key=lambda pair: pair[1] - pair[0], default=(ticks[start], ticks[start]))
        lost = range(begin + usual, end - usual // 2, usual)[:_MOST_LOST] if is_even else [ticks[start]]
        missing += lost
        if signs and puts_together:
            damaged.add(start - 1)
        # of a transport stream, whose packets are counted, what was lost leaves a sign
        if (len(lost) >= MOST_CONCEALED or not is_even) and (signs or "mpegts" not in names):
            at = bisect_left(keys, start)
            until = keys[at] if at < len(keys) else len(clocks)
            damaged.update(range(start, min(until, start + max(1, most // usual))))
    return damaged, missing


def _usual(stream: Any, *, is_raw: bool) -> int:
    """Ticks from one frame to the next, as the stream itself states its rate, or the container does."""
    rates = (stream.average_rate, stream.base_rate)
    if is_raw:  # base_rate: of MPEG-1, FFmpeg counts fields
        is_mpeg1 = stream.codec_context.name == "mpeg1video"
        rates = (stream.codec_context.framerate if is_mpeg1 else stream.base_rate, stream.average_rate)
    rate = next((rate for rate in rates if rate and rate > 0), Fraction(25))
    step: Fraction = 1 / rate / stream.time_base
    return max(1, round(step))


def _presented(packets: FilePackets, names: set[str], base: Fraction, usual: int) -> tuple[list[int], bool, list[int]]:
    """(ticks of presentation by number, whether frames are told by the order in which they come, numbers of the packets
    at which the clock was set)."""
    pts, dts = packets.pts, packets.dts
    is_broadcast = bool(names & _BROADCAST)
    if names & _RAW:
        return [number * usual for number in range(len(pts))], True, []
    known = next((number for number, pair in enumerate(zip(pts, dts, strict=True)) if None not in pair), None)
    if "mpeg" in names and (guessed := _guessed(packets, base, usual)):
        return guessed[0], False, guessed[1]
    if names & _BY_RATE and pts != dts:
        delay = 0
    elif known is not None and (pts.count(None) > len(pts) * _FEW or ("mpeg" in names and _goes_back(dts, base))):
        # several frames in a packet of the container, of which the first alone has its time
        delay = (pts[known] or 0) - (dts[known] or 0)
    else:
        ticks = [shown if shown is not None else decoded for shown, decoded in zip(pts, dts, strict=True)]
        rebased, joints = _rebased(_filled(ticks, usual), packets, base, usual, is_broadcast=is_broadcast)
        return rebased, False, joints
    decoded, joints = _rebased(_filled(dts, usual), packets, base, usual, is_broadcast=is_broadcast)
    decoded.sort()
    even = [decoded[0] + number * usual for number in range(len(decoded))]
    # a frame that begins amid a packet may have got the time of the one behind it
    if is_broadcast and all(abs(tick - there) <= 5 * usual for tick, there in zip(decoded, even, strict=True)):
        decoded = even
        packets.dts = [*even]
    return [tick + delay for tick in decoded], True, joints


def _guessed(packets: FilePackets, base: Fraction, usual: int) -> tuple[list[int], list[int]] | None:
    """(ticks of presentation by number, numbers of the packets at which the clock was set) of a program stream of which
    few frames have their times: FFmpeg guesses the others, one of them for two frames where a frame begins amid a
    packet. None where it did not, or frames do not follow one another evenly."""
    pts, dts = packets.pts, packets.dts
    if None in pts or None in dts or not _goes_back(dts, base):
        return None
    decoded, joints = _rebased(_filled(dts, usual), packets, base, usual, is_broadcast=True)
    even = [decoded[0] + number * usual for number in range(len(decoded))]
    if any(abs(tick - there) > 5 * usual for tick, there in zip(decoded, even, strict=True)):
        return None
    # what others refer to is shown when the next such frame is decoded; the others when they are
    ticks, following = even[:], even[-1] + usual
    for number in range(len(even) - 1, -1, -1):
        if pts[number] != dts[number]:
            ticks[number], following = following, even[number]
    packets.dts = [*even]
    return ticks, joints


def _goes_back(dts: list[int | None], base: Fraction) -> bool:
    """By a frame or so: what FFmpeg guesses for frames that begin amid a packet of a program stream."""
    known = [tick for tick in dts if tick is not None]
    return any(-1 < (after - before) * base <= 0 for before, after in pairwise(known))


def _are_most_known(ticks: list[int | None]) -> bool:
    return ticks.count(None) * 2 < len(ticks)


def _filled(ticks: list[int | None], usual: int) -> list[int]:
    """Packets without a time lie evenly between those that have one."""
    known = [number for number, tick in enumerate(ticks) if tick is not None]
    if not known:
        return [number * usual for number in range(len(ticks))]
    if len(known) == len(ticks):
        return [tick for tick in ticks if tick is not None]
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
    ticks: list[int], packets: FilePackets, base: Fraction, usual: int, *, is_broadcast: bool
) -> tuple[list[int], list[int]]:
    """(ticks that go on where the clock was set, numbers of the packets at which it was): set back in any container,
    forward in those of broadcasts. Frames that an edit list cuts off are no part of that."""
    dts = packets.dts
    by_dts = _are_most_known(dts)
    if by_dts and not is_broadcast:
        clocks = [tick for tick in dts if tick is not None]
        if all(map(le, clocks, clocks[1:])):  # it never goes back
            return [*ticks], []
    jump = round(Fraction(JUMP_S) / base)
    steps = [there - here for here, there in pairwise(_filled(dts, usual))]
    # slides that stay for long are no clock that is set
    is_broadcast = is_broadcast and sum(step > jump for step in steps) <= max(1, len(steps) * _SLOW)
    back = round(Fraction(BACK_S) / base) if by_dts else jump
    offset, joints = 0, list[int]()
    last: int | None = None
    recent: list[int] = []
    reached: int | None = None
    rebased: list[int] = []
    for number, (tick, decoded_at) in enumerate(zip(ticks, dts, strict=True)):
        clock = decoded_at if by_dts else tick
        if number in packets.hidden:
            rebased.append(tick + offset)
            continue
        if clock is not None:
            if last is not None and reached is not None:
                is_ahead = is_broadcast and min(clock - last, tick + offset - reached) > jump
                is_set = clock < last - back or is_ahead
                if is_set:  # the keyframe that begins what follows is shown right after what came before
                    offset, recent = reached + usual - tick, []
                    joints.append(number)
            # presentation times go back by as much as frames are reordered, but not before all of the last ones
            recent = [*recent[-15:], clock]
            last = clock if by_dts else min(recent)
        rebased.append(tick + offset)
        reached = rebased[-1] if reached is None else max(reached, rebased[-1])
    return rebased, joints


def _origin(container: Any, packets: FilePackets, first_frames_s: list[Fraction]) -> Fraction:
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
