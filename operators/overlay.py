"""Draw what a result says of places into the picture: boxes, points and boxes in space. Knows no task.

A mark is whatever in a result has a `bbox_px`, `point_px` or `corners_px`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from model.prompts.rgb import RGB
from operators.checks.boxes_3d import EDGES

COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#000075")
_LABEL_LETTERS = 40


@dataclass(frozen=True)
class Mark:
    """Places in pixels of the original. corners_px: of a box in space, in the order of CORNERS in
    operators/checks/boxes_3d.py; drawn instead of bbox_px. frame: index of a clip's frame."""

    label: str
    bbox_px: Sequence[float] | None
    point_px: Sequence[float] | None
    corners_px: Sequence[Sequence[float]] | None
    frame: int


def marks_in(value: Any) -> Iterator[Mark]:
    """Of a result, in its order."""
    if isinstance(value, list):
        for entry in value:
            yield from marks_in(entry)
    elif isinstance(value, dict):
        box, point, corners = (value.get(key) for key in ("bbox_px", "point_px", "corners_px"))
        if box or point or corners:
            yield Mark(_label(value), box, point, corners, value.get("frame_index", 0))
        for entry in value.values():
            yield from marks_in(entry)


def draw(pixels: RGB, marks: Sequence[Mark], width_px: int, height_px: int) -> Image.Image:
    """pixels: the picture at any size. width_px, height_px: the original's, which the marks refer to. Each mark bears
    its number from 1, and its label as far as the font has its letters."""
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    line_px = max(2, round(min(picture.size) / 300))
    font = ImageFont.load_default(max(12, round(min(picture.size) / 40)))
    scale = picture.width / width_px, picture.height / height_px
    labels: list[tuple[tuple[float, float], str, str]] = []  # over everything that is drawn
    for number, mark in enumerate(marks, start=1):
        color = COLORS[(number - 1) % len(COLORS)]
        corners = [(x * scale[0], y * scale[1]) for x, y in mark.corners_px or ()]
        for start, end in EDGES if corners else ():
            if (line := _within(corners[start], corners[end], picture.width, picture.height)) is not None:
                pen.line(line, fill=color, width=line_px)
        box = [side * scale[axis % 2] for axis, side in enumerate(mark.bbox_px or ())]
        if box and not corners:
            pen.rectangle(box, outline=color, width=line_px)
        at = (box[0], box[1]) if box else None
        if mark.point_px is not None:
            at = mark.point_px[0] * scale[0], mark.point_px[1] * scale[1]
            pen.circle(at, 3 * line_px, fill=color, outline="white")
        if at is not None:
            labels.append((at, f"{number} {mark.label}".strip(), color))
    for at, text, color in labels:
        _write(pen, at, text, font, color)
    return picture


def _write(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, font: Any, color: str) -> None:
    x, y = at
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    y = max(0.0, y - bottom - 2)
    pen.rectangle((x, y, x + right - left + 4, y + bottom - top + 4), fill=color)
    pen.text((x + 2 - left, y + 2 - top), text, font=font, fill="white")


def _label(value: dict[str, Any]) -> str:
    text = next((value[key] for key in ("label", "text", "role", "type") if isinstance(value.get(key), str)), "")
    for name in value.get("names") or ():
        text = text or name["name"]
        text = name["name"] if name["language"] == "en" else text
    shown = "".join(char for char in text if char.isprintable() and ord(char) < 0x250)
    return " ".join(shown.split())[:_LABEL_LETTERS]


def _within(
    start: tuple[float, float], end: tuple[float, float], width: int, height: int
) -> tuple[float, float, float, float] | None:
    """What of a line lies within the picture (Liang and Barsky 1984): a corner may lie a million pixels away."""
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    first, last = 0.0, 1.0
    for step, room in ((-dx, x), (dx, width - x), (-dy, y), (dy, height - y)):
        if step == 0:
            if room < 0:
                return None
        elif step < 0:
            first = max(first, room / step)
        else:
            last = min(last, room / step)
    if first > last:
        return None
    return x + first * dx, y + first * dy, x + last * dx, y + last * dy
