"""Draw what a result says of places into the picture: boxes, points and boxes in space. Knows no task.

A mark is whatever in a result has a `bbox_px`, `point_px` or `corners_px`. Outlines are thin and lie around boxes; each
mark has its number and its label beside it, where the picture is plain: never over what it shows. What is a text, and
what finds no place there, stands in a margin beside the picture, at the height of its mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.prompts.rgb import RGB
from operators.checks.boxes_3d import EDGES

COLORS = ("#c2185b", "#1b7a2e", "#2f4bc7", "#b34700", "#7b1fa2", "#00696b", "#7a4a14", "#1a1a75")
"""Dark enough for white letters on them, and for letters of them on white."""
PLAIN = 40
"""Levels of gray within which a picture counts as plain: paper with its noise, and no letters."""
_NAME_LETTERS, _TEXT_LETTERS = 40, 90
_LEAST_PX = 700
"""Of the shorter side; a smaller picture is enlarged, so that letters beside it are in proportion."""
_PAD_PX = 3

Place: TypeAlias = "tuple[float, float, float, float]"
"""x0, y0, x1, y1 in pixels of what is drawn."""


@dataclass(frozen=True)
class Mark:
    """Places in pixels of the original. corners_px: of a box in space, in the order of CORNERS in
    operators/checks/boxes_3d.py; drawn instead of bbox_px. frame: index of a clip's frame. is_text: whether the label
    is what is written there, and no name of it."""

    label: str
    bbox_px: Sequence[float] | None
    point_px: Sequence[float] | None
    corners_px: Sequence[Sequence[float]] | None
    frame: int
    is_text: bool = False


def marks_in(value: Any) -> Iterator[Mark]:
    """Of a result, in its order."""
    if isinstance(value, list):
        for entry in value:
            yield from marks_in(entry)
    elif isinstance(value, dict):
        box, point, corners = (value.get(key) for key in ("bbox_px", "point_px", "corners_px"))
        if box or point or corners:
            label, is_text = _label(value)
            yield Mark(label, box, point, corners, value.get("frame_index", 0), is_text)
        for entry in value.values():
            yield from marks_in(entry)


def draw(pixels: RGB, marks: Sequence[Mark], width_px: int, height_px: int) -> Image.Image:
    """pixels: the picture at any size. width_px, height_px: the original's, which the marks refer to. Each mark bears
    its number from 1, and its label as far as the font has its letters. The margin with labels, where there is one, is
    to the right of the picture."""
    picture = Image.fromarray(pixels).convert("RGB")
    if (times := -(-_LEAST_PX // min(picture.size))) > 1:
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)
    gray = np.asarray(picture.convert("L"))
    scale = picture.width / width_px, picture.height / height_px
    line_px = max(1, round(min(picture.size) / 500))
    letters = _Letters(max(14, round(min(picture.size) / 60)))
    pen = ImageDraw.Draw(picture)
    anchors = [_outlined(pen, mark, _color(number), scale, line_px) for number, mark in enumerate(marks)]
    taken = _Taken(gray, [anchor for anchor in anchors if anchor is not None])
    beside: list[tuple[Place, str, str, bool]] = []
    for number, (mark, anchor) in enumerate(zip(marks, anchors, strict=True), start=1):
        if anchor is None:
            continue
        named = f"{number} {mark.label}".strip()
        place = None
        tag = ""
        for tag in (str(number),) if mark.is_text else dict.fromkeys((named, str(number))):
            if (place := taken.free(anchor, letters.size(tag))) is not None:
                letters.write(pen, place, tag, _color(number - 1))
                break
        if tag != named or place is None:
            beside.append((anchor, named, _color(number - 1), place is None))
    return _with_margin(picture, beside, letters, line_px) if beside else picture


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _outlined(
    pen: ImageDraw.ImageDraw, mark: Mark, color: str, scale: tuple[float, float], line_px: int
) -> Place | None:
    """Draws a mark; what of the picture it takes, None where that is nothing."""
    width, height = pen.im.size
    corners = [(x * scale[0], y * scale[1]) for x, y in mark.corners_px or ()]
    ends: list[tuple[float, float]] = []
    for start, end in EDGES if corners else ():
        if (line := _within(corners[start], corners[end], width, height)) is not None:
            pen.line(line, fill="white", width=line_px + 3)  # dark things are outlined too
            pen.line(line, fill=color, width=line_px + 1)
            ends += [line[:2], line[2:]]
    anchor = _around(ends) if ends else None
    if mark.bbox_px and not corners:
        x0, y0, x1, y1 = (side * scale[axis % 2] for axis, side in enumerate(mark.bbox_px))
        anchor = x0 - line_px - 1, y0 - line_px - 1, x1 + line_px + 1, y1 + line_px + 1
        pen.rectangle(anchor, outline=color, width=line_px)
        pen.rectangle((anchor[0] - 1, anchor[1] - 1, anchor[2] + 1, anchor[3] + 1), outline="white")
    if mark.point_px is not None:
        x, y = mark.point_px[0] * scale[0], mark.point_px[1] * scale[1]
        reach = 4 * line_px + 2
        pen.circle((x, y), reach + 1, outline="white", width=line_px + 3)
        pen.circle((x, y), reach, outline=color, width=line_px + 1)
        pen.circle((x, y), line_px, fill=color, outline="white")
        anchor = x - reach, y - reach, x + reach, y + reach
    if anchor is None:
        return None
    x0, y0, x1, y1 = anchor
    return max(0.0, min(x0, width)), max(0.0, min(y0, height)), max(0.0, min(x1, width)), max(0.0, min(y1, height))


def _around(points: Sequence[tuple[float, float]]) -> Place:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


class _Taken:
    """What labels must not cover: what the picture shows, the outlines of marks, and other labels."""

    def __init__(self, gray: Any, anchors: Sequence[Place]) -> None:
        self._gray = gray
        self._anchors = anchors
        self._labels: list[Place] = []

    def free(self, anchor: Place, size: tuple[int, int]) -> Place | None:
        """Beside or above, else below; None where nothing is free. It is taken then."""
        (x0, y0, x1, y1), (width, height), gap = anchor, size, 2
        for left, top in (
            (x0, y0 - height - gap), (x0 - width - gap, y0), (x1 + gap, y0), (x1 - width, y0 - height - gap),
            (x0 - width - gap, y1 - height), (x1 + gap, y1 - height), (x0, y1 + gap), (x1 - width, y1 + gap),
        ):  # fmt: skip
            place = left, top, left + width, top + height
            if self._is_free(place):
                self._labels.append(place)
                return place
        return None

    def _is_free(self, place: Place) -> bool:
        x0, y0, x1, y1 = (round(side) for side in place)
        if x0 < 0 or y0 < 0 or y1 > self._gray.shape[0] or x1 > self._gray.shape[1]:
            return False
        under = self._gray[y0:y1, x0:x1]
        if not under.size or int(under.max()) - int(under.min()) > PLAIN:
            return False
        return not any(_meet(place, other) for other in self._labels) and not any(
            _crosses(place, other) for other in self._anchors
        )


def _meet(one: Place, other: Place) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _crosses(place: Place, box: Place) -> bool:
    """Whether an outline runs through a place: it may lie wholly within or without."""
    within = box[0] < place[0] and box[1] < place[1] and place[2] < box[2] and place[3] < box[3]
    return _meet(place, box) and not within


class _Letters:
    def __init__(self, size_px: int) -> None:
        self.font: Any = ImageFont.load_default(size_px)
        self.height = round(size_px * 1.25) + 2

    def size(self, text: str) -> tuple[int, int]:
        return round(self.font.getlength(text)) + 2 * _PAD_PX, self.height

    def write(self, pen: ImageDraw.ImageDraw, place: Place, text: str, color: str) -> None:
        pen.rectangle(place, fill=color)
        pen.text((place[0] + _PAD_PX, (place[1] + place[3]) / 2), text, font=self.font, fill="white", anchor="lm")


def _with_margin(
    picture: Image.Image, beside: Sequence[tuple[Place, str, str, bool]], letters: _Letters, line_px: int
) -> Image.Image:
    """beside: of each label its mark's place, its text and color, and whether a line is to lead there."""
    entries = sorted(beside, key=lambda entry: entry[0][1])
    width = max(letters.size(text)[0] for _, text, *_ in entries) + letters.height
    tops: list[int] = []
    for anchor, *_ in entries:
        tops.append(max(round(anchor[1]), tops[-1] + letters.height if tops else 0))
    height = max(picture.height, tops[-1] + letters.height)
    drawn = Image.new("RGB", (picture.width + width, height), "white")
    drawn.paste(picture, (0, 0))
    pen = ImageDraw.Draw(drawn)
    pen.line((picture.width, 0, picture.width, height), fill="#c8c8c8")
    for top, (anchor, text, color, leads) in zip(tops, entries, strict=True):
        left, middle = picture.width + letters.height // 2, top + letters.height / 2
        if leads:
            pen.line((anchor[2], anchor[1], left, middle), fill=color, width=line_px)
        pen.text((left + _PAD_PX, middle), text, font=letters.font, fill=color, anchor="lm")
    return drawn


def _label(value: dict[str, Any]) -> tuple[str, bool]:
    """And whether it is what is written there."""
    key = next((key for key in ("label", "type", "role", "text") if isinstance(value.get(key), str)), "")
    text = value[key] if key else ""
    if key == "role" and isinstance(value.get("text"), str):
        text = f"{text} {value['text']}"
    for name in value.get("names") or ():
        text = text or name["name"]
        text = name["name"] if name["language"] == "en" else text
    shown = " ".join("".join(char for char in text if char.isprintable() and ord(char) < 0x250).split())
    most = _TEXT_LETTERS if key == "text" else _NAME_LETTERS
    return shown if len(shown) <= most else f"{shown[:most].rstrip()} …", key == "text"


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
