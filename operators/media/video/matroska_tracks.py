"""Tracks of a Matroska or WebM file, by its element Tracks: RFC 9559 (5.1.4; encryption 5.1.4.1.31, PixelCrop
5.1.4.1.28) over EBML (RFC 8794).

Bounded: so many elements are looked at, and of the tracks their first megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum

from operators.media.source import Source
from operators.media.video.track_facts import TrackFacts, bytes_at, dolby_vision_profile

_MOST_ELEMENTS = 20_000
_MOST_BYTES = 4 << 20
_SEGMENT, _TRACKS, _ENTRY = 0x18538067, 0x1654AE6B, 0xAE
_VIDEO = 1
_ENCODING, _ENCODING_TYPE, _IS_ENCRYPTION = 0x6240, 0x5033, 1
_CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom
_MAPPED_TYPE, _MAPPED = 0x41E7, 0x41ED
_DOLBY_VISION = {int.from_bytes(name, "big") for name in (b"dvcC", b"dvvC", b"dvwC")}


class _Entry(IntEnum):
    """Elements of a TrackEntry."""

    TYPE = 0x83
    VIDEO = 0xE0
    ENCODINGS = 0x6D80
    MAPPING = 0x41E4


def read(source: Source) -> list[TrackFacts]:
    """Of the video tracks, in their order."""
    for tracks in _tracks(source):
        entries = [dict(_elements(entry)) for kind, entry in _elements(tracks) if kind == _ENTRY]
        return [_facts(entry) for entry in entries if _number(entry, _Entry.TYPE) == _VIDEO]
    return []


def _tracks(source: Source) -> Iterator[bytes]:
    """What the first element Tracks holds. It may lie behind the clusters, if they state their sizes."""
    place, end = 0, source.size_bytes
    for _ in range(_MOST_ELEMENTS):
        if place >= end:
            return
        head = bytes_at(source, place, 12)
        kind, size, head_bytes = _head(head, 0)
        if kind is None:
            return
        if kind == _TRACKS:
            yield bytes_at(source, place + head_bytes, min(size or 0, _MOST_BYTES))
            return
        if kind == _SEGMENT:
            place += head_bytes
        elif size is None:
            return
        else:
            place += head_bytes + size


def _facts(entry: Mapping[int, bytes]) -> TrackFacts:
    encodings = [encoding for kind, encoding in _elements(entry.get(_Entry.ENCODINGS, b"")) if kind == _ENCODING]
    video = dict(_elements(entry.get(_Entry.VIDEO, b"")))
    left, top, right, bottom = (_number(video, edge) for edge in _CROPS)
    mapping = dict(_elements(entry.get(_Entry.MAPPING, b"")))
    is_dolby_vision = _number(mapping, _MAPPED_TYPE) in _DOLBY_VISION
    return TrackFacts(
        encrypted=any(_number(dict(_elements(encoding)), _ENCODING_TYPE) == _IS_ENCRYPTION for encoding in encodings),
        crop=(left, top, right, bottom),
        dolby_vision=dolby_vision_profile(mapping.get(_MAPPED, b"")) if is_dolby_vision else None,
    )


def _number(parts: Mapping[int, bytes], kind: int) -> int:
    """0 where it is not there, which is what it stands for then."""
    return int.from_bytes(parts.get(kind, b""), "big")


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, what it holds) of those that lie in an element. One that is cut off ends them."""
    place = 0
    for _ in range(_MOST_ELEMENTS):
        kind, size, head_bytes = _head(data, place)
        if kind is None or size is None or size > len(data):
            return
        yield kind, data[place + head_bytes : place + head_bytes + size]
        place += head_bytes + size


def _head(data: bytes, place: int) -> tuple[int | None, int | None, int]:
    """(kind, size, bytes of both). kind: None where there is no element; size: None where it is unknown."""
    kind_bytes = _length(data[place : place + 1])
    size_bytes = _length(data[place + kind_bytes : place + kind_bytes + 1])
    end = place + kind_bytes + size_bytes
    if not 1 <= kind_bytes <= 4 or not size_bytes or end > len(data):
        return None, None, 0
    size = int.from_bytes(data[place + kind_bytes : end], "big") - (1 << 7 * size_bytes)
    kind = int.from_bytes(data[place : place + kind_bytes], "big")
    return kind, None if size == (1 << 7 * size_bytes) - 1 else size, end - place


def _length(first: bytes) -> int:
    """Of a number by its first byte; 0 where that begins none."""
    return 9 - first[0].bit_length() if first and first[0] else 0
