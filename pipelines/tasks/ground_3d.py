"""Find things in a picture as boxes in space: center, size and rotation before the camera, and where they are seen.

The prompt says nothing of the camera; its intrinsics only project the boxes. They come from the input table, from
a JSON file beside the picture, or from a stated field of view (operators/checks/intrinsics.py).
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from operators.checks.boxes_3d import Box3D, corners_m, distinct, project
from operators.checks.space_check import space_faults
from pipelines.replies.boxes import numbers
from pipelines.replies.grounded import BBOX_PX_OR_NULL, PLACED, label_of
from pipelines.replies.things import Kind, read_things, settle
from pipelines.replies.thinking import split_thinking
from schemas.camera import Intrinsics
from schemas.output import TEXT_OR_NULL, Output, list_of, nullable, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View

_KIND = Kind(
    places={
        "bbox_3d": (
            "box_3d", "bbox3d", "3d_bbox", "bounding_box_3d", "3d_bounding_box", "boundingbox_3d", "bbox", "box",
            "bounding_box", "boxes", "bboxes", "bboxes_3d", "boxes_3d", "pose",
        )
    },
    sizes={9: "bbox_3d"},
    words=PLACED.words,
)  # fmt: skip
_FARTHEST_M = 10_000.0
_SMALLEST_M = 0.001


def parse(text: str, view: View) -> ParsedReply:
    """A list of {"bbox_3d": [x, y, z, x_size, y_size, z_size, roll, pitch, yaw], "label": "…"}: metres, and rotations
    about x, y, z as parts of π, whatever the prompt calls them (docs/facts/qwen3-vl.md §2.4). An empty list is an
    answer.

    Of boxes that overlap too much to be two things the first stays; `duplicates` counts the others.
    """
    _, answer = split_thinking(text)
    things = read_things(answer, _KIND)
    read = [_box(element) for element in things.values]
    boxes = [box for box in read if box is not None]
    dropped = things.dropped + len(read) - len(boxes)
    settle(answer, things, len(boxes), dropped, "boxes in space")
    kept = distinct(boxes)
    camera = _camera(view)
    value = {
        "boxes": [_row(boxes[place], camera, view) for place in kept],
        "duplicates": len(boxes) - len(kept),
        "camera": None if camera is None else asdict(camera),
    }
    return ParsedReply(value, dropped, things.cut)


def _box(element: dict[str, Any]) -> Box3D | None:
    values = numbers(element.get("bbox_3d"), 9)
    if values is None:
        return None
    x, y, z, x_size, y_size, z_size, *turns = values
    if any(abs(value) > _FARTHEST_M for value in values) or min(x_size, y_size, z_size) < _SMALLEST_M:
        return None
    about_x, about_y, about_z = (turn * math.pi for turn in turns)
    return Box3D(label_of(element), (x, y, z), (x_size, y_size, z_size), (about_x, about_y, about_z))


def _camera(view: View) -> Intrinsics | None:
    known = view.parameters.get("intrinsics")
    return None if known is None else Intrinsics(**known)


def _row(box: Box3D, camera: Intrinsics | None, view: View) -> dict[str, Any]:
    corners = None if camera is None else project(corners_m(box), camera)
    return {
        "label": box.label,
        "center_m": list(box.center_m),
        "size_m": list(box.size_m),
        "rotation_rad": list(box.rotation_rad),
        "corners_px": corners,
        "bbox_px": None if corners is None else _seen(corners, view.width_px, view.height_px),
    }


def _seen(corners_px: list[list[float]], width_px: int, height_px: int) -> list[float] | None:
    """What of the corners' rectangle lies in the picture; None when nothing does."""
    x0, y0 = (max(0.0, min(corner[axis] for corner in corners_px)) for axis in (0, 1))
    x1 = min(float(width_px), max(x for x, _ in corners_px))
    y1 = min(float(height_px), max(y for _, y in corners_px))
    return [x0, y0, x1, y1] if x0 < x1 and y0 < y1 else None


def verify(value: Any, view: View) -> CheckResult:
    boxes = [
        Box3D(box["label"], tuple(box["center_m"]), tuple(box["size_m"]), tuple(box["rotation_rad"]))
        for box in value["boxes"]
    ]
    return CheckResult(space_faults(boxes, _camera(view), view.width_px, view.height_px))


def _numbers(count: int, **bounds: float) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "number", **bounds}, "minItems": count, "maxItems": count}


TASK = Task(
    name="ground_3d",
    summary="boxes in space of what a list of phrases names, and where they are seen in the picture",
    unit_kinds=("image",),
    prompt=(
        "Find all {phrases} in this image. For each one, provide its 3D bounding box. The output format required is "
        'JSON: `[{"bbox_3d":[x_center, y_center, z_center, x_size, y_size, z_size, roll, pitch, yaw],'
        '"label":"category"}]`.'
    ),
    list_parameters=("phrases",),
    camera=True,
    output=Output(
        record(
            boxes=list_of(
                record(
                    label=TEXT_OR_NULL,
                    # before the camera: X to the right, Y down, Z forward
                    center_m=_numbers(3),
                    size_m=_numbers(3, exclusiveMinimum=0),  # full lengths along the box's own axes
                    rotation_rad=_numbers(3),  # about the camera's x, then y, then z axis
                    # +++ ++- +-+ +-- -++ -+- --+ --- along its own axes; null without a camera, or when one
                    # of them is not before it; may lie outside the picture
                    corners_px={
                        "type": ["array", "null"],
                        "items": _numbers(2),
                        "minItems": 8,
                        "maxItems": 8,
                    },
                    bbox_px=BBOX_PX_OR_NULL,  # x0, y0, x1, y1 around the corners, within the picture
                )
            ),
            duplicates={"type": "integer", "minimum": 0},
            camera=nullable(
                record(
                    **{name: {"type": "number"} for name in ("fx_px", "fy_px", "cx_px", "cy_px")},
                    source={"type": "string", "enum": ["given", "sidecar", "field_of_view"]},
                )
            ),
        )
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
    verify=verify,
)
