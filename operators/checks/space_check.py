"""Whether boxes in space can be believed: before the camera, on the picture, and agreed on which way is up. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from operators.checks.boxes_3d import Box3D, is_before_camera, project, up_angle_deg
from schemas.camera import Intrinsics

UP_DEG = 10.0
"""By which the vertical axes of upright things may differ. The model's angles come in steps of 1.8 degrees, and its own
good answers agree within one; the wrong reading of an angle costs thirty."""

_UPRIGHT = frozenset(
    [
        *("chair", "armchair", "stool", "bench", "sofa", "couch", "table", "desk", "counter", "bed", "crib", "cabinet"),
        *("cupboard", "wardrobe", "dresser", "nightstand", "bookshelf", "bookcase", "fridge", "refrigerator", "oven"),
        *("stove", "dishwasher", "toilet", "bathtub", "car", "truck", "bus", "van", "taxi", "suv", "tram"),
    ]
)
_UPRIGHT_ZH = ("椅", "椅子", "凳子", "沙发", "桌", "桌子", "茶几", "床", "柜", "柜子", "冰箱", "马桶", "浴缸", "车")


def is_upright(label: str | None) -> bool:
    """Whether such things stand as a rule: furniture and vehicles, in English or Chinese, by the end of the label
    ("black chair 2"). What we do not know is not checked."""
    words = re.findall(r"[^\W\d_]+", (label or "").casefold())
    last = words[-1] if words else ""
    return last in _UPRIGHT or last.removesuffix("s") in _UPRIGHT or last.endswith(_UPRIGHT_ZH)


def space_faults(boxes: Sequence[Box3D], camera: Intrinsics | None, width_px: int, height_px: int) -> tuple[str, ...]:
    """Of schemas.task.FAULTS: no_camera, behind_camera, box_outside, up_disagrees."""
    faults = []
    if boxes and camera is None:
        faults.append("no_camera")
    if not all(is_before_camera(box) for box in boxes):
        faults.append("behind_camera")
    if camera is not None and any(not middle_is_seen(box, camera, width_px, height_px) for box in boxes):
        faults.append("box_outside")
    upright = [box for box in boxes if is_upright(box.label)]
    if any(up_angle_deg(one, other) > UP_DEG for one, other in combinations(upright, 2)):
        faults.append("up_disagrees")
    return tuple(faults)


def middle_is_seen(box: Box3D, camera: Intrinsics, width_px: int, height_px: int) -> bool:
    """Whether the middle of a box is projected into the picture. Its corners may stand over the edge: a car that drives
    out of the picture is boxed whole."""
    pixels = project(np.array([box.center_m]), camera)
    if pixels is None:
        return False
    ((x, y),) = pixels
    return 0 <= x <= width_px and 0 <= y <= height_px
