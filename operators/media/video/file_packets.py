"""What the packets of a video file tell: when each is shown and decoded, where it lies, which are keyframes."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from operators.media.video.ffmpeg_log import complaints
from operators.media.video.packed_index import Key
from operators.media.video.packet_reader import demuxed

_COMPARED = 64
"""Packets by which it shows whether what was foreseen is so."""
_SAYS_NOTHING = {"av1": slice(8), "libdav1d": slice(8), "vp8": slice(-8, None), "vp9": slice(-8, None)}
"""Where zeros tell that a packet was wiped, at its beginning or its end: decoders of these take them for a picture, or
pass over them without a word."""
_SHOWN_VP8 = 0x10
"""The bit of a VP8 packet's first byte that says that its frame is shown (RFC 6386 §9.1)."""


@dataclass
class FilePackets:
    """What is read of the packets of the stream, by their number, and of those beside it. corrupt: what the demuxer
    calls so; behind_damage: before which it stepped over something. first_s, last_s: when the first packet of any
    stream begins, and the last ends."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    positions: list[int | None] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    corrupt: set[int] = field(default_factory=set)
    behind_damage: set[int] = field(default_factory=set)
    last_duration: int = 0
    first_s: Fraction | None = None
    last_s: Fraction = Fraction(0)

    def _begins_as(self, other: FilePackets) -> bool:
        """Whether all that is here is there too, at the beginning."""
        count = len(self.pts)
        return (
            (self.pts, self.dts, self.positions) == (other.pts[:count], other.dts[:count], other.positions[:count])
            and self.keys == [key for key in other.keys if key.number < count]
            and not (self.hidden or self.corrupt or self.behind_damage)
        )


def read(container: Any, stream: Any, foreseen: FilePackets | None) -> FilePackets:
    """Reads every packet of the file, or the first few where these are as foreseen."""
    packets = FilePackets()
    is_vp8 = stream.codec_context.name == "vp8"
    part = _SAYS_NOTHING.get(stream.codec_context.name)
    near: int | None = None
    latest: int | None = None
    wanted = stream.index
    extents: dict[int, list[int]] = {}
    with complaints() as count:
        complained = count()
        for packet in demuxed(container):
            pts, dts, pos, index = packet.pts, packet.dts, packet.pos, packet.stream_index
            stamp = pts if pts is not None else dts
            if stamp is not None:
                end = stamp + (packet.duration or 0)
                extent = extents.setdefault(index, [stamp, end])
                if stamp < extent[0]:
                    extent[0] = stamp
                if end > extent[1]:
                    extent[1] = end
            if index != wanted:
                continue
            number = len(packets.pts)
            if number == _COMPARED and foreseen is not None and packets._begins_as(foreseen):
                return foreseen
            near = pos if pos is not None else near
            packets.pts.append(pts)
            packets.dts.append(dts)
            packets.positions.append(pos)
            if packet.is_keyframe:
                packets.keys.append(Key(number, pts, dts, pos, near))
            if packet.is_corrupt or (part is not None and not any(memoryview(packet)[part])):
                packets.corrupt.add(number)
            if (now := count()) != complained:
                packets.behind_damage.add(number)
                complained = now
            if packet.is_discard or (is_vp8 and not memoryview(packet)[0] & _SHOWN_VP8):
                packets.hidden.add(number)
            elif pts is not None and (latest is None or pts >= latest):
                latest, packets.last_duration = pts, packet.duration or 0
    bases = {number: container.streams[number].time_base for number in extents}
    packets.first_s = min((first * bases[number] for number, (first, _) in extents.items()), default=None)
    packets.last_s = max((last * bases[number] for number, (_, last) in extents.items()), default=Fraction(0))
    return packets
