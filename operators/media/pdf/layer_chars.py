"""The characters of a page's own text and where they stand in its picture, as PDFium places them. Knows nothing of
what they are worth.

N: characters, in PDFium's reading order, with the blanks and ends of lines that it puts between them.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from numpy.typing import NDArray

MOST_CHARS = 200_000
"""Characters of a page that are looked at; a page of print has some thousands."""
_MOST_ANNOTATIONS = 2_000
_WRITTEN = {pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP}
"""Annotations that show text of their own."""
_BLANKS = np.array([0x09, 0x0A, 0x0D, 0x20, 0xA0, 0x3000], np.uint32)

# the same functions for addresses in place of Python's wrappers of them: a third of the time, at thousands of calls
_INT, _ADDRESS = ctypes.c_int, ctypes.c_void_p
_GET_UNICODE = ctypes.CFUNCTYPE(ctypes.c_uint, _ADDRESS, _INT)(
    ctypes.cast(pdfium.FPDFText_GetUnicode, _ADDRESS).value or 0
)
_GET_CHAR_BOX = ctypes.CFUNCTYPE(_INT, _ADDRESS, _INT, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)(
    ctypes.cast(pdfium.FPDFText_GetCharBox, _ADDRESS).value or 0
)


@dataclass(frozen=True)
class LayerChars:
    """codes: code points [N]; 0 where the font does not say which. boxes: around each glyph in pixels of the page's
    picture, x0, y0, x1, y1 [N, 4]; all zero for blanks."""

    codes: NDArray[np.uint32]
    boxes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def blanks(self) -> NDArray[np.bool_]:
        return np.isin(self.codes, _BLANKS)

    def only(self, chosen: NDArray[Any]) -> LayerChars:
        """chosen: a mask, or indices."""
        return LayerChars(self.codes[chosen], self.boxes[chosen])

    def text(self) -> str:
        """N characters; one beyond U+FFFF may be two of them."""
        return "".join(map(chr, np.minimum(self.codes, 0x10FFFF).tolist()))


def page_chars(
    page: pypdfium2.PdfPage, size_px: tuple[int, int], reopened: Callable[[], pypdfium2.PdfPage]
) -> LayerChars:
    """Of a page that was drawn as (width, height) pixels, with what its form and its annotations say. reopened: opens
    the same page again, for which those have become a part of it. Raises PdfiumError."""
    box, rotation = page.get_bbox(), page.get_rotation()
    if not _has_written_annotations(page) or pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) != 1:
        codes, places = _chars(page)
    else:
        flat = reopened()
        try:
            codes, places = _chars(flat)
        finally:
            flat.close()
    chars = LayerChars(codes, _in_pixels(places, box, rotation, size_px))
    chars.boxes[chars.blanks] = 0
    return chars


def _has_written_annotations(page: pypdfium2.PdfPage) -> bool:
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MOST_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if annotation:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            pdfium.FPDFPage_CloseAnnot(annotation)
            if kind in _WRITTEN:
                return True
    return False


def _chars(page: pypdfium2.PdfPage) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Code points, and left, right, bottom, top of each glyph in points of the page. Raises PdfiumError."""
    layer = page.get_textpage()
    try:
        count = max(0, min(layer.count_chars(), MOST_CHARS))
        handle = ctypes.cast(layer.raw, _ADDRESS).value
        codes = np.fromiter(map(_GET_UNICODE, repeat(handle), range(count)), np.uint32, count)
        places = np.zeros((count, 4), np.float64)
        start, step = places.ctypes.data, places.itemsize
        sides = (range(start + side * step, start + side * step + count * 4 * step, 4 * step) for side in range(4))
        deque(map(_GET_CHAR_BOX, repeat(handle), range(count), *sides), maxlen=0)
    finally:
        layer.close()
    return codes, places


def _in_pixels(
    places: NDArray[np.float64],
    box: tuple[float, float, float, float],
    rotation: int,
    size_px: tuple[int, int],
) -> NDArray[np.float32]:
    """box: of the page, left, bottom, right, top in points, before it is turned clockwise by rotation (degrees)."""
    left, bottom, right, top = box
    width, height = max(right - left, 1e-6), max(top - bottom, 1e-6)
    x0, x1 = ((places[:, side] - left) / width for side in (0, 1))  # shares of the page
    y0, y1 = ((places[:, side] - bottom) / height for side in (2, 3))
    turned = {
        0: (x0, 1 - y1, x1, 1 - y0),
        90: (y0, x0, y1, x1),
        180: (1 - x1, y0, 1 - x0, y1),
        270: (1 - y1, 1 - x1, 1 - y0, 1 - x0),
    }[rotation % 360]
    boxes = np.clip(np.stack(turned, axis=1) * np.array([*size_px, *size_px]), -1e6, 1e6)
    pixels: NDArray[np.float32] = np.nan_to_num(boxes).astype(np.float32)
    return pixels
