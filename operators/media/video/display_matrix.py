"""Which way up a frame is shown: the eight ways that its display matrix may ask for, mirrors among them.

An angle between them is taken for the nearest: cameras write the angle at which they were held, and players turn by
quarters. Source of the form: libavutil/display.h, nine 32-bit integers | a b u | c d v | x y w |, by which the point
(x, y) of the coded picture is shown at (a x + c y, b x + d y).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from av.sidedata.sidedata import Type

from model.prompts.rgb import RGB


@dataclass(frozen=True)
class Orientation:
    """sideways: rows are shown as columns. flips: whether then the rows, and the columns, come in reverse order."""

    sideways: bool = False
    flips: tuple[bool, bool] = (False, False)

    def upright(self, pixels: RGB) -> RGB:
        """[height, width, 3] as it is shown; a view."""
        if self.sideways:
            pixels = pixels.transpose(1, 0, 2)
        rows, columns = self.flips
        return pixels[:: -1 if rows else 1, :: -1 if columns else 1]

    def shown_size(self, height: int, width: int) -> tuple[int, int]:
        return (width, height) if self.sideways else (height, width)


AS_CODED = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """By the matrix of the frame, which decoders take over from the container where the stream has none."""
    matrix = next((bytes(data) for data in frame.side_data if data.type is Type.DISPLAYMATRIX), None)
    return AS_CODED if matrix is None else _nearest(*struct.unpack_from("=5i", matrix))


def _nearest(a: int, b: int, _u: int, c: int, d: int) -> Orientation:
    straight, sideways = abs(a) + abs(d), abs(b) + abs(c)
    if sideways > straight:
        return Orientation(sideways=True, flips=(b < 0, c < 0))
    return Orientation(flips=(d < 0, a < 0)) if straight else AS_CODED
