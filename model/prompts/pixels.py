"""Pixel-budget arithmetic: at which size the model sees a picture. Imports nothing heavy, so decoders may use it.

One token of the language model stands for a square of `token_side_px` (patch 16, merged 2 x 2: 32). Sizes are
rounded to multiples of that side, then scaled into the checkpoint's bounds, which are areas in pixels.
Rules: `smart_resize` of the Qwen3-VL image and video processors (docs/facts/qwen3-vl.md §1.7, §1.8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import InputError

MAX_ASPECT_RATIO = 200
PATCH, MERGE, TEMPORAL = 16, 2, 2
"""Of every Qwen3-VL: pixels of a patch, patches that merge into a token (each way), frames of a temporal patch."""


@dataclass(frozen=True)
class PixelBudget:
    """Bounds as areas in pixels: of one picture, and of all frames of a clip together. Defaults are Qwen's."""

    image_min_px: int = 65_536
    image_max_px: int = 16_777_216
    video_min_px: int = 4_096
    video_max_px: int = 25_165_824
    token_side_px: int = 32


def smart_resize(
    height_px: int, width_px: int, *, min_pixels: int, max_pixels: int, factor: int = 32
) -> tuple[int, int]:
    """(height, width) at which a picture is seen: multiples of factor, area within the bounds where it can be.

    Raises InputError when one side is more than 200 times the other.
    """
    return smart_resize_video(
        1, height_px, width_px, min_pixels=min_pixels, max_pixels=max_pixels, factor=factor, temporal=1
    )


def smart_resize_video(
    frames: int,
    height: int,
    width: int,
    *,
    min_pixels: int,
    max_pixels: int,
    factor: int = 32,
    temporal: int = 2,
) -> tuple[int, int]:
    """(height, width) of every frame of a clip; the bounds are for all frames together, in whole pairs."""
    if max(height, width) / min(height, width) > MAX_ASPECT_RATIO:
        raise InputError(
            "too_large", f"{width} x {height} px: one side is more than {MAX_ASPECT_RATIO} times the other"
        )
    # Python's round, half to even: the reference uses it too
    rounded_height, rounded_width = (max(factor, round(side / factor) * factor) for side in (height, width))
    rounded_frames = max(temporal, round(frames / temporal) * temporal)
    area = rounded_frames * rounded_height * rounded_width
    if area > max_pixels:
        shrink = math.sqrt(frames * height * width / max_pixels)
        height, width = (max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width))
        return height, width
    if area < min_pixels:
        grow = math.sqrt(min_pixels / (frames * height * width))
        height, width = (math.ceil(side * grow / factor) * factor for side in (height, width))
        return height, width
    return rounded_height, rounded_width


def frame_pair_times_s(times_s: Sequence[float]) -> list[float]:
    """The timestamp of each pair of frames: the mean of the two. An odd number repeats the last frame."""
    padded = [*times_s, times_s[-1]] if len(times_s) % 2 else list(times_s)
    return [(first + second) / 2 for first, second in zip(padded[::2], padded[1::2], strict=True)]
