"""The characters of a page's own text and where they stand in its picture, as PDFium places them. Knows nothing of
what they are worth.

Forms and annotations are flattened into the page first, as for printing: their text is drawn too.

N: characters, in PDFium's reading order, with the blanks and ends of lines that it puts between them.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from numpy.typing import NDArray

MOST_CHARS = 200_000
"""Characters of a page that are looked at; a page of print has some thousands."""
_MOST_ANNOTATIONS = 2_000
_WORDLESS = {
    *(pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_TEXT, pdfium.FPDF_ANNOT_INK),
    *(pdfium.FPDF_ANNOT_HIGHLIGHT, pdfium.FPDF_ANNOT_UNDERLINE, pdfium.FPDF_ANNOT_SQUIGGLY),
    *(pdfium.FPDF_ANNOT_STRIKEOUT, pdfium.FPDF_ANNOT_FILEATTACHMENT),
}
"""Annotations that show no text; all others may."""
_FARTHEST = 2.5
"""Longer sides of their boxes by which letters of a word lie apart at most."""
_BLANKS = (0x09, 0x0A, 0x0D, 0x20, 0xA0, 0x3000)

# without types of their arguments, and with references made once, thousands of calls take a quarter of the time
_INT, _ADDRESS = ctypes.c_int, ctypes.c_void_p
_GET_UNICODE = ctypes.PYFUNCTYPE(_INT)(ctypes.cast(pdfium.FPDFText_GetUnicode, _ADDRESS).value or 0)
_GET_CHAR_BOX = ctypes.PYFUNCTYPE(_INT)(ctypes.cast(pdfium.FPDFText_GetCharBox, _ADDRESS).value or 0)
_BLOCK = 4_096


@lru_cache(maxsize=1)
def _block() -> tuple[NDArray[np.float64], list[list[Any]]]:
    """Room for the sides of as many characters [_BLOCK, 4], and references to each, by side."""
    room = (ctypes.c_double * (_BLOCK * 4))()
    step = ctypes.sizeof(ctypes.c_double)
    references = [[ctypes.byref(room, place * step) for place in range(side, _BLOCK * 4, 4)] for side in range(4)]
    return np.ctypeslib.as_array(room).reshape(_BLOCK, 4), references


def _is_blank(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    blank: NDArray[np.bool_] = codes == _BLANKS[0]
    for code in _BLANKS[1:]:
        blank |= codes == code
    return blank


@dataclass(frozen=True)
class LayerChars:
    """codes: code points [N]; 0 where the font does not say which. boxes: around each glyph in pixels of the page's
    picture, x0, y0, x1, y1 [N, 4]; all zero for blanks. places: where PDFium has them, for what else it knows [N]."""

    codes: NDArray[np.uint32]
    boxes: NDArray[np.float32]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def blanks(self) -> NDArray[np.bool_]:
        return _is_blank(self.codes)

    @cached_property
    def words(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of each character's word [N], and where each word begins, a blank with the word behind it. Lines
        end a word, also where PDFium joins a broken one."""
        begins = self.blanks.copy()
        if len(begins) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        x0, y0, x1, y1 = self.boxes.T
        longer = np.maximum(x1 - x0, y1 - y0)
        steps = np.maximum(np.abs(np.diff(x0 + x1)), np.abs(np.diff(y0 + y1))) / 2
        begins[1:] |= (steps > _FARTHEST * np.maximum(longer[1:], longer[:-1])) & ~begins[:-1]
        begins[0] = True
        return np.cumsum(begins) - 1, np.nonzero(begins)[0]

    def only(self, chosen: NDArray[Any]) -> LayerChars:
        """chosen: a mask, or indices."""
        if chosen.dtype == bool and chosen.all():
            return self
        return LayerChars(self.codes[chosen], self.boxes[chosen], self.places[chosen])

    def text(self) -> str:
        """N characters; one beyond U+FFFF may be two of them."""
        return np.minimum(self.codes, 0x10FFFF).astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@dataclass(frozen=True)
class Layer:
    """The text of an open page. box: of the page, left, bottom, right, top in points, before it is turned clockwise by
    rotation (degrees). size_px: (width, height) of its picture."""

    page: pypdfium2.PdfPage
    text: pypdfium2.PdfTextPage
    box: tuple[float, float, float, float]
    rotation: int
    size_px: tuple[int, int]

    def chars(self) -> LayerChars:
        count = max(0, min(self.text.count_chars(), MOST_CHARS))
        handle = ctypes.byref(self.text.raw.contents)
        codes = self._codes(handle, count)
        letters = np.nonzero(~_is_blank(codes))[0]
        sides_pt = np.zeros((len(letters), 4), np.float64)  # left, right, bottom, top
        room, references = _block()
        for start in range(0, len(letters), _BLOCK):
            places = letters[start : start + _BLOCK].tolist()
            room[: len(places)] = 0
            deque(map(_GET_CHAR_BOX, repeat(handle), places, *references), maxlen=0)
            sides_pt[start : start + len(places)] = room[: len(places)]
        boxes = np.zeros((count, 4), np.float32)
        boxes[letters] = self.in_pixels(sides_pt)
        return LayerChars(codes, boxes, np.arange(count))

    def _codes(self, handle: object, count: int) -> NDArray[np.uint32]:
        """Code points [count]. handle: a reference to the text of the page."""
        units = np.zeros(2 * count + 2, np.uint16)
        written = pdfium.FPDFText_GetText(self.text, 0, count, np.ctypeslib.as_ctypes(units)) - 1
        text = units[: max(written, 0)]
        # it leaves out what has no code point, and makes two of what lies beyond U+FFFF
        if written == count and not ((text >= 0xD800) & (text < 0xE000)).any():
            return text.astype(np.uint32)
        signed = np.fromiter(map(_GET_UNICODE, repeat(handle), range(count)), np.int32, count)
        return signed.astype(np.uint32)

    def in_pixels(self, sides_pt: NDArray[np.float64]) -> NDArray[np.float32]:
        """Boxes in the page's picture [N, 4] of such with left, right, bottom, top."""
        left, bottom, right, top = self.box
        width, height = max(right - left, 1e-6), max(top - bottom, 1e-6)
        x0, x1 = ((sides_pt[:, side] - left) / width for side in (0, 1))  # shares of the page
        y0, y1 = ((sides_pt[:, side] - bottom) / height for side in (2, 3))
        turned = {
            0: (x0, 1 - y1, x1, 1 - y0),
            90: (y0, x0, y1, x1),
            180: (1 - x1, y0, 1 - x0, y1),
            270: (1 - y1, 1 - x1, 1 - y0, 1 - x0),
        }[self.rotation % 360]
        boxes = np.clip(np.stack(turned, axis=1) * np.array([*self.size_px, *self.size_px]), -1e6, 1e6)
        boxes[np.isnan(boxes)] = 0
        pixels: NDArray[np.float32] = boxes.astype(np.float32)
        return pixels


def by_rows(order: NDArray[np.int64], *rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices [..., N] that sort by the last of rows [..., N], then by that before it, then as they come in order [N].
    rows: two at most. By their low bits: two that are 65,536 apart may stand together."""
    keys = np.arange(len(order), dtype=np.uint64)
    for number, row in enumerate(rows):
        keys = keys | row[..., order].astype(np.uint16).astype(np.uint64) << np.uint64(32 + 16 * number)
    keys.sort()  # whole numbers are sorted several times as fast as what stands for them
    return order[keys.astype(np.uint32)]


@contextlib.contextmanager
def opened_layer(
    page: pypdfium2.PdfPage, size_px: tuple[int, int], reopened: Callable[[], pypdfium2.PdfPage]
) -> Iterator[Layer]:
    """Of a page that was drawn as (width, height) pixels, with what its form and its annotations say. reopened: opens
    the same page again, for which those have become a part of it. Raises PdfiumError."""
    box, rotation = page.get_bbox(), page.get_rotation()
    with contextlib.ExitStack() as stack:
        if _has_written_annotations(page) and pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) == 1:
            page = stack.enter_context(contextlib.closing(reopened()))
        text = stack.enter_context(contextlib.closing(page.get_textpage()))
        yield Layer(page, text, box, rotation, size_px)


def _has_written_annotations(page: pypdfium2.PdfPage) -> bool:
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MOST_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if annotation:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            pdfium.FPDFPage_CloseAnnot(annotation)
            if kind not in _WORDLESS:
                return True
    return False
