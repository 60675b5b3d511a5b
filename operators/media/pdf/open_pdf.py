"""A PDF open in PDFium, as its pages lie in it: as it is where PDFium comes to the pages that its page tree names, else
as a document that is made of those.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pypdfium2

from operators.media.kept_open import kept_open
from operators.media.progress import progress
from operators.media.source import Source
from schemas.errors import InputError

if TYPE_CHECKING:
    from operators.media.pdf.page_tree import Leaf

_MOST_COUNTED = 1 << 16
"""Pages that PDFium is believed to have without a page tree that says so."""
MOST_PAGES = 128
"""PDFium holds what it has read of a document, so it is opened anew after so many of its pages."""
_LETTER_PT = (612.0, 792.0)
"""What PDFium takes for a page without a size."""


@dataclass(frozen=True)
class PageFacts:
    """What is known of a page before it is opened. rebuilt: it is opened in a document made of the page tree, else in
    the file as it is. user_unit: what one of its points is, in points of 1/72 inch. notes: of INPUT_NOTES. size_pt:
    (width, height) as planned, in its own points."""

    rebuilt: bool = False
    user_unit: float = 1.0
    notes: tuple[str, ...] = ()
    size_pt: tuple[float, float] = _LETTER_PT

    def to_index(self) -> str:
        """What decoding needs of it, as far as it is out of the ordinary."""
        values = {"rebuilt": self.rebuilt, "user_unit": self.user_unit, "notes": self.notes}
        return json.dumps({name: value for name, value in values.items() if value != getattr(PageFacts, name)})

    @classmethod
    def of_index(cls, index: str) -> PageFacts:
        values = json.loads(index)
        return cls(
            bool(values.get("rebuilt")), float(values.get("user_unit", 1.0)), tuple(map(str, values.get("notes", ())))
        )


def survey(source: Source) -> list[PageFacts | None]:
    """The pages in order; None for one that the file names and has lost. Raises InputError: encrypted, malformed,
    too_large."""
    from operators.media.pdf.page_tree import walked  # decoding does without it, but for odd documents

    try:
        with walked(source, _facts()) as tree:
            noted = {"truncated": tree.is_cut, "xfa_form": tree.needs_xfa()}
            notes = tuple(note for note, holds in noted.items() if holds)
            pages = _noted([*tree.leaves, *[None] * tree.misplaced], *notes)
            sound, recovered, missing, misplaced = tree.sound, tree.recovered, tree.missing, tree.misplaced
            may_stand_in = tree.has_xfa_alone() and not tree.needs_xfa()
        del tree  # with what qpdf holds of it
    except InputError as refusal:
        if refusal.kind == "too_large":
            raise
        return _without_tree(source, refusal)
    _give_back_memory()
    try:
        with _opened(source) as document:
            if may_stand_in and len(pages) == 1 and _is_placeholder(document):
                pages = _noted(pages, "xfa_form")
            if sound and len(document) == len(pages):
                return pages
            # PDFium may know where the lost pages stood, or even read what qpdf does not
            if missing and _number_there(pages) + bool(not misplaced) <= _number_there(
                readable := _readable(document, len(pages), notes)
            ):
                return readable
    except InputError:  # qpdf sets it right
        if recovered and not any(page and page.notes for page in pages):
            pages = _noted(pages, "damaged")
    return [page and replace(page, rebuilt=True) for page in pages]


@contextlib.contextmanager
def opened_pages(
    source: Source, numbers: Sequence[int], *, rebuilt: bool, form: bool = True
) -> Iterator[tuple[pypdfium2.PdfDocument, dict[int, int]]]:
    """A document that holds these pages, and where each lies in it, all counted from 0. form: whether its form may be
    drawn. Raises InputError."""
    if not rebuilt:
        with _opened_for_long(source, len(numbers), form) as document:
            yield document, {number: number for number in numbers}
        return
    from operators.media.pdf.page_tree import document_of, walked

    with walked(source, lambda leaf: leaf) as tree:
        there = [n for n in dict.fromkeys(numbers) if n < len(tree.leaves) and tree.leaves[n] is not None]
        content = document_of(tree, there)
    with _opened(content) as document:
        yield document, {number: place for place, number in enumerate(there)}


@contextlib.contextmanager
def _opened_for_long(source: Source, pages: int, form: bool) -> Iterator[pypdfium2.PdfDocument]:
    """And for the next order (operators/media/kept_open.py), until MOST_PAGES were read of it. pages: to be read."""
    document, stack, before = kept_open.take(form) or (None, contextlib.ExitStack(), 0)
    with stack:
        document = document or stack.enter_context(_opened(source))
        yield document
        if before + pages < MOST_PAGES:
            kept = stack.pop_all()
            kept_open.keep(form, (document, kept, before + pages), kept.close)


@contextlib.contextmanager
def _opened(content: Source | bytes) -> Iterator[pypdfium2.PdfDocument]:
    with content.open() if isinstance(content, Source) else io.BytesIO(content) as file:
        try:
            document = pypdfium2.PdfDocument(file)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower():
                raise InputError("encrypted", "the document needs a password") from error
            if "security" in str(error).lower():
                raise InputError("encrypted", "the document is locked in a way that is not known here") from error
            raise InputError("malformed", f"not a readable PDF: {error}") from error
        try:
            yield document
        finally:
            document.close()


def _facts() -> Callable[[Leaf], PageFacts]:
    """Pages that are alike are one in memory."""
    alike: dict[PageFacts, PageFacts] = {}

    def facts_of(leaf: Leaf) -> PageFacts:
        facts = PageFacts(user_unit=leaf.user_unit(), size_pt=leaf.size_pt() or _LETTER_PT)
        return alike.setdefault(facts, facts)

    return facts_of


def _give_back_memory() -> None:
    """What qpdf held of a long document is not needed again, and neither PDFium nor Python takes it over."""
    with contextlib.suppress(AttributeError):  # not of every C library
        ctypes.CDLL(None).malloc_trim(0)


def _without_tree(source: Source, refusal: InputError) -> list[PageFacts | None]:
    """By PDFium alone. refusal: qpdf's."""
    try:
        with _opened(source) as document:
            return _readable(document)
    except InputError as error:
        raise (refusal if refusal.kind == "encrypted" else error) from refusal


def _readable(document: pypdfium2.PdfDocument, least: int = 0, notes: tuple[str, ...] = ()) -> list[PageFacts | None]:
    """As many pages as PDFium counts, but for those at the end that are not there. least: of pages, there or
    not. notes: of each."""
    sizes = [_size_pt(document, index) for index in range(min(len(document), _MOST_COUNTED))]
    while len(sizes) > least and sizes[-1] is None:
        sizes.pop()
    return [size_pt and PageFacts(notes=notes, size_pt=size_pt) for size_pt in sizes]


def _size_pt(document: pypdfium2.PdfDocument, index: int) -> tuple[float, float] | None:
    progress()
    try:
        width_pt, height_pt = document.get_page_size(index)
    except pypdfium2.PdfiumError:
        return None
    return (width_pt, height_pt) if min(width_pt, height_pt) >= 1 else _LETTER_PT


def _is_placeholder(document: pypdfium2.PdfDocument) -> bool:
    """Its one page asks for another program, instead of showing the form."""
    try:
        page = document[0]
        layer = page.get_textpage()
        text: str = layer.get_text_range(count=min(layer.count_chars(), 4000))
        layer.close()
        page.close()
    except (pypdfium2.PdfiumError, UnicodeError):
        return False
    return re.search(r"please wait|adobe|pdf viewer", text, re.IGNORECASE) is not None


def _number_there(pages: list[PageFacts | None]) -> int:
    return len(pages) - pages.count(None)


def _noted(pages: list[PageFacts | None], *notes: str) -> list[PageFacts | None]:
    return [page and replace(page, notes=(*page.notes, *notes)) for page in pages] if notes else pages
