"""Boxes in space before a camera: corners, projection, overlap, duplicates, and which way is up. Pure.

Camera frame: X to the right, Y down, Z forward; metres and radians. A box's own x, y and z axes are turned about the
camera's x axis first, then y, then z: R = Rz Ry Rx. Of upright things the own y axis is the vertical one
(docs/facts/qwen3-vl.md §2.4, worked out on the cookbook's sample outputs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.camera import Intrinsics

CORNERS = tuple((x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1))
"""Signs along the box's own axes: +++, ++-, +-+, +--, -++, -+-, --+, ---; the order of all corners."""
EDGES = ((0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7))
_FACES = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
NEAR_M = 0.01
"""Nearer than this nothing can be projected."""
SAME = 0.5
"""Overlap of union from which two boxes of one label are one thing: the stricter of the two hits in 3D detection (SUN
RGB-D and KITTI count from 0.25 and 0.5 on). Boxes around chairs that stand close share a third."""


@dataclass(frozen=True)
class Box3D:
    """size_m: full lengths along the box's own x, y, z. rotation_rad: about the camera's x, y, z, in that order."""

    label: str | None
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    rotation_rad: tuple[float, float, float]


def rotation(box: Box3D) -> np.ndarray:
    """[3, 3]; the columns are the box's own axes in the camera frame."""
    (ca, sa), (cb, sb), (cc, sc) = ((math.cos(angle), math.sin(angle)) for angle in box.rotation_rad)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def corners_m(box: Box3D) -> np.ndarray:
    """[8, 3] in the camera frame, in the order of CORNERS."""
    along_axes = np.array(CORNERS) * np.array(box.size_m) / 2
    return np.asarray(along_axes @ rotation(box).T + np.array(box.center_m))


def project(points_m: np.ndarray, camera: Intrinsics) -> list[list[float]] | None:
    """[x, y] in pixels for each of [n, 3]; None when any of them is not before the camera."""
    if (points_m[:, 2] < NEAR_M).any():
        return None
    x, y, z = points_m.T
    pixels = np.stack([camera.fx_px * x / z + camera.cx_px, camera.fy_px * y / z + camera.cy_px], axis=1)
    return [[float(u), float(v)] for u, v in pixels]


def up_angle_deg(one: Box3D, other: Box3D) -> float:
    """Between their vertical axes; a box that stands on its head counts as upright. 0..90."""
    cosine = abs(float(rotation(one)[:, 1] @ rotation(other)[:, 1]))
    return math.degrees(math.acos(min(cosine, 1.0)))


def distinct(boxes: Sequence[Box3D]) -> list[int]:
    """3D non-maximum suppression without scores: places of the boxes that overlap no earlier one of their label by
    SAME or more. The model's order stands for its confidence."""
    kept: list[int] = []
    for place, box in enumerate(boxes):
        if not any(_same(boxes[other], box) for other in kept):
            kept.append(place)
    return kept


def _same(one: Box3D, other: Box3D) -> bool:
    if (one.label or "").casefold() != (other.label or "").casefold():
        return False
    volumes = math.prod(one.size_m), math.prod(other.size_m)
    return min(volumes) >= SAME * max(volumes) and overlap_of_union(one, other) >= SAME


def overlap_of_union(one: Box3D, other: Box3D) -> float:
    """Intersection over union of the volumes, exact for any rotation; 0..1."""
    reach = math.hypot(*one.size_m) / 2 + math.hypot(*other.size_m) / 2
    if math.dist(one.center_m, other.center_m) >= reach:
        return 0.0
    shared = _shared_m3(one, other)
    union = math.prod(one.size_m) + math.prod(other.size_m) - shared
    return min(1.0, shared / union) if union > 0 else 0.0


def _shared_m3(one: Box3D, other: Box3D) -> float:
    """One box cut by the six planes of the other; the volume of what is left, a convex body."""
    corners = corners_m(one)
    faces = [corners[list(face)] for face in _FACES]
    center = np.array(other.center_m)
    slack = 1e-9 * max(*one.size_m, *other.size_m)
    for axis, length in zip(rotation(other).T, other.size_m, strict=True):
        for normal in (axis, -axis):
            faces = _cut(faces, normal, float(normal @ center) + length / 2, slack)
            if not faces:
                return 0.0
    inside = np.concatenate(faces).mean(axis=0)
    volume = 0.0
    for face in faces:
        fan = face - inside
        # pyramids from a point inside over the triangles of the face
        volume += abs(sum(float(np.dot(fan[0], np.cross(fan[i], fan[i + 1]))) for i in range(1, len(fan) - 1))) / 6
    return volume


def _cut(faces: list[np.ndarray], normal: np.ndarray, offset: float, slack: float) -> list[np.ndarray]:
    """What of a convex body, given by its faces, lies where normal · x <= offset; the cut becomes a face."""
    heights = [face @ normal - offset for face in faces]
    if max(float(height.max()) for height in heights) <= slack:
        return faces
    kept: list[np.ndarray] = []
    rim: list[np.ndarray] = []
    for face, height in zip(faces, heights, strict=True):
        corners: list[np.ndarray] = []
        for i in range(len(face)):
            j = (i + 1) % len(face)
            if height[i] <= slack:
                corners.append(face[i])
                if height[i] >= -slack:
                    rim.append(face[i])
            if min(height[i], height[j]) < -slack and max(height[i], height[j]) > slack:
                share = height[i] / (height[i] - height[j])
                corners.append(face[i] + share * (face[j] - face[i]))
                rim.append(corners[-1])
        if len(corners) >= 3:
            kept.append(np.array(corners))
    if not kept or len(rim) < 3:
        return kept
    return [*kept, _ring(np.array(rim), normal)]


def _ring(points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Points of one plane in order around their middle."""
    from_middle = points - points.mean(axis=0)
    across = max(from_middle, key=lambda arm: float(arm @ arm))
    along = np.cross(normal, across)
    return np.asarray(points[np.argsort(np.arctan2(from_middle @ along, from_middle @ across))])
