"""Other looks at a picture that was decoded already: turned, or larger, for a model that could not read it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from PIL import Image

from operators.units import RGB
from schemas.ask import Picture

_ZSTD = pa.Codec("zstd", compression_level=1)
LARGEST_PX = 4_194_304
"""Area up to which a picture is enlarged: 4096 tokens."""


def rotated(picture: Picture, degrees: int) -> Picture:
    """Turned clockwise by 90, 180 or 270 degrees."""
    return _picture(np.rot90(pixels_of(picture), -degrees // 90))


def enlarged(picture: Picture, token_side_px: int = 32) -> Picture | None:
    """Up to twice as wide and high: more tokens for the same print. None where it is large already."""
    factor = min(2.0, (LARGEST_PX / (picture.width_px * picture.height_px)) ** 0.5)
    if factor < 1.2:
        return None
    size = tuple(int(side * factor) // token_side_px * token_side_px for side in (picture.width_px, picture.height_px))
    shown = Image.fromarray(pixels_of(picture)).resize((size[0], size[1]), Image.Resampling.BICUBIC)
    return _picture(np.asarray(shown))


def pixels_of(picture: Picture) -> RGB:
    """[height_px, width_px, 3]"""
    size = picture.height_px * picture.width_px * 3
    raw = _ZSTD.decompress(picture.data, decompressed_size=size)
    return np.frombuffer(raw, np.uint8).reshape(picture.height_px, picture.width_px, 3)


def _picture(pixels: RGB) -> Picture:
    data = _ZSTD.compress(pa.py_buffer(np.ascontiguousarray(pixels)), asbytes=True)
    return Picture(pixels.shape[1], pixels.shape[0], data)
