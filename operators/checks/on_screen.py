"""Whether an action's point lies on the screen, and on an element of it where those are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Box = tuple[float, float, float, float]


def boxes_of(elements: Any) -> list[Box]:
    """x0, y0, x1, y1 in pixels of elements as `gui_elements` gives them, or of the same as JSON. What is none is left
    out."""
    if isinstance(elements, str):
        try:
            elements = json.loads(elements)
        except (ValueError, RecursionError):
            return []
    if not isinstance(elements, (list, tuple)):
        return []
    boxes = []
    for element in elements:
        box = element.get("bbox_px") if isinstance(element, dict) else None
        if isinstance(box, (list, tuple)) and len(box) == 4 and all(isinstance(side, (int, float)) for side in box):
            x0, y0, x1, y1 = box
            boxes.append((x0, y0, x1, y1))
    return boxes


def point_faults(
    points: Sequence[Sequence[float] | None], width_px: int, height_px: int, elements: Sequence[Box]
) -> tuple[str, ...]:
    """Of FAULTS. points: where an action begins, and where it ends; only the first is meant for an element."""
    faults = []
    named = [point for point in points if point is not None]
    if any(not (0 <= x <= width_px and 0 <= y <= height_px) for x, y in named):
        faults.append("point_outside")
    elif elements and points and points[0] is not None:
        x, y = points[0]
        if not any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in elements):
            faults.append("not_on_element")
    return tuple(faults)
