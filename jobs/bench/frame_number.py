"""The number that a frame carries in its pixels: which frame was shown is then no question of judgment. Needs numpy
alone, since a peer that reads it may run under another interpreter.

The middle band of a picture holds as many black or white fields as the number has bits, the most significant first.
They survive every codec and every size from 96 pixels on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 13


def draw_number(pixels: NDArray[np.uint8], number: int, bits: int = BITS) -> None:
    """Into a picture [height, width, 3]. number: below 2**bits."""
    top, bottom, left, right = _band(*pixels.shape[:2])
    for bit in range(bits):
        x0, x1 = (left + (right - left) * place // bits for place in (bit, bit + 1))
        pixels[top:bottom, x0:x1] = 235 if number >> (bits - 1 - bit) & 1 else 16


def read_number(pixels: NDArray[np.uint8], bits: int = BITS) -> int:
    """Of a picture [height, width, 3]."""
    top, bottom, left, right = _band(*pixels.shape[:2])
    margin_y, number = (bottom - top) * 0.3, 0
    for bit in range(bits):
        x0, x1 = (left + (right - left) * place / bits for place in (bit, bit + 1))
        margin_x = (x1 - x0) * 0.3
        field = pixels[int(top + margin_y) : int(bottom - margin_y), int(x0 + margin_x) : int(x1 - margin_x) + 1]
        number = number * 2 + int(field.mean() > 125)
    return number


def _band(height: int, width: int) -> tuple[int, int, int, int]:
    return height * 2 // 5, height * 3 // 5, width // 20, width - width // 20
