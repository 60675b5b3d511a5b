"""Pixel-budget arithmetic: at which size the model sees a picture. Imports nothing heavy, so decoders may use it.

One token of the language model stands for a square of `token_side_px` (patch 16, merged 2 x 2: 32). Sizes are
rounded to multiples of that side, then scaled into the checkpoint's bounds, which are areas in pixels.
Rules: `smart_resize` of the Qwen3-VL image and video processors (docs/facts/qwen3-vl.md §1.7, §1.8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InputError, SpecError
from schemas.json_file import read_object

MAX_ASPECT_RATIO = 200


@dataclass(frozen=True)
class PixelBudget:
    """Bounds as areas in pixels: of one picture, and of all frames of a clip together. Defaults are Qwen's."""

    image_min_px: int = 65_536
    image_max_px: int = 16_777_216
    video_min_px: int = 4_096
    video_max_px: int = 25_165_824
    token_side_px: int = 32

    @classmethod
    def from_checkpoint(cls, folder: Path) -> PixelBudget:
        """As the checkpoint's preprocessor_config.json and video_preprocessor_config.json say.

        A file that is not there leaves Qwen's defaults. Raises SpecError for one that cannot be read.
        """
        image = _json(folder / "preprocessor_config.json")
        video = _json(folder / "video_preprocessor_config.json")
        defaults = cls()
        image_size, video_size = image.get("size") or {}, video.get("size") or {}
        if not isinstance(image_size, dict) or not isinstance(video_size, dict):
            raise SpecError(f"{folder}: `size` of a preprocessor is not an object")
        values = {
            # older files name the bounds min_pixels and max_pixels
            "image_min_px": image_size.get("shortest_edge", image.get("min_pixels", defaults.image_min_px)),
            "image_max_px": image_size.get("longest_edge", image.get("max_pixels", defaults.image_max_px)),
            "video_min_px": video_size.get("shortest_edge", defaults.video_min_px),
            "video_max_px": video_size.get("longest_edge", defaults.video_max_px),
        }
        sides = {"patch_size": image.get("patch_size", 16), "merge_size": image.get("merge_size", 2)}
        for name, value in {**values, **sides}.items():
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 40:
                raise SpecError(f"{folder}: {name} of a preprocessor is {f'{value!r}'[:60]}, not a number of pixels")
        return cls(**values, token_side_px=sides["patch_size"] * sides["merge_size"])


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


def _json(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}
