"""The pixels of a picture, packed as they travel, and unpacked. Imports no torch: an engine that runs elsewhere needs
none, nor does a decoder.

Print and screens leave a tenth of their bytes, at less than it costs to hand these on. What keeps more than a sixth
(photographs, frames of video, the grain of a scan) takes several times as long, and travels as it is
(docs/facts/media-decoding.md §13).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa

from schemas.request import Buffer, Picture

RGB: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
"""[height, width, 3]"""

_ZSTD = pa.Codec("zstd", compression_level=-1)
_WORTH = 1 / 6
"""Share of its bytes that a picture may keep, to be compressed."""
_EVERY_ROWS, _SAMPLE_ROWS = 64, 4
"""Of a picture that is higher, as many rows of each stretch tell what it would keep."""


def pack(pixels: RGB) -> Picture:
    """pixels: nobody changes them afterwards, since the picture may be a view of them."""
    height, width, _ = pixels.shape
    pixels = np.ascontiguousarray(pixels)
    data: Buffer = pixels.data.toreadonly().cast("B")
    sample = pixels[: height // _EVERY_ROWS * _EVERY_ROWS].reshape(-1, _EVERY_ROWS, width * 3)[:, :_SAMPLE_ROWS]
    if not sample.size or _packed(np.ascontiguousarray(sample)) is not None:
        data = _packed(pixels) or data
    return Picture(width, height, data)


def unpack(picture: Picture) -> RGB:
    """Read-only. Raises ValueError when the data are not that picture."""
    size = picture.height_px * picture.width_px * 3
    data = pa.py_buffer(picture.data)
    if data.size != size:
        try:
            data = _ZSTD.decompress(data, decompressed_size=size)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"neither {size} bytes nor a zstd frame of them: {error}") from error
    return np.frombuffer(data, np.uint8).reshape(picture.height_px, picture.width_px, 3)


def _packed(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes | None:
    """None where it is not worth it."""
    frame: bytes = _ZSTD.compress(pa.py_buffer(pixels), asbytes=True)
    return frame if len(frame) <= _WORTH * pixels.nbytes else None
