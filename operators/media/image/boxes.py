"""Containers whose parts say how long they are: ISO base media files (HEIF, AVIF, JPEG 2000) and RIFF (WebP)."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of what is in it, end) of ISO base media boxes (ISO/IEC 14496-12 §4.2). The end may lie beyond."""
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        inner = start + 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack(">Q", data[inner : inner + 8])
            inner += 8
        elif size == 0:
            size = end - start
        if size < inner - start:
            return
        yield kind, inner, start + size
        start += size


def is_cut(data: bytes) -> bool:
    """Whether the file says that it goes on behind its end."""
    if data[:4] == b"RIFF":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data[4:8] in (b"ftyp", b"jP  "):
        return any(end > len(data) for _, _, end in boxes(data, 0, len(data)))
    return False
