"""Samples of any depth as the 8 bits that a viewer shows of them.

Whole numbers go by their declared range, or by the least usual one (10, 12, 14 bits, ...) that holds them where the
picture would be all but black: cameras and scanners keep 12 bits in fields of 16. Signed ones with something below 0,
and floats that keep to no usual range, go by what is in the picture. What is no number is black.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from PIL import Image

Values: TypeAlias = np.ndarray[Any, Any]
Range: TypeAlias = tuple[float, float]

_USUAL_BITS = (8, 10, 12, 14, 16, 24, 32, 64)
_USUAL_TOPS = (1.0, 255.0, 65535.0)
"""Of floats."""
_PROBED = 1 << 20
"""Samples that the range of floats is judged by."""
_ROWS = 256
_FAR = 2.0
"""Times the range of all others, from which a number stands apart from them."""


def range_of(values: Values, bits: int) -> Range:
    """Which values are black and white. bits: that a whole number is declared to have."""
    if values.size == 0:
        return 0.0, 1.0
    if np.issubdtype(values.dtype, np.floating):
        return _range_of_floats(values)
    low, high = int(values.min()), int(values.max())
    if low < 0:
        return float(low), float(max(high, low + 1))
    if np.issubdtype(values.dtype, np.signedinteger):
        bits -= 1
    return 0.0, float((1 << least_bits(high, bits)) - 1)


def least_bits(top: int, bits: int) -> int:
    """Of the usual depths the least that holds `top`, where that is two bits less than declared; else `bits`."""
    least = next((usual for usual in _USUAL_BITS if top < 1 << usual), bits)
    return min(least, bits)


def to_8_bits(values: Values, limits: Range) -> Values:
    """Of the same shape. By rows, since the numbers in between take eight times the room."""
    low, high = limits
    scale = 255.0 / (high - low if high > low else 1.0)
    eight = np.empty(values.shape, np.uint8)
    for y in range(0, values.shape[0], _ROWS):
        rows = values[y : y + _ROWS].astype(np.float64)
        np.nan_to_num(rows, copy=False, nan=low, posinf=high, neginf=low)
        eight[y : y + _ROWS] = np.clip((rows - low) * scale, 0, 255).round()
    return eight


def in_8_bits(picture: Image.Image) -> Image.Image:
    """Of a picture of mode I, I;16 or F in mode L. Pillow's convert cuts off at 255, which turns a 16-bit scan white
    (docs/facts/media-decoding.md §3)."""
    values = np.asarray(picture)
    # whole numbers in mode I come from 16 bits, and Pillow scales to these whatever a PGM says that its range is
    bits = 16 if values.dtype.itemsize == 2 or values.max(initial=0) < 1 << 16 else 32
    values = values if values.min(initial=0) < 0 or values.dtype != np.int32 else values.view(np.uint32)
    return Image.fromarray(to_8_bits(values, range_of(values, bits)))


def _without_no_data(values: Values) -> Values:
    """Without the number that stands for no sample at all, as -9999 in maps of heights: below zero, or beyond all
    numbers in use, and far from the others."""
    for edge, is_odd in ((values.min(initial=np.inf), np.less), (values.max(initial=-np.inf), np.greater)):
        others = values[values != edge]
        if others.size == 0 or not is_odd(edge, 0.0 if is_odd is np.less else 1e30):
            continue
        low, high = others.min(), others.max()
        if max(low - edge, edge - high) > _FAR * (high - low) > 0:
            values = others
    return values


def _range_of_floats(values: Values) -> Range:
    probed = values.reshape(-1)[:: max(1, values.size // _PROBED)].astype(np.float64)
    probed = _without_no_data(probed[np.isfinite(probed)])
    if probed.size == 0:
        return 0.0, 1.0
    # single pixels that stick out, as resampling leaves them, say nothing about the range
    low, high = (float(value) for value in np.percentile(probed, (0.1, 99.9)))
    if low >= -0.05 * max(high, 0.0):
        top = next((usual for usual in _USUAL_TOPS if high <= usual * 1.02), None)
        # what keeps to a fraction of a usual range are measurements, not shades
        if top is not None and (high >= top / 4 or high == low):
            return 0.0, top
    return (low, high) if high > low else (low - 1.0, low)
