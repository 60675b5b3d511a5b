"""The segments of a JPEG (ITU T.81 Annex B): what the picture needs, apart from what cameras write beside it."""

from __future__ import annotations

import re

_TABLES = frozenset((0xDB, 0xC4, 0xDD, 0xCC, *range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC)))
_COLOR = {0xE0: 16, 0xEE: 14}
"""JFIF and Adobe, which tell how colors are meant, with the bytes that they take at least."""
_SCAN, _START, _END = 0xDA, 0xD8, 0xD9
_NEXT = re.compile(rb"\xff[\xdb\xc4\xdd\xc0\xc1\xc2\xda]")
_EXIF = b"Exif\0\0"

END = b"\xff\xd9"


def needed_alone(data: bytes) -> bytes:
    """A JPEG of what the picture needs. A segment whose length leads astray is passed over."""
    parts = [b"\xff\xd8"]
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            place = _resumed(data, place)
            continue
        marker = data[place + 1]
        if marker in (0xFF, 0x00, 0x01, _START):
            place += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            return b"".join([*parts, data[place:]])
        behind = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if behind > place + 3 and data[behind : behind + 1] == b"\xff":
            if marker in _TABLES or (marker in _COLOR and behind - place >= _COLOR[marker]):
                parts.append(data[place:behind])
            place = behind
        else:
            place = _resumed(data, place + 2)
    return b"".join(parts)


def has_scan(data: bytes) -> bool:
    """Whether anything of a picture may be there."""
    return b"\xff\xda" in data


def exif_of(data: bytes) -> bytes:
    """However long its segment says that it is; empty where there is none."""
    place = data.find(_EXIF, 0, 1 << 16)
    return data[place + len(_EXIF) : place + (1 << 16)] if place >= 0 else b""


def _resumed(data: bytes, place: int) -> int:
    following = _NEXT.search(data, place)
    return following.start() if following else len(data)
