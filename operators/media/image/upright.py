"""A loaded picture as a viewer would show it: upright, on white, in RGB, at the sizes that are asked for.

In this order, which holds the memory down: what is too large to be copied is turned into RGB and resized in bands of
rows, then what is left is turned. Nothing that is as large as the picture itself is made besides it.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TypeAlias

from PIL import Image, ImageCms

from operators.media.image.depths import in_8_bits

Size: TypeAlias = tuple[int, int]
"""(width, height)"""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By orientation as EXIF counts them."""
_SIDEWAYS = (5, 6, 7, 8)
_AT_ONCE_PX = 1 << 24
_GRAY = ("1", "L")
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_SUPPORT = 2
"""Pixels of the result to either side that bicubic resizing looks at."""


def turned(size: Size, orientation: int) -> Size:
    return size[::-1] if orientation in _SIDEWAYS else size


def shown_at(picture: Image.Image, size: Size, orientation: int) -> Image.Image:
    """In RGB. picture: loaded, as it lies in its file. size: of the result, upright."""
    shown = _resized(picture, turned(size, orientation))
    if orientation in _TURNS:
        shown = shown.transpose(_TURNS[orientation])
    return shown if shown.mode == "RGB" else shown.convert("RGB")


def on_white(picture: Image.Image) -> Image.Image:
    """In RGB or, without colors, in L; transparency on white, every depth in 8 bits."""
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = in_8_bits(picture)
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        layer = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        white = Image.new("RGB", layer.size, "white")
        white.paste(layer, mask=layer)
        return white
    if picture.mode in _GRAY:
        return picture if picture.mode == "L" else picture.convert("L")
    if picture.mode == "LAB":
        converted = ImageCms.applyTransform(picture, _lab_to_rgb())
        assert converted is not None
        return converted
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _resized(picture: Image.Image, size: Size) -> Image.Image:
    is_plain = picture.mode in ("L", "RGB") and "transparency" not in picture.info
    # the range of deep samples is that of the whole picture; in 8 bits it takes half the room or less
    if picture.mode.startswith("I") or picture.mode == "F":
        picture, is_plain = in_8_bits(picture), True
    if is_plain or picture.width * picture.height <= _AT_ONCE_PX:
        flat = on_white(picture)
        return flat if flat.size == size else flat.resize(size, Image.Resampling.BICUBIC)
    return _resized_in_bands(picture, size)


def _resized_in_bands(picture: Image.Image, size: Size) -> Image.Image:
    width, height = size
    result = Image.new("RGB", size)
    scale = picture.height / height  # rows of the picture for each of the result
    margin = math.ceil(_SUPPORT * max(scale, 1.0)) + 1
    rows = max(1, int(_AT_ONCE_PX / 4 / picture.width / scale))
    for y in range(0, height, rows):
        bottom = min(y + rows, height)
        first, last = y * scale, bottom * scale
        above = max(0, math.floor(first) - margin)
        below = min(picture.height, math.ceil(last) + margin)
        band = picture.crop((0, above, picture.width, below))
        if "transparency" in picture.info:
            band.info["transparency"] = picture.info["transparency"]
        box = (0, first - above, picture.width, min(last - above, below - above))
        resized = on_white(band).resize((width, bottom - y), Image.Resampling.BICUBIC, box=box)
        result.paste(resized, (0, y))
    return result


@cache
def _lab_to_rgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
