"""What a decoder makes of one unit, before it is Arrow: sizes, frames and their times. Shared by all decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

RGB: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
"""[height, width, 3]"""


@dataclass(frozen=True)
class Decoded:
    """width_px, height_px: the upright original. frames: at the model's size; one, or a clip's with times_s."""

    width_px: int
    height_px: int
    frames: tuple[RGB, ...]
    times_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Planned:
    """One unit that a probe found. page: 1-based, null for clips and for a picture that is alone in its file."""

    page: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    decoded_bytes: int = 0
    error: dict[str, Any] | None = None
