"""Whether boxes in space can be believed: before the camera, in the picture, agreed on which way is up, as large as
what they are called, and standing as it does. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from operators.checks.boxes_3d import NEAR_M, Box3D, corners_m, project, rotation, up_angle_deg
from operators.checks.thing_sizes import size_of
from schemas.camera import Intrinsics

UP_DEG = 10.0
"""By which the vertical axes of upright things may differ. The model's angles come in steps of 1.8 degrees, and its own
good answers agree within one; the wrong reading of an angle costs thirty."""
_RAMP_DEG = 22.0
"""The same of vehicles: the steepest streets rise by 35 %, and so do ramps."""
_FALLEN_DEG = 60.0
"""From where furniture has fallen over. A vehicle that stands so before a camera has another thing's pose."""
_TURNED_RAD = 2 * math.pi + 0.1
"""More is no angle but one in other units."""
_RAYS, _STEPS = 12, 5
"""Pixels across and down through which a box may be seen, and points along its sides that may be."""

_VEHICLES = frozenset(("car", "truck", "bus", "van", "taxi", "suv", "tram"))
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


def is_vehicle(label: str | None) -> bool:
    words = re.findall(r"[^\W\d_]+", (label or "").casefold())
    last = words[-1] if words else ""
    return last in _VEHICLES or last.removesuffix("s") in _VEHICLES or last.endswith("车")


def space_faults(boxes: Sequence[Box3D], camera: Intrinsics | None, width_px: int, height_px: int) -> tuple[str, ...]:
    """Of schemas.task.FAULTS: no_camera, behind_camera, box_outside, up_disagrees, implausible_size, implausible_pose.
    What is partly behind the camera or out of the picture is none of them."""
    faults = []
    if boxes and camera is None:
        faults.append("no_camera")
    if any((corners_m(box)[:, 2] < NEAR_M).all() for box in boxes):
        faults.append("behind_camera")
    if camera is not None and any(not is_seen(box, camera, width_px, height_px) for box in boxes):
        faults.append("box_outside")
    upright = [box for box in boxes if is_upright(box.label)]
    if any(_disagree(one, other) for one, other in combinations(upright, 2)):
        faults.append("up_disagrees")
    if any((size := size_of(box.label)) is not None and not size.has(box.size_m) for box in boxes):
        faults.append("implausible_size")
    if not all(map(_has_pose, boxes)):
        faults.append("implausible_pose")
    return tuple(faults)


def _disagree(one: Box3D, other: Box3D) -> bool:
    """On which way is up, where neither has fallen over."""
    vehicles = is_vehicle(one.label) or is_vehicle(other.label)
    angle = up_angle_deg(one, other)
    return angle > _RAMP_DEG if vehicles else UP_DEG < angle < _FALLEN_DEG


def _has_pose(box: Box3D) -> bool:
    """Whether its angles are angles, and a vehicle stands on its wheels, however the camera is held."""
    if any(abs(angle) > _TURNED_RAD for angle in box.rotation_rad):
        return False
    level = Box3D(None, box.center_m, box.size_m, (0.0, 0.0, 0.0))
    return not is_vehicle(box.label) or up_angle_deg(box, level) < _FALLEN_DEG


def is_seen(box: Box3D, camera: Intrinsics, width_px: int, height_px: int) -> bool:
    """Whether any of a box is projected into the picture. It may stand over the edge: a car that drives out of the
    picture is boxed whole."""
    steps = np.linspace(-0.5, 0.5, _STEPS)
    points = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3) * np.array(box.size_m)
    points = points @ rotation(box).T + np.array(box.center_m)
    pixels = project(points[points[:, 2] >= NEAR_M], camera) or []
    if any(0 <= x <= width_px and 0 <= y <= height_px for x, y in pixels):
        return True
    # what fills the picture may have no point in it, but lies before some of its pixels
    u, v = np.meshgrid(np.linspace(0, width_px, _RAYS), np.linspace(0, height_px, _RAYS))
    rays = np.stack([(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones_like(u)], axis=-1)
    return _is_hit(box, rays.reshape(-1, 3))


def _is_hit(box: Box3D, rays: np.ndarray) -> bool:
    """Whether any of [n, 3] directions from the camera meets the box before it: the slabs of its own axes."""
    turn = rotation(box)
    directions = rays @ turn
    directions = np.where(np.abs(directions) < 1e-9, 1e-9, directions)
    start = -np.array(box.center_m) @ turn
    half = np.array(box.size_m) / 2
    one, other = (-half - start) / directions, (half - start) / directions
    enter, leave = np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
    return bool(((enter <= leave) & (leave >= NEAR_M)).any())
