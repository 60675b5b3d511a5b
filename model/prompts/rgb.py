"""The pixels of a picture as they travel, opened. Imports no torch: an engine that runs elsewhere needs none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from schemas.request import Picture

_ZSTD = pa.Codec("zstd")


def pixels(picture: Picture) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """[height, width, 3] RGB8. Raises ValueError when the data are not that picture."""
    size = picture.height_px * picture.width_px * 3
    try:
        data = _ZSTD.decompress(pa.py_buffer(picture.data), decompressed_size=size)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not a zstd frame of {size} bytes: {error}") from error
    if data.size != size:
        raise ValueError(f"{data.size} bytes, not {size}")
    return np.frombuffer(data, np.uint8).reshape(picture.height_px, picture.width_px, 3)
