"""Pages of a PDF as pictures, through PDFium. Runs in a decoder child: PDFium is not thread-safe and can be
made to crash or spin by a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pypdfium2

from model.prompts.pixels import smart_resize
from operators.media.blank import is_blank
from operators.media.full_res import full_res_bytes, full_res_size, resized
from operators.media.pdf.text_layer import read_text_layer
from operators.media.source import Source
from operators.text_lines.cut_lines import cut_lines
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError

_LINES_DPI = 216


def probe(source: Source, settings: DecodeSettings) -> list[Planned]:
    """One unit per page. Raises InputError: encrypted, malformed, no_frames."""
    with _opened(source) as document:
        if len(document) == 0:
            raise InputError("no_frames", "the document has no pages")
        return [
            Planned(page=index + 1, decoded_bytes=_seen_bytes(document, index, settings))
            for index in range(len(document))
        ]


def decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    """The pages in order. Each is rendered straight at about the size that the model sees.

    The scale comes from the page's size before anything is drawn, so a page of 200 x 200 inches costs no more
    than any other.
    """
    with _opened(source) as document:
        with contextlib.suppress(pypdfium2.PdfiumError):  # filled-in forms are drawn where they can be
            document.init_forms()
        for unit in units:
            assert unit.page is not None
            try:
                yield _render(document, unit.page - 1, settings)
            except InputError as error:
                yield error
            except pypdfium2.PdfiumError as error:
                yield InputError("malformed", f"page {unit.page}: {error}")


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[pypdfium2.PdfDocument]:
    with source.open() as file:
        try:
            document = pypdfium2.PdfDocument(file)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower():
                raise InputError("encrypted", "the document needs a password") from error
            raise InputError("malformed", f"not a readable PDF: {error}") from error
        try:
            yield document
        finally:
            document.close()


def _sizes(document: pypdfium2.PdfDocument, index: int, settings: DecodeSettings) -> tuple[int, int, int, int]:
    """(width, height) of the page at page_dpi, then as the model sees it; pixels."""
    width_pt, height_pt = document.get_page_size(index)
    width_px, height_px = (max(1, round(side / 72 * settings.page_dpi)) for side in (width_pt, height_pt))
    seen_height, seen_width = smart_resize(
        height_px,
        width_px,
        min_pixels=settings.image_min_px,
        max_pixels=settings.image_max_px,
        factor=settings.token_side_px,
    )
    return width_px, height_px, seen_width, seen_height


def _seen_bytes(document: pypdfium2.PdfDocument, index: int, settings: DecodeSettings) -> int:
    try:
        width_px, height_px, width, height = _sizes(document, index, settings)
    except (InputError, pypdfium2.PdfiumError):
        return 0  # decoding will say what is wrong with this page
    return width * height * 3 + full_res_bytes(width_px, height_px, (width, height), settings)


def _render(document: pypdfium2.PdfDocument, index: int, settings: DecodeSettings) -> Decoded:
    width_px, height_px, seen_width, seen_height = _sizes(document, index, settings)
    full_size = full_res_size(width_px, height_px, (seen_width, seen_height), settings)
    page = document[index]
    try:
        width_pt, height_pt = page.get_size()
        needed = full_size or (seen_width, seen_height)
        scale = max(needed[0] / width_pt, needed[1] / height_pt)
        if settings.line_reader is not None:
            # print of 6 points is 18 px high; a huge page stays under the source cap
            scale = max(scale, min(_LINES_DPI / 72, (settings.max_source_px / 4 / (width_pt * height_pt)) ** 0.5))
        bitmap = page.render(scale=scale, rev_byteorder=True, fill_color=(255, 255, 255, 255))
        picture = bitmap.to_pil().convert("RGB")
        bitmap.close()
        pixels = resized(picture, (seen_width, seen_height))
        text_layer, notes = read_text_layer(page, pixels, lambda: document[index])
    finally:
        page.close()
    line_images = None
    if settings.line_reader is not None:
        line_images = cut_lines(picture, settings.line_reader, width_px / picture.width)
    return Decoded(
        width_px,
        height_px,
        frames=(pixels,),
        line_images=line_images,
        text_layer=text_layer,
        input_notes=notes,
        blank=is_blank(pixels),
        full_res=resized(picture, full_size) if full_size else None,
    )
