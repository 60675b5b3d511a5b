"""A unit as the engine's side has it: its pictures as views of Arrow buffers, and its columns of the result rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import pyarrow as pa

from operators.media.formats import EPISODE
from schemas.input_uri import path_of
from schemas.request import Clip, Picture
from schemas.tables import UNIT_COLUMNS
from schemas.task import TextLine, Unit, View

_VIEW_COLUMNS = tuple(field.name for field in fields(View) if field.name != "parameters")
_MEDIA_BEFORE = {"page": "document", "image": "image", "clip": "video"}


@dataclass(frozen=True)
class Opened:
    """unit: None when it could not be read; then error says why. columns: of the result rows."""

    unit: Unit | None
    error: dict[str, Any] | None
    columns: dict[str, Any]


def opened(row: pa.StructScalar) -> Opened:
    """From a row of UNITS."""
    columns = {name: row[name].as_py() for name in UNIT_COLUMNS}
    error = row["error"].as_py()
    return Opened(_unit(row, columns) if error is None else None, error, columns)


def media_of(row: Mapping[str, Any]) -> str | None:
    """What the input of a result row is opened as, to see its unit again; None where it shows nothing that is one."""
    if row["unit_kind"] not in _MEDIA_BEFORE:
        return None
    if (media := row.get("media")) is not None:
        return str(media)
    # parts of older versions have no such column
    is_screen = row["unit_kind"] == "image" and os.path.isdir(path_of(row["input_uri"]))  # noqa: PTH112  of any name
    return EPISODE if is_screen else _MEDIA_BEFORE[row["unit_kind"]]


def view_of(columns: Mapping[str, Any]) -> View:
    """From the unit's columns of a result row; parameters are the request's, and left out."""
    values: dict[str, Any] = {
        name: tuple(columns[name]) if isinstance(columns[name], list) else columns[name]
        for name in _VIEW_COLUMNS
        if columns.get(name) is not None
    }
    return View(**values)


def pictures(rows: Iterable[pa.StructScalar]) -> tuple[Picture, ...]:
    """Views of the Arrow buffers; what holds the buffers may go, the views keep them."""
    return tuple(
        Picture(row["width_px"].as_py(), row["height_px"].as_py(), memoryview(row["data"].as_buffer())) for row in rows
    )


def full_res_of(row: pa.StructScalar) -> Picture | None:
    return pictures([row])[0] if row.is_valid else None


def _unit(row: pa.StructScalar, columns: dict[str, Any]) -> Unit:
    view = view_of(columns)
    if view.unit_kind == "text":
        return Unit(view, ())
    frames = pictures(row["pictures"])
    if view.unit_kind == "clip":
        return Unit(view, Clip(frames, view.times_s))
    lines = _text_lines(row["line_images"].values) if row["line_images"].is_valid else None
    return Unit(view, frames[0], lines, (full_res_of(row["full_res"]),))


def _text_lines(line_images: pa.StructArray) -> tuple[TextLine, ...]:
    lines = []
    for _, group in groupby(line_images, key=lambda piece: piece["line"].as_py()):
        pieces = list(group)
        x0, y0, x1, y1 = pieces[0]["bbox_px"].as_py()
        lines.append(TextLine((x0, y0, x1, y1), pictures(piece["picture"] for piece in pieces)))
    return tuple(lines)
