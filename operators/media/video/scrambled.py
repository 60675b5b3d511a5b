"""Whether streams and older containers are encrypted: the bits of scrambling of MPEG's packets, the header of ASF, the
tags of FLV. What begins so is not decoded at all, since a decoder makes gray and green pictures of it."""

from __future__ import annotations

from operators.media.source import Source
from operators.media.video.track_facts import bytes_at

_LOOKED_AT_BYTES = 4 << 20
_MOST_OBJECTS = 1_000
_ASF_ENCRYPTION = tuple(
    bytes.fromhex(guid)
    for guid in (
        "fbb31122 23bdd211 b4b700a0 c955fc6e",  # Content Encryption Object
        "14e68a29 2226174c b935dae0 7ee9289c",  # Extended Content Encryption Object
        "33855843 8169e649 9b74ad12 cb86d58c",  # Advanced Content Encryption Object
    )
)
_SYNC, _IN_A_ROW = b"\x47", 5
_HALF = 2
"""One in so many packets from which a stream counts as scrambled: a recording may begin or end in the clear."""


def is_transport_stream_scrambled(source: Source, pid: int) -> bool:
    """ISO/IEC 13818-1, 2.4.3.3: transport_scrambling_control. pid: of the video's packets."""
    data = bytes_at(source, 0, _LOOKED_AT_BYTES)
    for size in (188, 192, 204):
        offset = next((at for at in range(size) if data[at : at + _IN_A_ROW * size : size] == _SYNC * _IN_A_ROW), None)
        if offset is not None:
            break
    else:
        return False
    packets = [data[at + 1 : at + 4] for at in range(offset, len(data) - 4, size) if data[at] == 0x47]
    control = [head[2] >> 6 for head in packets if int.from_bytes(head[:2], "big") & 0x1FFF == pid]
    return sum(bits > 1 for bits in control) * _HALF > len(control)


def is_program_stream_scrambled(source: Source, stream_id: int) -> bool:
    """ISO/IEC 13818-1, 2.4.3.7: PES_scrambling_control, as on discs. stream_id: of the video's packets."""
    data = bytes_at(source, 0, _LOOKED_AT_BYTES)
    start, flags = bytes((0, 0, 1, stream_id & 0xFF)), list[int]()
    at = data.find(start)
    while 0 <= at < len(data) - 7:
        if data[at + 6] >> 6 == 0b10:  # of MPEG-2; packets of MPEG-1 have no such bits
            flags.append(data[at + 6] >> 4 & 3)
        at = data.find(start, at + 7)
    return sum(bits > 0 for bits in flags) * _HALF > len(flags)


def is_asf_encrypted(source: Source) -> bool:
    """Advanced Systems Format, 3.13 to 3.15: an object of encryption in the header."""
    head = bytes_at(source, 0, 30)
    end = min(int.from_bytes(head[16:24], "little"), _LOOKED_AT_BYTES)
    place = 30
    for _ in range(_MOST_OBJECTS):
        if place >= end:
            break
        head = bytes_at(source, place, 24)
        size = int.from_bytes(head[16:24], "little")
        if size < 24:
            break
        if head[:16] in _ASF_ENCRYPTION:
            return True
        place += size
    return False


def is_flv_encrypted(source: Source) -> bool:
    """Adobe Flash Video, E.4.1: the filter bit of the first tags of video."""
    place = int.from_bytes(bytes_at(source, 5, 4), "big") + 4
    for _ in range(_MOST_OBJECTS):
        head = bytes_at(source, place, 4)
        if len(head) < 4:
            break
        if head[0] & 0x1F == 9:
            return bool(head[0] & 0x20)
        place += 11 + int.from_bytes(head[1:], "big") + 4
    return False
