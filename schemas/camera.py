"""The pinhole camera that took a picture. Knows nothing of where its numbers come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Source: TypeAlias = Literal["given", "sidecar", "field_of_view"]


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in pixels of the upright original: a point (X, Y, Z) before the camera, X to
    the right, Y down, Z forward, is seen at (fx X / Z + cx, fy Y / Z + cy).

    source: given (input table or spec), sidecar (a file beside the picture) or field_of_view (stated in the spec)."""

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    source: Source
