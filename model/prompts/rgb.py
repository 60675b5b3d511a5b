"""The pixels of a picture, packed as they travel, and unpacked. Imports no torch: an engine that runs elsewhere needs
none, nor does a decoder.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa

from schemas.request import Picture

RGB: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
"""[height, width, 3]"""

_ZSTD = pa.Codec("zstd", compression_level=1)


def pack(pixels: RGB) -> Picture:
    data: bytes = _ZSTD.compress(pa.py_buffer(np.ascontiguousarray(pixels)), asbytes=True)
    return Picture(pixels.shape[1], pixels.shape[0], data)


def unpack(picture: Picture) -> RGB:
    """Read-only. Raises ValueError when the data are not that picture."""
    size = picture.height_px * picture.width_px * 3
    try:
        data = _ZSTD.decompress(pa.py_buffer(picture.data), decompressed_size=size)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not a zstd frame of {size} bytes: {error}") from error
    if data.size != size:
        raise ValueError(f"{data.size} bytes, not {size}")
    return np.frombuffer(data, np.uint8).reshape(picture.height_px, picture.width_px, 3)
