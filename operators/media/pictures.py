"""Other looks at a picture that was decoded already: turned, larger, or a part of it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from model.prompts.pixels import smart_resize
from model.prompts.rgb import pack, unpack
from schemas.request import Picture

LARGEST_PX = 4_194_304
"""Area up to which a picture is enlarged: 4096 tokens."""


def rotated(picture: Picture, degrees: int) -> Picture:
    """Turned clockwise by 90, 180 or 270 degrees."""
    return pack(np.rot90(unpack(picture), -degrees // 90))


def enlarged_size(picture: Picture, token_side_px: int = 32) -> tuple[int, int] | None:
    """Width and height of the picture enlarged: up to twice as wide and high, more tokens for the same print. None
    where it is large already. Looks at its size alone."""
    factor = min(2.0, (LARGEST_PX / (picture.width_px * picture.height_px)) ** 0.5)
    if factor < 1.2:
        return None
    width_px, height_px = (int(side * factor) // token_side_px * token_side_px for side in _sides(picture))
    return width_px, height_px


def enlarged(picture: Picture, size: tuple[int, int]) -> Picture:
    """To a width and height."""
    return pack(np.asarray(Image.fromarray(unpack(picture)).resize(size, Image.Resampling.BICUBIC)))


def _sides(picture: Picture) -> tuple[int, int]:
    return picture.width_px, picture.height_px


def grown(
    box: tuple[float, float, float, float], width_px: int, height_px: int, least_px: int = 32
) -> tuple[int, int, int, int]:
    """A box within 0..1, as whole pixels of a picture of that size: x0, y0, x1, y1.

    At least least_px each way, and a hundredth of its other side, as far as the picture reaches: small boxes as
    Qwen-Agent grows them (qwen_agent/tools/image_zoom_in_qwen3vl.py), slivers to what a model can be shown.
    """
    x0, x1 = _span(box[0], box[2], width_px, max(least_px, math.ceil((box[3] - box[1]) * height_px / 100)))
    y0, y1 = _span(box[1], box[3], height_px, max(least_px, math.ceil((x1 - x0) / 100)))
    return x0, y0, x1, y1


def cropped(picture: Picture, box_px: tuple[int, int, int, int], least_px: int, most_px: int) -> Picture:
    """The part of a picture within x0, y0, x1, y1, at a size that the model takes: an area of least_px to most_px."""
    x0, y0, x1, y1 = box_px
    height, width = smart_resize(y1 - y0, x1 - x0, min_pixels=least_px, max_pixels=most_px)
    part = Image.fromarray(unpack(picture)[y0:y1, x0:x1])
    return pack(np.asarray(part.resize((width, height), Image.Resampling.BICUBIC)))


def _span(start: float, end: float, side_px: int, least_px: int) -> tuple[int, int]:
    first, last = int(start * side_px), math.ceil(end * side_px)
    least = min(least_px, side_px)
    if last - first < least:
        first = min(max(0, (first + last - least) // 2), side_px - least)
        last = first + least
    return first, min(last, side_px)
