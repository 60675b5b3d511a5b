"""The pages of a PDF by its page tree, each kid looked at, and a document of some of them for a library that goes by
the tree's /Count instead.

PDFium shows as many pages as /Count says: fewer than there are, or thousands that are not there. qpdf (through pikepdf)
reads the objects, also of files whose table of them is broken; what follows from them is decided here.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import BinaryIO, Generic, TypeVar

import pikepdf

from operators.media.pdf.lost_tree import MOST_BYTES, with_trailers
from operators.media.progress import progress
from operators.media.source import Source
from schemas.errors import InputError

MOST_PAGES = 1 << 16
"""Of one document; and of what is said twice in its tree, so that a small file cannot stand for many pages."""
_MOST_REPEATS = 1 << 10
_MOST_KIDS = 1 << 18
_MOST_DEEP = 500
"""PDFium goes down 1,024 levels."""
_INHERITED = ("/Resources", "/MediaBox", "/CropBox", "/Rotate")
"""ISO 32000-1, table 30."""
_OF_PAGES = (*_INHERITED, "/Contents", "/Annots", "/Parent")
_END = object()
_MOST_UNIT = 75_000.0
"""The largest /UserUnit that Adobe's reader takes."""
_TAIL_BYTES, _PADDING_BYTES = 2048, 1 << 16
"""At its end a file says where its table of objects lies; behind that, what fills up a block of a disk or tape."""
_DIRECT = (0, 0)
"""Of an object that stands where it is used, and has no number."""


_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class Leaf:
    """page: its dictionary. inherited: from the nodes above it."""

    page: pikepdf.Object
    inherited: dict[str, pikepdf.Object]

    def user_unit(self) -> float:
        """What one of its points is, in points of 1/72 inch (ISO 32000-1, 14.11.2)."""
        (unit,) = _numbers([self.page.get("/UserUnit")]) or (1.0,)
        return min(unit, _MOST_UNIT) if unit > 0 else 1.0

    def size_pt(self) -> tuple[float, float] | None:
        """(width, height) of what is shown of it, as it is turned, in its points; None where it says nothing of use."""
        media, crop = self._box("/MediaBox"), self._box("/CropBox")
        if media is None:
            return None
        if crop is not None:
            lower, upper = map(max, crop[:2], media[:2]), map(min, crop[2:], media[2:])
            crop = (*lower, *upper)
        x0, y0, x1, y1 = crop if crop is not None and min(crop[2] - crop[0], crop[3] - crop[1]) >= 1 else media
        width_pt, height_pt = x1 - x0, y1 - y0
        if min(width_pt, height_pt) < 1:
            return None
        (turn,) = _numbers([self.page.get("/Rotate", self.inherited.get("/Rotate"))]) or (0.0,)
        return (height_pt, width_pt) if turn % 180 == 90 else (width_pt, height_pt)

    def _box(self, name: str) -> tuple[float, ...] | None:
        """x0, y0, x1, y1 from below; None where it is no box."""
        box = self.page.get(name, self.inherited.get(name))
        sides = _numbers(list(box)) if isinstance(box, pikepdf.Array) and len(box) == 4 else None
        if sides is None:
            return None
        return (*map(min, sides[:2], sides[2:]), *map(max, sides[:2], sides[2:]))


@dataclass(frozen=True)
class PageTree(Generic[_Kept]):
    """leaves: what was kept of each, in order; None for one that the file has lost. sound: whoever goes by /Count and
    /Parent comes to the same pages. recovered: the table of the file's objects was broken, and they were searched for.
    is_cut: and the end of the file is missing. missing: kids that are not in the file; where it was recovered these are
    pages that it has lost, and else what somebody took out. misplaced: as many of the lost as are not among the leaves,
    since qpdf does not tell where they stood."""

    pdf: pikepdf.Pdf
    leaves: tuple[_Kept | None, ...]
    sound: bool
    recovered: bool
    is_cut: bool
    missing: int
    misplaced: int

    def needs_xfa(self) -> bool:
        """It holds a form in XFA that is to be laid out before its pages show anything (ISO 32000-1, 12.7.8)."""
        needed: object = self.pdf.Root.get("/NeedsRendering")
        return self._has_xfa() and needed is True

    def has_xfa_alone(self) -> bool:
        """It holds a form in XFA, and no fields of the other kind, those which pages show."""
        fields = self.pdf.Root["/AcroForm"].get("/Fields") if self._has_xfa() else None
        return self._has_xfa() and not (isinstance(fields, pikepdf.Array) and len(fields))

    def _has_xfa(self) -> bool:
        form = self.pdf.Root.get("/AcroForm")
        return isinstance(form, pikepdf.Dictionary) and form.get("/XFA") is not None


@contextlib.contextmanager
def walked(source: Source, keep: Callable[[Leaf], _Kept]) -> Iterator[PageTree[_Kept]]:
    """keep: what is wanted of each leaf; thousands of them are not held for less.

    Raises InputError: encrypted, malformed, too_large for a tree that is not worth its pages.
    """
    is_cut = b"startxref" not in source.tail(_PADDING_BYTES).rstrip(b"\0\t\n\r ")[-_TAIL_BYTES:]
    with _opened(source, is_cut=is_cut) as pdf:
        try:
            leaves, sound = _walk(pdf.Root.get("/Pages"), keep)
        except (pikepdf.PdfError, RuntimeError, TypeError, ValueError) as error:
            raise InputError("malformed", f"its pages cannot be listed: {_text(error)}") from error
        warnings = pdf.get_warnings()
        recovered = any("reconstruct" in warning for warning in warnings)
        misplaced = sum(recovered and "non-dictionary object; ignoring" in warning for warning in warnings)
        missing = misplaced + leaves.count(None)
        if not recovered:
            leaves = [leaf for leaf in leaves if leaf is not None]
        yield PageTree(pdf, tuple(leaves), sound and not missing, recovered, recovered and is_cut, missing, misplaced)


def document_of(tree: PageTree[Leaf], numbers: Sequence[int]) -> bytes:
    """A PDF of these pages, by their place among the leaves, in a plain tree; with the document's form and its layers.
    The tree is used up. Raises InputError."""
    pdf = tree.pdf
    node = pdf.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.Pages))
    kids, placed = [], set()
    try:
        for number in numbers:
            leaf = tree.leaves[number]
            assert leaf is not None
            page = leaf.page
            if page.objgen == _DIRECT or page.objgen in placed:
                page = pdf.make_indirect(pikepdf.Dictionary(dict(page.items())))
            placed.add(page.objgen)
            for name, value in {**_from_parents(page), **leaf.inherited}.items():
                if name not in page:
                    page[name] = value
            page["/Type"], page["/Parent"] = pikepdf.Name.Page, node
            kids.append(page)
        for leaf in tree.leaves:  # links and fields lead to them, and on to all that they show
            if leaf is not None and leaf.page.objgen not in placed:
                for name in list(leaf.page.keys()):
                    del leaf.page[name]
        node["/Kids"], node["/Count"] = pikepdf.Array(kids), len(kids)
        catalog = pikepdf.Dictionary(Type=pikepdf.Name.Catalog, Pages=node)
        for name in ("/AcroForm", "/OCProperties", "/NeedsRendering"):
            if name in pdf.Root:
                catalog[name] = pdf.Root[name]
        pdf.trailer["/Root"] = pdf.make_indirect(catalog)
        written = io.BytesIO()
        pdf.save(written, encryption=False, compress_streams=False, fix_metadata_version=False,
                 stream_decode_level=pikepdf.StreamDecodeLevel.none)  # fmt: skip
    except (pikepdf.PdfError, RuntimeError, TypeError, ValueError) as error:
        raise InputError("malformed", f"its pages cannot be put in order: {_text(error)}") from error
    return written.getvalue()


@contextlib.contextmanager
def _opened(source: Source, *, is_cut: bool) -> Iterator[pikepdf.Pdf]:
    with contextlib.ExitStack() as stack:
        # of a file that is cut behind an object qpdf leaves that out
        pdf = _without_trailer(source) if is_cut else None
        try:
            pdf = pdf or _pdf(stack.enter_context(source.open()))
        except InputError as error:
            if error.kind == "encrypted" or (pdf := _without_trailer(source)) is None:
                raise
        yield stack.enter_context(pdf)


def _without_trailer(source: Source) -> pikepdf.Pdf | None:
    with source.open() as file:
        content = file.read(MOST_BYTES + 1)
    for guess in with_trailers(content):
        with contextlib.suppress(InputError):
            return _pdf(io.BytesIO(guess))
    return None


def _pdf(file: BinaryIO) -> pikepdf.Pdf:
    try:
        return pikepdf.open(
            file, suppress_warnings=True, inherit_page_attributes=False, access_mode=pikepdf.AccessMode.mmap
        )
    except pikepdf.PasswordError as error:
        raise InputError("encrypted", "the document needs a password") from error
    except (pikepdf.PdfError, RuntimeError, TypeError, ValueError) as error:
        if "encrypt" in str(error):
            raise InputError("encrypted", f"the document is locked in an unknown way: {_text(error)}") from error
        raise InputError("malformed", f"not a readable PDF: {_text(error)}") from error


class _Node:
    """A node of the tree that is being walked: what its pages inherit, and its kids that are still to be looked at."""

    def __init__(self, node: pikepdf.Object, above: _Node | None, leaves_before: int) -> None:
        inherited: dict[str, pikepdf.Object] = above.inherited if above is not None else {}
        here = {name: node[name] for name in _INHERITED if name in node}
        self.node = node
        self.inherited: dict[str, pikepdf.Object] = {**inherited, **here} if here else inherited
        kids = node.get("/Kids")
        self.kids: Iterator[object] = iter(kids if isinstance(kids, pikepdf.Array) else ())
        self.leaves_before = leaves_before
        self.place = node.objgen

    def is_parent_of(self, kid: pikepdf.Object) -> bool:
        """Whether what the kid inherits comes by its own /Parent too, which is how others look for it."""
        if all(name in kid for name in self.inherited):
            return True
        parent = kid.get("/Parent")
        return isinstance(parent, pikepdf.Dictionary) and parent.objgen == self.place != _DIRECT


def _walk(root: object, keep: Callable[[Leaf], _Kept]) -> tuple[list[_Kept | None], bool]:
    """The leaves, and whether the tree is sound but for those that are not in the file. Raises InputError."""
    if not isinstance(root, pikepdf.Dictionary):
        return [], False
    if not _is_node(root):
        return [keep(Leaf(root, {}))] if _is_page(root) else [], False
    leaves: list[_Kept | None] = []
    path = [_Node(root, None, 0)]
    above = {path[0].place}  # a kid that is its own ancestor has no end
    met: set[int] = set()  # numbers of objects
    sound = True
    repeats = visits = 0
    while path:
        node = path[-1]
        kid = next(node.kids, _END)
        if kid is _END:
            sound &= node.node.get("/Count") == len(leaves) - node.leaves_before
            above.discard(path.pop().place)
            continue
        visits += 1
        progress()
        if visits > _MOST_KIDS or repeats > _MOST_REPEATS or len(leaves) > MOST_PAGES:
            raise InputError("too_large", f"it lists more than {MOST_PAGES:,} pages, or the same ones again and again")
        if kid is None:
            leaves.append(None)
        elif not isinstance(kid, pikepdf.Dictionary):
            sound = False
        elif _is_node(kid):
            sound &= node.is_parent_of(kid) and kid.objgen not in above and len(path) < _MOST_DEEP
            if kid.objgen not in above or kid.objgen == _DIRECT:
                path.append(_Node(kid, node, len(leaves)))
                above.add(kid.objgen)
        elif _is_page(kid):
            sound &= kid.get("/Type") == pikepdf.Name.Page and kid.objgen != _DIRECT and node.is_parent_of(kid)
            repeats += kid.objgen[0] in met
            met.add(kid.objgen[0])
            leaves.append(keep(Leaf(kid, node.inherited)))
        else:
            sound = False
    return leaves, sound


def _from_parents(page: pikepdf.Object) -> dict[str, pikepdf.Object]:
    """What it inherits by its own /Parent: of a tree that is lost, something may be left."""
    inherited: dict[str, pikepdf.Object] = {}
    node = page.get("/Parent")
    for _ in range(_MOST_DEEP):
        if not isinstance(node, pikepdf.Dictionary):
            break
        inherited = {**{name: node[name] for name in _INHERITED if name in node}, **inherited}
        node = node.get("/Parent")
    return inherited


def _is_node(kid: pikepdf.Object) -> bool:
    """What it holds says more than its /Type."""
    has_kids = isinstance(kid.get("/Kids"), pikepdf.Array)
    if has_kids != ("/Contents" in kid):
        return has_kids
    kind = kid.get("/Type")
    return kind == pikepdf.Name.Pages or (kind != pikepdf.Name.Page and "/Kids" in kid)


def _is_page(kid: pikepdf.Object) -> bool:
    return kid.get("/Type") == pikepdf.Name.Page or any(name in kid for name in _OF_PAGES)


def _text(error: Exception) -> str:
    """What qpdf says, without the name that it gives to an open file."""
    return " ".join(re.sub(r"^stream <[^>]*>:?", "", str(error)).split())[:300]


def _numbers(values: list[object]) -> tuple[float, ...] | None:
    """None where one is no number, or larger than a float."""
    if not all(isinstance(value, (int, Decimal)) for value in values):
        return None
    numbers = tuple(float(value) for value in values)  # type: ignore[arg-type]
    return numbers if all(map(math.isfinite, numbers)) else None
