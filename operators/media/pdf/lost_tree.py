"""A trailer for a file that has lost its own: cut before its end, or damaged. With the catalog that is still there, or
with one of all pages that can be told from their first bytes, in the order in which they lie in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MOST_BYTES = 256 << 20
"""Of a file that is searched; it is held in memory twice."""
_OBJECT = re.compile(rb"(?<!\d)(\d{1,8})\s{1,8}(\d{1,5})\s{1,8}obj(?=\s*<<)")
_CATALOG = re.compile(rb"/Type\s{0,8}/Catalog(?![A-Za-z])")
_PAGE = re.compile(rb"/Type\s{0,8}/Page(?![A-Za-z])")
_HEAD_BYTES = 4096
"""Of an object; within them its dictionary says its type."""


def with_trailers(content: bytes) -> Iterator[bytes]:
    """What the file may have been, the better guess first. Nothing where it was encrypted: by what, is lost too."""
    if len(content) > MOST_BYTES or b"/Encrypt" in content:
        return
    catalog = None
    pages: dict[int, int] = {}
    last = 0
    for match in _OBJECT.finditer(content):
        number, generation = int(match[1]), int(match[2])
        last = max(last, number)
        head = content[match.end() : match.end() + _HEAD_BYTES].partition(b"endobj")[0].partition(b"stream")[0]
        # of what was written twice the last counts
        pages.pop(number, None)
        if _PAGE.search(head):
            pages[number] = generation
        if _CATALOG.search(head):
            catalog = number, generation
    if catalog is not None:
        yield content + b"\n" + _trailer(*catalog, last + 1)
    if pages:
        kids = b" ".join(b"%d %d R" % page for page in pages.items())
        yield (
            content
            + (
                b"\nendobj\n%d 0 obj\n<< /Type /Catalog /Pages %d 0 R >>\nendobj\n"
                b"%d 0 obj\n<< /Type /Pages /Kids [%s] /Count %d >>\nendobj\n"
                % (last + 1, last + 2, last + 2, kids, len(pages))
            )
            + _trailer(last + 1, 0, last + 3)
        )


def _trailer(number: int, generation: int, size: int) -> bytes:
    return b"trailer\n<< /Root %d %d R /Size %d >>\nstartxref\n0\n%%%%EOF\n" % (number, generation, size)
