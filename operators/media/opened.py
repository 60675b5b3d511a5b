"""A unit as the engine's side has it: its pictures as views of Arrow buffers, and its columns of the result rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.decode import Media
from schemas.request import Clip, Picture
from schemas.task import TextLine, Unit, View

UNIT_COLUMNS = (
    *("input_id", "input_uri", "unit_index", "unit_count", "unit_kind", "page", "start_s", "end_s"),
    *("width_px", "height_px", "times_s", "text_layer", "blank"),
)
_MEDIA: dict[str, Media] = {"page": "document", "image": "image", "clip": "video"}


@dataclass(frozen=True)
class Opened:
    """unit: None when it could not be read; then error says why. columns: of the result rows."""

    unit: Unit | None
    error: dict[str, Any] | None
    columns: dict[str, Any]


def opened(row: pa.StructScalar) -> Opened:
    """From a row of UNITS."""
    columns = {key: row[key].as_py() for key in UNIT_COLUMNS}
    columns |= {"page_count": None, "decode_s": row["decode_s"].as_py() or 0.0}
    error = row["error"].as_py()
    return Opened(_unit(row, columns) if error is None else None, error, columns)


def media_of(row: dict[str, Any]) -> Media | None:
    """What the input of a result row is opened as, to see its unit again; None where it shows nothing that is one."""
    if row["unit_kind"] == "image" and Path(row["input_uri"]).is_dir():
        return "episode"
    return _MEDIA.get(row["unit_kind"])


def view_of(columns: dict[str, Any]) -> View:
    """From the unit's columns of a result row; parameters are the request's, and left out."""
    return View(
        unit_kind=columns["unit_kind"],
        unit_index=columns["unit_index"],
        width_px=columns["width_px"] or 0,
        height_px=columns["height_px"] or 0,
        page=columns["page"],
        start_s=columns["start_s"],
        end_s=columns["end_s"],
        times_s=tuple(columns["times_s"] or ()),
        page_count=columns["page_count"],
        text_layer=columns["text_layer"],
        blank=columns["blank"],
    )


def pictures(rows: Iterable[pa.StructScalar]) -> tuple[Picture, ...]:
    """Views of the Arrow buffers; what holds the buffers may go, the views keep them."""
    return tuple(
        Picture(row["width_px"].as_py(), row["height_px"].as_py(), memoryview(row["data"].as_buffer())) for row in rows
    )


def _unit(row: pa.StructScalar, columns: dict[str, Any]) -> Unit:
    view = view_of(columns)
    if view.unit_kind == "text":
        return Unit(view, ())
    own = pictures(row["pictures"])
    if view.unit_kind == "clip":
        return Unit(view, Clip(own, view.times_s))
    lines = _text_lines(row["line_images"].values) if row["line_images"].is_valid else None
    return Unit(view, own[0], lines, (full_res_of(row["full_res"]),))


def full_res_of(row: pa.StructScalar) -> Picture | None:
    return pictures([row])[0] if row.is_valid else None


def _text_lines(line_images: pa.StructArray) -> tuple[TextLine, ...]:
    lines = []
    for _, pieces in groupby(line_images, key=lambda strip: strip["line"].as_py()):
        own = list(pieces)
        x0, y0, x1, y1 = own[0]["bbox_px"].as_py()
        lines.append(TextLine((x0, y0, x1, y1), pictures(piece["picture"] for piece in own)))
    return tuple(lines)
