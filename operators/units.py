"""What a probe plans and what a decoder makes of one unit, before it is Arrow. Knows no format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from model.prompts.rgb import RGB
from schemas.unit import Indexed, UnitFacts


@dataclass(frozen=True)
class LineImage:
    """A line of text, or one of the pieces of a long one. line: 0-based, in reading order. bbox_px: of the whole
    line in the upright original, [x0, y0, x1, y1] in pixels."""

    line: int
    bbox_px: tuple[float, float, float, float]
    frame: RGB


@dataclass(frozen=True)
class Decoded(UnitFacts):
    """The unit's facts and pictures. frames: at the model's size; one, or a clip's with times_s. line_images: its lines
    of text in reading order, None where nobody asked for them. full_res: the picture nearer to its own size, where the
    settings ask for it and frames[0] is smaller."""

    frames: tuple[RGB, ...] = field(kw_only=True)
    line_images: tuple[LineImage, ...] | None = None
    full_res: RGB | None = None


@dataclass(frozen=True)
class Planned(Indexed):
    """One unit that a probe found. decoded_bytes: estimate of the RGB bytes that decoding gives. error: set for the
    rest of a file that cannot be read (tables.FAILURE)."""

    decoded_bytes: int = 0
    error: dict[str, Any] | None = None
