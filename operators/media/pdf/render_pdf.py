"""Pages of a PDF as pictures, through PDFium. Runs in a decoder child: PDFium is not thread-safe and can be
made to crash or spin by a file.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from model.prompts.pixels import smart_resize
from model.prompts.rgb import RGB, gray_as_one
from operators.media.blank import is_blank
from operators.media.full_res import full_res_bytes, full_res_size
from operators.media.pdf.open_pdf import PageFacts, opened_pages, survey
from operators.media.pdf.text_layer import read_text_layer
from operators.media.progress import progress
from operators.media.source import Source
from operators.text_lines.cut_lines import cut_lines
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import Failure, InputError

_LINES_DPI = 216
_MOST_SIDE_PX = 1_000_000
"""Of a page's nominal size: the longest that a page may be said to be, whatever its /UserUnit."""
_LINES_BYTES = 40
_IDLE_BYTES = 320 << 20
"""Of address space that cutting lines out takes for each pixel, and that a decoder takes before
(docs/facts/media-decoding.md §10)."""
_ALL_PT = (-1e7, -1e7, 1e7, 1e7)
_LOST = "the file names this page, but no longer holds it"


def probe(source: Source, settings: DecodeSettings) -> list[Planned]:
    """One unit per page; with an error for one that is lost. Raises InputError: encrypted, malformed, too_large,
    no_frames."""
    pages = survey(source)
    if not pages:
        raise InputError("no_frames", "the document has no pages")
    return [_planned(number, page, settings) for number, page in enumerate(pages, start=1)]


def decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    """The pages in order. Each is drawn at the size that the model sees, and nothing is resized afterwards.

    That size comes from the page's own before anything is drawn, so a page of 200 x 200 inches costs no more than any
    other.
    """
    pages = _pages(source, units)
    numbers = [unit.page - 1 for unit in units if unit.page is not None]
    rebuilt = any(page.rebuilt for page in pages if page)
    with opened_pages(source, numbers, rebuilt=rebuilt, form=settings.draw_forms) as (document, places):
        notes = _init_forms(document, settings)
        for left, number, facts in zip(reversed(range(len(numbers))), numbers, pages, strict=True):
            try:
                if facts is None or number not in places:
                    raise InputError("malformed", _LOST)
                place = places[number]
                with contextlib.closing(document[place]) as page:
                    reopened = partial(document.get_page, place)
                    decoded: Decoded | InputError = _render(page, reopened, facts, notes, settings)
            except InputError as error:
                decoded = error
            except pypdfium2.PdfiumError as error:
                decoded = InputError("malformed", f"page {number + 1}: {error}")
            progress()
            if left:
                yield decoded
    if numbers:  # behind the last one nobody asks on, and the document would be neither kept nor closed
        yield decoded


def _planned(number: int, page: PageFacts | None, settings: DecodeSettings) -> Planned:
    if page is None:
        return Planned(page=number, error=asdict(Failure("probe", "malformed", _LOST)))
    try:
        width_px, height_px, width, height = _sizes(page.size_pt, page, settings)
        decoded_bytes = width * height * 3 + full_res_bytes(width_px, height_px, (width, height), settings)
    except InputError:
        decoded_bytes = 0  # decoding will say what is wrong with this page
    return Planned(page=number, index=page.to_index(), decoded_bytes=decoded_bytes)


def _pages(source: Source, units: list[Planned]) -> list[PageFacts | None]:
    """As the probe wrote them down, else looked up anew; None for what is not there. Raises InputError."""
    if all(unit.index is not None for unit in units):
        try:
            return [PageFacts.of_index(unit.index or "") for unit in units]
        except (ValueError, TypeError, AttributeError):  # of another version
            pass
    pages = survey(source)
    return [pages[unit.page - 1] if unit.page is not None and unit.page <= len(pages) else None for unit in units]


def _init_forms(document: pypdfium2.PdfDocument, settings: DecodeSettings) -> tuple[str, ...]:
    """Have what is filled into its form drawn too, where that can be; INPUT_NOTES of that."""
    if document.get_formtype() == pypdfium2.raw.FORMTYPE_NONE:
        return ()
    if settings.draw_forms:
        with contextlib.suppress(pypdfium2.PdfiumError):
            document.init_forms()
            return ()
    return ("form_left_out",)


def _sizes(size_pt: tuple[float, float], page: PageFacts, settings: DecodeSettings) -> tuple[int, int, int, int]:
    """(width, height) of the page at page_dpi, then as the model sees it; pixels. Raises InputError."""
    scale = page.user_unit / 72 * settings.page_dpi
    scale = min(scale, _MOST_SIDE_PX / max(size_pt))
    width_px, height_px = (max(1, round(side * scale)) for side in size_pt)
    seen_height, seen_width = smart_resize(
        height_px,
        width_px,
        min_pixels=settings.image_min_px,
        max_pixels=settings.image_max_px,
        factor=settings.token_side_px,
    )
    return width_px, height_px, seen_width, seen_height


def _render(
    page: pypdfium2.PdfPage,
    reopened: Callable[[], pypdfium2.PdfPage],
    facts: PageFacts,
    notes: tuple[str, ...],
    settings: DecodeSettings,
) -> Decoded:
    """reopened: opens the page again. notes: of the document's form."""
    width_pt, height_pt = _visible_pt(page)
    width_px, height_px, *seen = _sizes((width_pt, height_pt), facts, settings)
    seen_size = (seen[0], seen[1])
    full_size = full_res_size(width_px, height_px, seen_size, settings)
    line_size = _line_size((width_pt, height_pt), full_size or seen_size, facts, settings)
    # each is drawn at its own size: no look at a page depends on which others are taken
    pixels = gray_as_one(_drawn(page, seen_size))
    full_res = _drawn(page, full_size) if full_size else None
    line_images = None
    if settings.line_reader is not None and line_size is not None:
        picture = Image.fromarray(_drawn(page, line_size))
        line_images = cut_lines(picture, settings.line_reader, width_px / picture.width)
    text_layer, notes_of_layer = read_text_layer(page, pixels, reopened)
    return Decoded(
        width_px,
        height_px,
        frames=(pixels,),
        line_images=line_images,
        text_layer=text_layer,
        input_notes=tuple(dict.fromkeys((*facts.notes, *notes, *notes_of_layer))),
        blank=is_blank(pixels),
        full_res=full_res,
    )


def _line_size(
    size_pt: tuple[float, float], needed: tuple[int, int], facts: PageFacts, settings: DecodeSettings
) -> tuple[int, int] | None:
    """(width, height) in pixels at which lines are cut out: no less than needed, and print of 6 points 18 px high,
    where a huge page stays under the source cap, and within the memory. None where nobody asks. Raises InputError."""
    if settings.line_reader is None:
        return None
    most_px = min(settings.max_source_px / 4, ((settings.memory_mb << 20) - _IDLE_BYTES) / _LINES_BYTES)
    if needed[0] * needed[1] > most_px:
        raise InputError("too_large", f"cutting out its lines takes more than decode.memory_mb = {settings.memory_mb}")
    width_pt, height_pt = size_pt
    scale = max(needed[0] / width_pt, needed[1] / height_pt)
    scale = max(scale, min(_LINES_DPI / 72 * facts.user_unit, (most_px / (width_pt * height_pt)) ** 0.5))
    return math.ceil(width_pt * scale), math.ceil(height_pt * scale)


def _visible_pt(page: pypdfium2.PdfPage) -> tuple[float, float]:
    """(width, height) of what is shown of the page, in its points. A CropBox beside its MediaBox is no crop (it leaves
    nothing, or a seam where they touch). Raises InputError."""
    width_pt, height_pt = page.get_size()
    if min(width_pt, height_pt) < 1:
        page.set_cropbox(*_ALL_PT)  # PDFium takes what lies within the MediaBox
        width_pt, height_pt = page.get_size()
    if min(width_pt, height_pt) <= 0:
        raise InputError("malformed", "the page has no area")
    return width_pt, height_pt


def _drawn(page: pypdfium2.PdfPage, size: tuple[int, int]) -> RGB:
    """The page on white, stretched to (width, height) pixels as it is drawn: nothing is resampled afterwards."""
    width, height = size
    pixels = np.full((height, width, 3), 255, np.uint8)
    buffer = np.ctypeslib.as_ctypes(pixels.reshape(-1))
    bitmap = pypdfium2.PdfBitmap.new_native(width, height, pdfium.FPDFBitmap_BGR, rev_byteorder=True, buffer=buffer)
    with contextlib.closing(bitmap):
        place = (bitmap, page, 0, 0, width, height, 0, pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER)
        pdfium.FPDF_RenderPageBitmap(*place)
        if page.formenv:
            pdfium.FPDF_FFLDraw(page.formenv, *place)
    progress()
    return pixels
