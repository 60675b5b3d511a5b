"""A picture as its file holds it, before it is decoded: what every format's module gives, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from PIL import Image, UnidentifiedImageError

from model.prompts.pixels import MAX_ASPECT_RATIO
from operators.media.image.upright import Size, turned
from schemas.decode import DecodeSettings
from schemas.errors import InputError

_BASE_MB = 220
"""Address space that a decoder takes before it decodes (docs/facts/media-decoding.md §5)."""
_LEAST_STRETCH, _MOST_STRETCH = 1.1, 5.0
"""Sides of a pixel that differ by less are a matter of rounding; by more, a mistake."""
_LEAST_SHARE = 0.05
_LEAST_WORDS = 10
"""Letters: a name of a key says nothing alone."""


@dataclass(frozen=True)
class Loaded:
    """notes: of INPUT_NOTES."""

    picture: Image.Image
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """size: as stored. orientation: as EXIF counts, 1 upright. pixel_sides: width and height of a pixel, in any unit.
    bytes_per_px: that decoding takes, all copies together; px_decoded: how many there are of these where it is not all.
    load(needed): the picture, at `needed` as stored or larger. Raises InputError or what its library raises."""

    size: Size
    load: Callable[[Size], Loaded]
    orientation: int = 1
    pixel_sides: tuple[float, float] = (1.0, 1.0)
    bytes_per_px: float = 4.0

    @property
    def shown_size(self) -> Size:
        """Upright, in square pixels: the longer side of a pixel is stretched, so that nothing is lost."""
        width_px, height_px = self.size
        width, height = self.pixel_sides
        if _LEAST_STRETCH < width / height < _MOST_STRETCH:
            width_px = round(width_px * width / height)
        elif _LEAST_STRETCH < height / width < _MOST_STRETCH:
            height_px = round(height_px * height / width)
        return turned((width_px, height_px), self.orientation)

    def check(self, settings: DecodeSettings) -> None:
        """Before anything is decoded. Raises InputError: too_large."""
        width_px, height_px = self.size
        if width_px * height_px > settings.max_source_px:
            raise InputError(
                "too_large", f"{width_px} x {height_px} pixels; at most {settings.max_source_px} are decoded"
            )
        shown = self.shown_size
        if max(shown) > MAX_ASPECT_RATIO * min(shown):
            raise InputError(
                "too_large", f"{shown[0]} x {shown[1]} px: one side is more than {MAX_ASPECT_RATIO} times the other"
            )
        most_px = min(shown[0] * shown[1], max(settings.image_max_px, settings.full_res_max_px))
        takes_mb = (width_px * height_px * self.bytes_per_px + 16 * most_px) / (1 << 20)
        if takes_mb > settings.memory_mb - _BASE_MB:
            raise InputError(
                "too_large",
                f"{width_px} x {height_px} pixels take {takes_mb + _BASE_MB:.0f} MB to decode; "
                f"memory_mb allows {settings.memory_mb}",
            )


class Pictures(Protocol):
    """An open file of one format."""

    def planned(self) -> list[tuple[Stored | InputError, str | None]]:
        """Every picture of it, with its index (schemas/unit.py), or why it cannot be read."""

    def stored(self, page: int | None, index: str | None) -> Stored:
        """One of these. page: from 1; None for the only one. index: None where it is to be looked up anew."""


def failure_of(error: Exception) -> InputError:
    """What a library raised for a stranger's bytes."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, UnidentifiedImageError):
        return InputError("malformed", "not a picture of a format that is opened")
    text = str(error) if len(str(error)) > _LEAST_WORDS else f"{type(error).__name__} {error}".strip()
    return InputError("truncated" if "truncated" in text.lower() else "malformed", f"not a readable picture: {text}")


def check_share(share: float) -> None:
    """share: of the picture that could be decoded. Raises InputError where it is next to nothing."""
    if share < _LEAST_SHARE:
        raise InputError("truncated", f"only {share:.0%} of the picture is there")
