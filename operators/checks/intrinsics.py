"""The camera of a picture: pinhole intrinsics from its row of the input table, a file beside it, or a field of view.

Looked for in that order. Focal lengths and the principal point are in pixels of the upright original.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from operators.store.inputs.beside import Entry, content_of, file_beside
from schemas.address import inner_of, is_remote, name_of
from schemas.camera import Intrinsics, Source
from schemas.errors import InputError
from schemas.input_uri import path_of, text_of

_NUMBERS = ("fx", "fy", "cx", "cy")
COLUMNS = ("intrinsics", *_NUMBERS, "fov_deg")
"""What a row of the input table, or the spec, may say of the camera. `intrinsics`: a matrix of 3 x 3, its nine numbers,
fx, fy, cx, cy in that order, or an object with those names; as JSON in a CSV. `fov_deg`: degrees. What is a number
may be written as text, as in a CSV all is; an empty text states nothing."""

MEMBER = "json"
"""Column of a tar shard's sample: what lies beside a picture as a.json elsewhere."""
READ_COLUMNS = (*COLUMNS, MEMBER)
SHARED = "cam_infos.json"
"""One file for all pictures of a folder: an object of their file names. The cookbook's 3D grounding has one."""
_LARGEST_BYTES = 32 << 20


def find_intrinsics(values: Mapping[str, Any], picture: str | None, width_px: int, height_px: int) -> Intrinsics | None:
    """None where nobody states them. values: by READ_COLUMNS. picture: its input_uri, None to look for no file; beside
    a.jpg lies a.json, a.jpg.json or SHARED, in a folder or a bucket; nothing is looked for in the web.

    Raises InputError for a statement that is no camera, StoreLost.
    """
    member = values.get(MEMBER)
    values = {name: _stated(value) for name, value in values.items() if name in COLUMNS}
    if (stated := values.get("intrinsics")) is not None:
        return _read(stated, "given", "intrinsics")
    if any(values.get(name) is not None for name in _NUMBERS):
        return _read({name: values.get(name) for name in _NUMBERS}, "given", "the camera's columns")
    for name, content in _beside(picture, member) if picture is not None else ():
        for key in ("intrinsics", "K"):
            content = content[key] if isinstance(content, dict) and key in content else content
        # what does not speak of cameras may lie beside a picture for other reasons
        if isinstance(content, list) or (isinstance(content, dict) and content.keys() & set(_NUMBERS)):
            return _read(content, "sidecar", text_of(name))
    if (fov := values.get("fov_deg")) is not None:
        return from_field_of_view(fov, width_px, height_px)
    return None


def from_field_of_view(fov_deg: Any, width_px: int, height_px: int) -> Intrinsics:
    """fov_deg: degrees across and down; one number means both alike, whatever the picture's shape, as the cookbook's
    generate_camera_params has it. The principal point is the middle. Raises InputError."""
    pair = fov_deg if isinstance(fov_deg, Sequence) and not isinstance(fov_deg, str) else (fov_deg, fov_deg)
    angles = _floats(pair, 2)
    if angles is None or not all(0 < angle < 180 for angle in angles):
        raise InputError("malformed", f"fov_deg: {fov_deg!r} is no angle between 0 and 180 degrees, and no two of them")
    fx, fy = (
        round(side / (2 * math.tan(math.radians(angle) / 2)), 2)
        for side, angle in zip((width_px, height_px), angles, strict=True)
    )
    if fx <= 0 or fy <= 0:
        raise InputError("malformed", f"fov_deg: {fov_deg!r} is too wide for {width_px} x {height_px} pixels")
    return Intrinsics(fx, fy, width_px / 2, height_px / 2, "field_of_view")


def _stated(value: Any) -> Any:
    """Of a cell: the number that its text is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value) if value.strip() else None
    except ValueError:
        return value


def _read(value: Any, source: Source, place: str) -> Intrinsics:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InputError("malformed", f"{place}: not JSON: {error}") from error
    if isinstance(value, dict):
        value = [value.get(name) for name in _NUMBERS]
    elif isinstance(value, list) and len(value) == 3:
        value = [number for row in value if isinstance(row, list) for number in row]
    if isinstance(value, list) and len(value) == 9:
        value = [value[0], value[4], value[2], value[5]]
    floats = _floats(value, 4)
    if floats is None or floats[0] <= 0 or floats[1] <= 0:
        raise InputError("malformed", f"{place}: needs fx, fy, cx and cy in pixels, or a 3 x 3 matrix of them")
    fx, fy, cx, cy = floats
    return Intrinsics(fx, fy, cx, cy, source)


def _floats(value: Any, count: int) -> tuple[float, ...] | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != count:
        return None
    if any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in value):
        return None
    try:
        floats = tuple(float(number) for number in value)
    except OverflowError:
        return None
    return floats if all(abs(number) < 1e9 for number in floats) else None  # NaN is not


def _beside(picture: str, member: Any) -> Iterator[tuple[str, Any]]:
    """(name, JSON) of the files beside it that speak of it; JSON is None where there is none."""
    container, inner = inner_of(picture)
    if inner is not None and container.lower().endswith(".tar"):
        yield MEMBER, _member(member)
        return
    if inner is not None:  # a cell of a table: its other columns came along
        return
    picture_name = name_of(picture)
    stem = PurePosixPath(picture_name).stem
    for name in dict.fromkeys((f"{stem}.json", f"{picture_name}.json", SHARED)):
        content = _object(picture, name) if is_remote(picture) else _file(path_of(picture).with_name(name))
        if name == SHARED:
            content = content.get(picture_name) if isinstance(content, dict) else None
        yield name, content


def _member(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise InputError("malformed", f"its member {MEMBER}: not readable as JSON: {error}") from error


def _object(picture: str, name: str) -> Any:
    """The JSON of a file beside a picture in a bucket; None where there is none."""
    if (file := file_beside(picture, name)) is None:
        return None
    if (file.size_bytes or 0) > _LARGEST_BYTES:
        raise InputError("too_large", f"{name}: {file.size_bytes} bytes; at most {_LARGEST_BYTES} are read")
    try:
        return _parsed_object(file)
    except (ValueError, RecursionError) as error:
        raise InputError("malformed", f"{name}: not readable as JSON: {error}") from error


@lru_cache(maxsize=4)
def _parsed_object(file: Entry) -> Any:
    return json.loads(content_of(file))


def _file(path: Path) -> Any:
    """The JSON of a file; None where there is none."""
    name = text_of(path.name)
    try:
        if not os.path.isfile(path):  # noqa: PTH113  a name may be too long to be asked for
            return None
        stat = path.stat()
        if stat.st_size > _LARGEST_BYTES:
            raise InputError("too_large", f"{name}: {stat.st_size} bytes; at most {_LARGEST_BYTES} are read")
        return _parsed(path, stat.st_mtime_ns, stat.st_size)
    except PermissionError as error:
        raise InputError("permission", f"{name}: {error.strerror}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("malformed", f"{name}: not readable as JSON: {error}") from error


@lru_cache(maxsize=4)
def _parsed(path: Path, mtime_ns: int, size: int) -> Any:  # noqa: ARG001  a changed file is another one
    return json.loads(path.read_text(encoding="utf-8"))
