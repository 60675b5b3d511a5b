"""What the packets of an MP4 or QuickTime file will be, by the tables in its `moov`, so that a probe need not read the
whole file: ISO/IEC 14496-12 (8.6.1.2, `stts`; 8.6.1.3, `ctts`).

Only for files whose tables say all: no fragments, nothing cut or repeated by an edit list, no sample beyond the end of
the file, a steady clock, and keyframes that are some (one that is left out costs time, and no picture). Where each lies
and when it is decoded comes from FFmpeg's own index of the stream; here its times of presentation are added. Who reads
the file compares the first packets with it (operators/media/video/file_packets.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from operators.media.source import Source
from operators.media.video.file_packets import FilePackets
from operators.media.video.mp4_boxes import Box, Boxes
from operators.media.video.packed_index import Key
from operators.media.video.track_facts import bytes_at

_TYPE = {"h264": (4, 0, 0x1F), "hevc": (21, 1, 0x3F)}
"""Place in the decoder's record (ISO/IEC 14496-15) of the bytes of a NAL unit's length; shift and mask of its type."""
_PICTURES = {"h264": range(1, 6), "hevc": range(32)}
_KEYS = {"h264": range(5, 6), "hevc": range(16, 24)}
"""Types of NAL units that hold part of a picture: ITU-T H.264, table 7-1, and H.265, table 7-1."""
_MOST_UNITS = 32
"""Before the first part of a picture in its packet."""
_FEW_KEYS = 1 / 4
"""Share of packets up to which looking at each keyframe costs less than reading the file."""
_STEADY = 1.5
"""Times the usual step of the clock: what is longer may be a hole, which only packets tell."""
_BESIDE = {"aac", "alac", "flac", "opus"}
_KEYFRAME, _DISCARD = 1, 2
"""Of AVIndexEntry."""
_MOST_BYTES = 64 << 20
"""Of one table."""
Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class _Samples:
    """Of one stream, [N] each: places in the file, ticks, and flags of AVIndexEntry."""

    places: Integers
    dts: Integers
    pts: Integers
    durations: Integers
    flags: Integers


def read(source: Source, container: Any, stream: Any) -> FilePackets | None:
    """None where the tables do not say all."""
    if "mov" not in container.format.name.split(",") or stream.codec_context.name not in _TYPE:
        return None
    boxes = Boxes(source)
    movie = boxes.movie()
    if movie is None or next(boxes.inside(movie, b"mvex"), None) is not None:
        return None
    tracks = dict(boxes.tracks(movie))
    packets, extents = FilePackets(), []
    for one in container.streams:
        table = _read_table(boxes, tracks[one.id], len(one.index_entries)) if one.id in tracks else None
        samples = _samples(one.index_entries, table, source.size_bytes) if table is not None else None
        if samples is None or (one.index != stream.index and not _is_plain(one)):
            return None
        if one.index == stream.index and not _fill(packets, samples):
            return None
        first, last = int(samples.pts.min()), int((samples.pts + samples.durations).max())
        extents.append((first * one.time_base, last * one.time_base))
    if not _have_keys(source, packets, stream.codec_context):
        return None
    packets.first_s = min(first for first, _ in extents)
    packets.last_s = max(last for _, last in extents)
    return packets


def _is_plain(stream: Any) -> bool:
    return stream.type == "data" or (stream.type == "audio" and stream.codec_context.name in _BESIDE)


def _samples(entries: Any, table: tuple[Integers, Integers], file_bytes: int) -> _Samples | None:
    """table: durations and offsets of presentation. None where packets would not be just these."""
    durations, offsets = table
    rows = np.array([(entry.pos, entry.timestamp, entry.size, entry.flags) for entry in entries], np.int64)
    places, dts, sizes, flags = rows.T
    if (
        (np.diff(dts) != durations[:-1]).any()
        or durations.min() <= 0
        or min(sizes.min(), places.min()) <= 0
        or (places + sizes > file_bytes).any()
    ):
        return None
    return _Samples(places, dts, dts + offsets + max(0, -int(offsets.min())), durations, flags)


def _fill(packets: FilePackets, samples: _Samples) -> bool:
    """Whether all of them are shown, and at a steady clock."""
    durations, flags = samples.durations, samples.flags
    if durations.max() > _STEADY * np.median(durations) or (flags & _DISCARD).any():
        return False
    packets.pts, packets.dts, packets.positions = samples.pts.tolist(), samples.dts.tolist(), samples.places.tolist()
    for number in np.nonzero(flags & _KEYFRAME)[0].tolist():
        place = packets.positions[number]
        packets.keys.append(Key(number, packets.pts[number], packets.dts[number], place, place))
    packets.last_duration = int(durations[len(durations) - 1 - int(samples.pts[::-1].argmax())])
    return True


def _have_keys(source: Source, packets: FilePackets, context: Any) -> bool:
    """Whether all keyframes that the tables name are some."""
    at, shift, mask = _TYPE[context.name]
    record = context.extradata or b""
    if len(record) <= at or len(packets.keys) > _FEW_KEYS * len(packets.pts):
        return False
    length_bytes = (record[at] & 3) + 1

    def is_key(place: int) -> bool:
        for _ in range(_MOST_UNITS):
            head = bytes_at(source, place, length_bytes + 1)
            if len(head) <= length_bytes:
                return False
            kind = head[-1] >> shift & mask
            if kind in _PICTURES[context.name]:
                return kind in _KEYS[context.name]
            place += length_bytes + int.from_bytes(head[:-1], "big")
        return False

    return all(key.pos is not None and is_key(key.pos) for key in packets.keys)


def _read_table(boxes: Boxes, track: Box, count: int) -> tuple[Integers, Integers] | None:
    """(durations, offsets of presentation), in ticks, of each of so many samples; None where it has others."""
    samples = next(boxes.inside(track, b"mdia", b"minf", b"stbl"), None)
    tables = {part.kind: part for part in boxes.within(samples.start, samples.end)} if samples else {}
    durations = _repeated(boxes, tables.get(b"stts"), count)
    offsets = _repeated(boxes, tables[b"ctts"], count) if b"ctts" in tables else np.zeros(count, np.int64)
    return None if durations is None or offsets is None or not count else (durations, offsets)


def _repeated(boxes: Boxes, box: Box | None, count: int) -> Integers | None:
    """The values of a table of (how often, value), each as often as it is said; None unless these are so many."""
    if box is None or not 16 <= box.end - box.start <= _MOST_BYTES:
        return None
    data = boxes.read(box.start, box.end - box.start)
    rows = int.from_bytes(data[4:8], "big")
    if len(data) < 8 + 8 * rows:
        return None
    times, values = np.frombuffer(data, ">i4", 2 * rows, 8).reshape(rows, 2).astype(np.int64).T
    if times.min(initial=0) < 0 or int(times.sum()) != count:
        return None
    return np.repeat(values, times)
