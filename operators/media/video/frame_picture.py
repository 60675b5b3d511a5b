"""Frames of one clip as pictures: upright, in their display shape, at the size that the model sees."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from model.prompts.pixels import smart_resize_video
from model.prompts.rgb import RGB
from schemas.decode import DecodeSettings


class ClipPictures:
    """Of a clip of so many frames. notes: of INPUT_NOTES, what was done to its frames or is wrong with them."""

    def __init__(self, stream: Any, frames: int, settings: DecodeSettings) -> None:
        self._stream = stream
        self._frames = max(2, frames)
        self._settings = settings
        self._sideways = False
        self.notes: set[str] = set()

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of the original, upright; of the last frame that became a picture."""
        height_px, width_px = display_size(self._stream)
        return (width_px, height_px) if self._sideways else (height_px, width_px)

    def picture(self, frame: Any) -> RGB:
        """The frame as [height, width, 3], upright, at the model's size."""
        turns = round(frame.rotation / 90) % 4  # counter-clockwise, as the display matrix says
        self._sideways = turns % 2 == 1
        height, width = seen_size(*self.size_px, self._frames, self._settings)
        if self._sideways:
            height, width = width, height
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="BICUBIC")
        return np.ascontiguousarray(np.rot90(pixels, turns))


def display_size(stream: Any) -> tuple[int, int]:
    """Height and width with square pixels, before rotation."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return stream.codec_context.height, max(1, round(stream.codec_context.width * aspect))


def seen_size(height_px: int, width_px: int, frames: int, settings: DecodeSettings) -> tuple[int, int]:
    """(height, width) at which the model sees each of so many frames."""
    return smart_resize_video(
        frames,
        height_px,
        width_px,
        min_pixels=settings.video_min_px,
        max_pixels=settings.video_max_px,
        factor=settings.token_side_px,
    )
