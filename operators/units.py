"""What a decoder makes of one unit, before it is Arrow: sizes, frames and their times. Shared by all decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

RGB: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
"""[height, width, 3]"""


@dataclass(frozen=True)
class LineImage:
    """A line of text, or one of the pieces of a long one. line: 0-based, in reading order. bbox_px: of the whole
    line in the upright original, [x0, y0, x1, y1] in pixels."""

    line: int
    bbox_px: tuple[float, float, float, float]
    frame: RGB


@dataclass(frozen=True)
class Decoded:
    """width_px, height_px: the upright original. frames: at the model's size; one, or a clip's with times_s.
    line_images: its lines of text in reading order, None where nobody asked for them. text_layer: what a PDF itself
    says that the page reads; None when it says nothing. blank: nothing is to be seen; None for clips. full_res: the
    picture nearer to its own size, where the settings ask for it and frames[0] is smaller."""

    width_px: int
    height_px: int
    frames: tuple[RGB, ...]
    times_s: tuple[float, ...] = ()
    line_images: tuple[LineImage, ...] | None = None
    text_layer: str | None = None
    blank: bool | None = None
    full_res: RGB | None = None


@dataclass(frozen=True)
class Planned:
    """One unit that a probe found. page: 1-based, null for clips and for a picture that is alone in its file."""

    page: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    decoded_bytes: int = 0
    error: dict[str, Any] | None = None
