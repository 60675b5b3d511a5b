"""TIFF files written by hand: any tags, any order of bytes, any chain of directories."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SHORT, LONG, RATIONAL = 3, 4, 5
_LETTERS = {1: "B", SHORT: "H", LONG: "I", RATIONAL: "II", 7: "B", 12: "d", 16: "Q"}


@dataclass
class TiffPage:
    """tags: tag -> (type, values), without those that say where the strips are. next: offset of the directory behind
    it; None for that of the page behind it."""

    tags: dict[int, tuple[int, Sequence[int]]]
    strips: list[bytes]
    next: int | None = None
    tiled: bool = field(default=False)


def page_of(values: np.ndarray[Any, Any], order: str = "<", **tags: tuple[int, Sequence[int]]) -> TiffPage:
    """Uncompressed, a strip for every 16 rows. values: [height, width] or [height, width, samples]. tags: as t262."""
    cube = values if values.ndim == 3 else values[..., None]
    height, width, samples = cube.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    ordered = cube.astype(values.dtype.newbyteorder(order))
    strips = [ordered[y : y + 16].tobytes() for y in range(0, height, 16)]
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [8 * values.dtype.itemsize] * samples),
        259: (SHORT, [1]), 262: (SHORT, [1 if samples == 1 else 2]), 277: (SHORT, [samples]), 278: (LONG, [16]),
        339: (SHORT, [kind] * samples),
    }  # fmt: skip
    return TiffPage({**entries, **{int(name[1:]): value for name, value in tags.items()}}, strips)


def tiff_of(*pages: TiffPage, order: str = "<", big: bool = False, strips_at: int | None = None) -> bytes:
    """The strips of a page, then its directory, then the next page. strips_at: of the only page, where they begin,
    behind its directory."""
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    data = bytearray(mark + (struct.pack(order + "HHQ", 8, 0, 0) if big else bytes(4)))
    link = 8 if big else 4  # where the offset of the next directory goes
    place_form, count_form, entry_form = ("Q", "Q", "HHQ") if big else ("I", "H", "HHI")
    for page in pages:
        blocks = bytearray()
        offsets = []
        for strip in page.strips:
            offsets.append((len(data) if strips_at is None else strips_at) + len(blocks))
            blocks += strip + b"\0" * (len(strip) % 2)
        if strips_at is None:
            data += blocks
        place, size = (324, 325) if page.tiled else (273, 279)
        tags = {**page.tags, place: (LONG, offsets), size: (LONG, [len(strip) for strip in page.strips])}
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            letters = _LETTERS[kind]
            value = struct.pack(f"{order}{letters[0] * len(values)}", *values)
            if len(value) > struct.calcsize(place_form):
                lies_at = len(data)
                data += value + b"\0" * (len(value) % 2)
                value = struct.pack(order + place_form, lies_at)
            value = value.ljust(struct.calcsize(place_form), b"\0")
            entries += struct.pack(order + entry_form, tag, kind, len(values) // len(letters)) + value
        struct.pack_into(order + place_form, data, link, len(data))
        data += struct.pack(order + count_form, len(tags)) + entries
        link = len(data)
        data += struct.pack(order + place_form, page.next or 0)
        if strips_at is not None:
            assert len(data) <= strips_at
            data = bytearray(data.ljust(strips_at, b"\0") + blocks)
    return bytes(data)
