"""The pixels of a picture, packed as they travel, and unpacked. Imports no torch: an engine that runs elsewhere needs
none, nor does a decoder.

Where there is no color, one channel stands for all three, in memory too. Print and screens leave less than a tenth of
their bytes, at less than it costs to hand these on. What keeps more than a sixth (photographs, frames of video, the
grain of a scan) takes several times as long, and travels as it is (docs/facts/media-decoding.md §13).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.request import Buffer, Picture

RGB: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
"""[height, width, 3]; without color, the three may be one in memory (`channels_of`)."""

_GRAY = b"G"
"""Before a zstd frame of one channel; no frame begins so."""
_ZSTD = pa.Codec("zstd", compression_level=-1)
_WORTH = 1 / 6
"""Share of its bytes, in three channels, that a picture may keep, to be compressed."""
_EVERY_ROWS, _SAMPLE_ROWS = 64, 4
"""Of a picture that is higher, as many rows of each stretch tell what it would keep."""
_CACHED_PX = 1 << 16
"""Pixels that stay in a processor's cache."""


def pack(pixels: RGB) -> Picture:
    """pixels: nobody changes them afterwards, since the picture may be a view of them."""
    height, width, _ = pixels.shape
    channels = np.ascontiguousarray(channels_of(gray_as_one(pixels)))
    data: Buffer = channels.data.toreadonly().cast("B")
    stretches = channels[: height // _EVERY_ROWS * _EVERY_ROWS].reshape(-1, _EVERY_ROWS, *channels.shape[1:])
    sample = np.ascontiguousarray(stretches[:, :_SAMPLE_ROWS])
    if not sample.size or _packed(sample) is not None:
        data = _packed(channels) or data
    return Picture(width, height, data)


def unpack(picture: Picture) -> RGB:
    """Read-only. Raises ValueError when the data are not that picture."""
    area = picture.height_px * picture.width_px
    one = is_gray(picture)
    size = area if one else area * 3
    data = pa.py_buffer(picture.data)
    if data.size != size:
        try:
            data = _ZSTD.decompress(data.slice(len(_GRAY)) if one else data, decompressed_size=size)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"neither {size} bytes nor a zstd frame of them: {error}") from error
    channels = np.frombuffer(data, np.uint8).reshape(picture.height_px, picture.width_px, -1)
    return np.broadcast_to(channels, (*channels.shape[:2], 3))


def is_gray(picture: Picture) -> bool:
    """Whether it is packed as one channel."""
    area, size = picture.height_px * picture.width_px, len(picture.data)
    return size == area or (size != area * 3 and bytes(picture.data[: len(_GRAY)]) == _GRAY)


def channels_of(pixels: RGB) -> NDArray[np.uint8]:
    """[height, width, 3], or [height, width, 1] where they are one in memory; a view."""
    return pixels[..., :1] if pixels.strides[2] == 0 else pixels


def gray_as_one(pixels: RGB) -> RGB:
    """The same picture, its channels one in memory where it has no color."""
    if pixels.strides[2] == 0:
        return pixels
    pixels = np.ascontiguousarray(pixels)
    return np.broadcast_to(pixels[..., :1].copy(), pixels.shape) if _has_no_color(pixels) else pixels


def _has_no_color(pixels: RGB) -> bool:
    height, width, _ = pixels.shape
    step = max(1, _CACHED_PX // width)
    for start in range(0, height, step):
        rows = pixels[start : start + step].reshape(-1, width * 3)
        differs = np.bitwise_or.reduce(rows[:, 1:] ^ rows[:, :-1], axis=0)  # from the next byte, in any row
        if differs[0::3].any() or differs[1::3].any():
            return False
    return True


def _packed(channels: NDArray[np.uint8]) -> bytes | None:
    """channels: [..., 1 or 3]. None where it is not worth it."""
    frame: bytes = _ZSTD.compress(pa.py_buffer(channels), asbytes=True)
    count = channels.shape[-1]
    if len(frame) > _WORTH * channels.nbytes / count * 3:
        return None
    return frame if count == 3 else _GRAY + frame
