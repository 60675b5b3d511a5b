"""What a decoder says: its messages, and a decoded unit as JSON and sealed memory. Knows no format.

A unit's facts and the sizes of its pictures are JSON, which the parent checks like any other; the pictures themselves,
packed, lie one behind the other in memory (memfd) that nobody can change any more once it is sealed. So no length
or offset that a child wrote is followed before it was checked, and the parent maps what it will not copy.
"""

from __future__ import annotations

import array
import fcntl
import mmap
import os
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import pyarrow as pa

from operators.media.formats import FORMATS, unit_kind_of
from operators.processes.messages import (
    INT64,
    LACKS,
    Bounds,
    Messages,
    fits,
    flag,
    integer,
    list_of,
    maybe,
    number,
    one_of,
    record,
    text,
)
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import FAILURE_KINDS
from schemas.request import Buffer
from schemas.unit import INPUT_NOTES, Locator

MOST_UNITS = 1 << 16
"""Of one input."""
MOST_INDEX_BYTES = 4 << 20
"""Of one unit."""
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_SLACK_PX = 1 << 20
"""Pictures of odd shapes come a little larger than the settings say."""

Size: TypeAlias = list[int]
"""[width_px, height_px, bytes of its data]"""

_progress = record({"progress": integer(0, INT64)})
"""It came further: not an answer yet (operators/media/progress.py)."""
_failure = record(
    {
        "stage": one_of(("probe", "decode")),
        "kind": one_of(FAILURE_KINDS),
        "message": text(500),
        "attempts": integer(1, 1000),
    }
)
_media = one_of([kind.media for kind in FORMATS if kind.module is not None])
_planned = record(
    {"decoded_bytes": integer(0, 1 << 46)},
    {
        "page": integer(1),
        "start_s": number(0, 1e9),
        "end_s": number(0, 1e9),
        "index": text(MOST_INDEX_BYTES),
        "error": maybe(_failure),
    },
)
_size = list_of(integer(1), 3, 3)
_line_image = record({"line": integer(), "bbox_px": list_of(number(), 4, 4), "picture": _size})
_unit = record(
    {
        "width_px": integer(1),
        "height_px": integer(1),
        "times_s": list_of(number(), 1 << 16),
        "text_layer": maybe(text()),
        "blank": maybe(flag),
        "damaged_frames": maybe(integer(0, 1 << 31)),
        "input_notes": list_of(one_of(INPUT_NOTES), len(INPUT_NOTES)),
        "pictures": list_of(_size, 1 << 16, 1),
        "line_images": maybe(list_of(_line_image, 1 << 16)),
        "full_res": maybe(_size),
        "decode_s": number(0, 1e6),
    }
)

LOCKED = Messages(Bounds(), {"lacks": record({"lacks": list_of(one_of(LACKS), len(LACKS))})})
"""What a child says before it looks into its first file."""
PROBED = Messages(
    Bounds(json_bytes=6 << 20, values=300_000),
    {
        "units": record({"media": _media, "units": list_of(_planned, MOST_UNITS)}),
        "error": record({"media": maybe(_media), "error": _failure}),
        "progress": _progress,
    },
)
DECODED = Messages(
    Bounds(json_bytes=4 << 20, values=300_000, fds=1),
    {
        "unit": record({"unit": _unit}),
        "error": record({"error": _failure, "decode_s": number(0, 1e6)}),
        "progress": _progress,
    },
)


# the child's side


def pack_units(media: str, units: Iterable[Locator]) -> dict[str, Any] | None:
    """The message; None where there are more than go into one."""
    # without what a unit has not: there may be many
    planned = [{key: value for key, value in vars(unit).items() if value is not None} for unit in units]
    head = {"media": media, "units": planned}
    return head if len(planned) <= MOST_UNITS and fits(head, PROBED.bounds) else None


def pack_unit(row: dict[str, Any]) -> tuple[dict[str, Any], list[Buffer]] | None:
    """row: of tables.DECODED, without an error. The message, and what lies in the memory that comes with it; None
    where it is too large a message."""
    parts: list[Buffer] = []

    def size(picture: dict[str, Any]) -> Size:
        parts.append(picture["data"])
        return [picture["width_px"], picture["height_px"], len(picture["data"])]

    unit = {name: value for name, value in row.items() if name != "error"}
    unit["pictures"] = [size(picture) for picture in row["pictures"]]
    if row["line_images"] is not None:
        unit["line_images"] = [{**piece, "picture": size(piece["picture"])} for piece in row["line_images"]]
    if row["full_res"] is not None:
        unit["full_res"] = size(row["full_res"])
    head = {"unit": unit}
    return (head, parts) if fits(head, DECODED.bounds) else None


def sealed(parts: Iterable[Buffer]) -> int:
    """A file descriptor of memory that holds them and cannot be changed. Raises OSError."""
    memory = os.memfd_create("unit", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[os.write(memory, left) :]
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        os.close(memory)
        raise
    return memory


# the parent's side


def check_units(media: str, units: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The units of an input of that media, with all their keys. Raises ValueError where they are not of its kind."""
    kind = unit_kind_of(media)
    for unit in units:
        if kind == "clip" and not ("page" not in unit and unit.get("start_s", 1.0) <= unit.get("end_s", 0.0)):
            raise ValueError("a clip without its times")
        if kind != "clip" and ("start_s" in unit or "end_s" in unit):
            raise ValueError(f"a time of a {kind}")
        if kind == "page" and "page" not in unit:
            raise ValueError("a page without its number")
    return [{"page": None, "start_s": None, "end_s": None, "index": None, "error": None, **unit} for unit in units]


def unpack_unit(unit: dict[str, Any], fds: Sequence[int], media: str, settings: DecodeSettings) -> pa.RecordBatch:
    """A row of tables.DECODED, its pictures mapped rather than copied. unit: checked by DECODED.

    Raises ValueError or OSError where the pictures are not what the settings asked for, or the memory does not hold
    them.
    """
    line_images = unit["line_images"] or []
    full_res = [] if unit["full_res"] is None else [unit["full_res"]]
    sizes: list[Size] = [*unit["pictures"], *(piece["picture"] for piece in line_images), *full_res]
    _check_sizes(sizes, settings)
    shown = len(unit["pictures"])
    if (shown, len(unit["times_s"])) != ((shown, shown) if unit_kind_of(media) == "clip" else (1, 0)):
        raise ValueError(f"{shown} pictures at {len(unit['times_s'])} times")
    side_px = settings.token_side_px
    if any(width_px % side_px or height_px % side_px for width_px, height_px, _ in unit["pictures"]):
        raise ValueError(f"pictures of other sides than multiples of {side_px} px")
    (memory,) = fds
    data = _mapped(memory, sum(size for *_, size in sizes))
    pictures = _pictures(sizes, data)
    columns = {**_NO_PICTURES, "pictures": _one_list(pictures.slice(0, shown), _TYPES["pictures"])}
    if full_res:
        columns["full_res"] = pictures.slice(len(sizes) - 1)
    if unit["line_images"] is not None:
        line, bbox_px, _ = tables.LINE_IMAGE
        pieces = [
            pa.array([piece["line"] for piece in line_images], line.type),
            pa.array([piece["bbox_px"] for piece in line_images], bbox_px.type),
            pictures.slice(shown, len(line_images)),
        ]
        structs = pa.StructArray.from_arrays(pieces, fields=list(tables.LINE_IMAGE))
        columns["line_images"] = _one_list(structs, _TYPES["line_images"])
    # one array of all that is plain: the time is in making many small ones
    plain = pa.array([{name: unit[name] for name in _PLAIN if name in unit}], _PLAIN_TYPE)
    columns |= dict(zip(_PLAIN, plain.flatten(), strict=True))
    return pa.RecordBatch.from_arrays([columns[name] for name in _TYPES], schema=tables.DECODED)


def _check_sizes(sizes: list[Size], settings: DecodeSettings) -> None:
    """What unpacking will set aside follows from these. Raises ValueError."""
    reader = settings.line_reader
    line_px = reader.height_px * reader.max_width_px if reader is not None else 0
    most_px = _SLACK_PX + 2 * max(settings.image_max_px, settings.video_max_px, settings.full_res_max_px, line_px)
    for width_px, height_px, data_bytes in sizes:
        if width_px * height_px > most_px:
            raise ValueError(f"a picture of {width_px} x {height_px} px")
        if data_bytes > width_px * height_px * 3:
            raise ValueError(f"{data_bytes} bytes for {width_px} x {height_px} px")
    # they all lay in its address space at once
    if sum(width_px * height_px * 3 for width_px, height_px, _ in sizes) > settings.memory_mb << 20:
        raise ValueError("more pictures than its memory could hold")


def _mapped(memory: int, size: int) -> pa.Buffer:
    """Raises ValueError or OSError for anything but sealed memory of that size."""
    # of what is no memfd, or of no such file system, the kernel says that it knows no seals
    if fcntl.fcntl(memory, fcntl.F_GET_SEALS) & SEALS != SEALS:
        raise ValueError("memory that is not sealed")
    # huge pages can run out under whoever reads them
    if os.fstat(memory).st_size != size or os.fstatvfs(memory).f_bsize != mmap.PAGESIZE:
        raise ValueError(f"memory of other than {size} bytes")
    # private, since kernels before 6.7 map what is sealed against writing in no other way
    return pa.py_buffer(mmap.mmap(memory, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))


def _pictures(sizes: list[Size], data: pa.Buffer) -> pa.StructArray:
    width_px, height_px, binary = tables.PICTURE
    ends = array.array("q", accumulate((size for *_, size in sizes), initial=0))
    arrays = [
        _int32([size[0] for size in sizes], width_px.type),
        _int32([size[1] for size in sizes], height_px.type),
        pa.Array.from_buffers(binary.type, len(sizes), [None, pa.py_buffer(ends), data]),
    ]
    return pa.StructArray.from_arrays(arrays, fields=_PICTURE_FIELDS)


def _int32(values: list[int], type_: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(array.array("i", values))])


def _one_list(values: pa.Array, type_: pa.DataType) -> pa.ListArray:
    return pa.ListArray.from_arrays(_int32([0, len(values)], pa.int32()), values, type=type_)


_TYPES = {field.name: field.type for field in tables.DECODED}
_NO_PICTURES = {name: pa.nulls(1, _TYPES[name]) for name in ("pictures", "line_images", "full_res")}
"""Columns that are cut out of the memory of a unit."""
_PLAIN = [name for name in _TYPES if name not in _NO_PICTURES]
_PLAIN_TYPE = pa.struct([(name, _TYPES[name]) for name in _PLAIN])
_PICTURE_FIELDS = list(tables.PICTURE)
