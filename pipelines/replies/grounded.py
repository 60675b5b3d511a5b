"""Things with their places in a picture: boxes `bbox_2d`, points `point_2d` on the 0-1000 scale, each with a label."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pipelines.replies.boxes import SLACK, bbox_px, numbers, point_px
from pipelines.replies.things import Kind, Things, read_things
from pipelines.replies.thinking import split_thinking
from schemas.task import View

LABEL_KEYS = ("label", "category", "name", "object", "description")
"""An element is known by its place alone: these words also stand in prose, before a colon."""
BOX_ALIASES = (
    "bbox", "box_2d", "box", "bounding_box", "boundingbox", "bboxes", "boxes", "bounding_boxes", "bbox2d", "2d_bbox",
    "bbox_px", "bboxes_2d", "xyxy", "bbox_xyxy", "rect", "rectangle", "region", "coordinates", "coords", "coordinate",
    "position", "location", "polygon", "poly", "quad", "bounds", "box2d",
)  # fmt: skip
POINT_ALIASES = ("point", "points", "points_2d", "point2d", "keypoint", "click_point", "center_point", "center")
PLACED = Kind(
    places={"bbox_2d": BOX_ALIASES, "point_2d": POINT_ALIASES},
    sizes={4: "bbox_2d", 2: "point_2d"},
    words=(*LABEL_KEYS, "class", "class_name", "category_name", "object_name", "text"),
)
"""What stands somewhere in a picture."""

NUMBER_PX = {"type": "number", "minimum": 0}
BBOX_PX: dict[str, Any] = {"type": "array", "items": NUMBER_PX, "minItems": 4, "maxItems": 4}
"""x0, y0, x1, y1 in pixels of the original."""
BBOX_PX_OR_NULL = {**BBOX_PX, "type": ["array", "null"]}
POINT_PX_OR_NULL = {"type": ["array", "null"], "items": NUMBER_PX, "minItems": 2, "maxItems": 2}
"""x, y in pixels of the original."""


@dataclass(frozen=True)
class Placed:
    """One thing. bbox_px, point_px: in pixels of the original, within the picture; None where it names none.
    element: all that the reply says of it."""

    label: str | None
    bbox_px: list[float] | None
    point_px: list[float] | None
    element: dict[str, Any]


@dataclass(frozen=True)
class Grounded:
    """values: in the order of the reply. dropped: its things without a readable place, and pieces of it. things: what
    it was read from. faults: of schemas.task.FAULTS, why some were dropped."""

    values: tuple[Placed, ...]
    dropped: int
    things: Things
    faults: tuple[str, ...]


def read_grounded(text: str, view: View, *, kind: Kind = PLACED, needs_place: bool = True) -> Grounded:
    """needs_place: whether a thing without box and point is none. Raises nothing."""
    _, answer = split_thinking(text)  # a thinking model drafts its list before it gives it
    read = read_things(answer, kind)
    values: list[Placed] = []
    dropped, outside = read.dropped, False
    for element in read.values:
        box, point = element.get("bbox_2d"), element.get("point_2d")
        placed = Placed(
            label=label_of(element),
            bbox_px=bbox_px(box, view.width_px, view.height_px),
            point_px=point_px(point, view.width_px, view.height_px),
            element=element,
        )
        lost = (box is not None and placed.bbox_px is None) or (point is not None and placed.point_px is None)
        outside = outside or (lost and _beyond(box if placed.bbox_px is None else point))
        placeless = placed.bbox_px is None and placed.point_px is None
        if placeless and (needs_place or lost):
            dropped += 1
        else:
            values.append(placed)
            dropped += lost
    return Grounded(tuple(values), dropped, read, ("box_outside",) if outside else ())


def label_of(element: dict[str, Any]) -> str | None:
    """What it is called, whichever of the usual keys says it."""
    return next((text for key in PLACED.words if (text := clean(element.get(key)))), None)


def clean(value: Any) -> str:
    """One line of normalized text; of a whole number its digits, while others may have lost some; else empty."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return " ".join(unicodedata.normalize("NFC", value).split()) if isinstance(value, str) else ""


def box_faults(boxes: Collection[list[float] | None]) -> tuple[str, ...]:
    """Of schemas.task.FAULTS: empty_box. Boxes that lie outside are not read in the first place."""
    return ("empty_box",) if any(box and (box[0] >= box[2] or box[1] >= box[3]) for box in boxes) else ()


def _beyond(value: Any) -> bool:
    """Whether numbers were understood and lie outside the picture."""
    sides = numbers(value, 4) or numbers(value, 2)
    return sides is not None and any(not -SLACK <= side <= 1000 + SLACK for side in sides)
