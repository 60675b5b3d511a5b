"""HEIF files put together by hand around three HEVC pictures of 64 x 64 pixels, which were drawn and encoded for this.

CORNERS: a quarter each of red, green, blue and black, row by row, in 8 and in 10 bits. LEFT: gray, its left half white.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Coded:
    configuration: bytes
    data: bytes


CORNERS = Coded(
    b64decode(
        "AQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqSSmu"
        "bgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQA=="
    ),
    b64decode("AAAAPCgBrwngIzaiP//70X3//tzHof61s3SnH46cf/QVP/+wyq2n/+1pEB/a7r3/0wUhnP/8RCnT6QdoX1l+EA=="),
)
CORNERS_10 = Coded(
    b64decode(
        "AQQIAAAAnbgAAAAAHvAA/P36+gAADwNgAAEAF0ABDAH//wQIAAADAJ24AAADAAAeugJAYQABAClCAQEECAAAAwCduAAAAwAAHqAggQTZbqSSmubg"
        "IaDAgAAADIAAAAMAhGIAAQAHRAHBcrAiQA=="
    ),
    b64decode("AAAAPCgBrwngITl7z//922f//4ELch/ZAJlNx+oZ3/3kv//v9au///i3IgP8phCv/vYxGbf/7QS+/0r5q+iNpg=="),
)
LEFT = Coded(
    b64decode(
        "AQQIAAAAn/gAAAAAHvAA/Pz4+AAADwNgAAEAF0ABDAH//wQIAAADAJ/4AAADAAAeugJAYQABACZCAQEECAAAAwCf+AAAAwAAHsCCBBZbqSSmubAg"
        "AAADAyAAAAMAIWIAAQAHRAHBcrAiQA=="
    ),
    b64decode("AAAAGSgBrhPAO4jr9f/ucOrn//1VTVLz//yB/+A="),
)


def box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, bytes([version]), flags.to_bytes(3, "big"), *parts)


def irot(quarters: int) -> bytes:
    """Counterclockwise."""
    return box(b"irot", bytes([quarters]))


def imir(axis: int) -> bytes:
    """0: top and bottom change places; 1: left and right."""
    return box(b"imir", bytes([axis]))


def pasp(across: int, down: int) -> bytes:
    return box(b"pasp", struct.pack(">II", across, down))


def auxiliary(name: bytes) -> bytes:
    return full_box(b"auxC", name + b"\0")


ALPHA = auxiliary(b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")
DEPTH = auxiliary(b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth")


@dataclass(frozen=True)
class Item:
    """coded: a picture; None for one of others, as `data` says. properties: besides its size and configuration.
    refers: (type, numbers of items, from 1). hidden: no picture of its own."""

    coded: Coded | None
    kind: bytes = b"hvc1"
    size: tuple[int, int] = (64, 64)
    data: bytes = b""
    properties: Sequence[bytes] = ()
    refers: Sequence[tuple[bytes, Sequence[int]]] = ()
    hidden: bool = field(default=False)


def exif_item(exif: bytes, of: int) -> Item:
    return Item(None, b"Exif", data=bytes(4) + exif, refers=[(b"cdsc", [of])])


def grid_item(columns: int, rows: int, tiles: Sequence[int], properties: Sequence[bytes] = ()) -> Item:
    size = 64 * columns, 64 * rows
    data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    return Item(None, b"grid", size, data, properties, [(b"dimg", tiles)])


def heif_of(*items: Item, primary: int = 1, groups: Sequence[tuple[bytes, Sequence[int]]] = ()) -> bytes:
    """groups: (type, numbers of items)."""
    brands = box(b"ftyp", b"heic", bytes(4), b"mif1", b"heic")
    meta = _meta(items, primary, groups, 0)
    start = len(brands) + len(meta) + 8
    datas = [item.coded.data if item.coded else item.data for item in items]
    return brands + _meta(items, primary, groups, start) + box(b"mdat", *datas)


def _meta(items: Sequence[Item], primary: int, groups: Sequence[tuple[bytes, Sequence[int]]], start: int) -> bytes:
    entries, places, boxes, uses, refers = [], b"", list[bytes](), b"", b""
    for number, item in enumerate(items, start=1):
        entries.append(
            full_box(b"infe", struct.pack(">HH4s", number, 0, item.kind) + b"\0", version=2, flags=int(item.hidden))
        )
        size = len(item.coded.data if item.coded else item.data)
        places += struct.pack(">HHHII", number, 0, 1, start, size)
        start += size
        wanted = [] if item.kind == b"Exif" else [full_box(b"ispe", struct.pack(">II", *item.size))]
        if item.coded:
            wanted.insert(0, box(b"hvcC", item.coded.configuration))
        wanted += item.properties
        numbers = []
        for one in wanted:
            if one not in boxes:
                boxes.append(one)
            numbers.append(boxes.index(one) + 1)
        uses += struct.pack(">HB", number, len(numbers)) + bytes(numbers)
        for kind, to in item.refers:
            refers += box(kind, struct.pack(f">HH{len(to)}H", number, len(to), *to))
    grouped = [
        full_box(kind, struct.pack(f">II{len(members)}I", 100 + place, len(members), *members))
        for place, (kind, members) in enumerate(groups)
    ]
    return full_box(
        b"meta",
        full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        full_box(b"pitm", struct.pack(">H", primary)),
        full_box(b"iloc", b"\x44\0" + struct.pack(">H", len(items)) + places),
        full_box(b"iinf", struct.pack(">H", len(items)), *entries),
        *([full_box(b"iref", refers)] if refers else []),
        box(b"iprp", box(b"ipco", *boxes), full_box(b"ipma", struct.pack(">I", len(items)) + uses)),
        *([box(b"grpl", *grouped)] if grouped else []),
    )
