"""Which pages an answer about a document cites."""

from __future__ import annotations

import re

MOST_PAGES = 100_000
_RANGE = 200
"""Pages of one cited range; more is no citation."""

_LIST = r"\d{1,6}(?:\s*(?:-|–|—|to)\s*\d{1,6})?"
_PAGES = re.compile(
    rf"\b(?:pages?|pp?\.)\s*({_LIST}(?:\s*(?:,|and|&|or)\s*(?:pages?\s*)?{_LIST})*)"
    # the model counts images from 0, and the number that is printed on a page is not its place in the document
    r"(?:\s*[(\[]\s*images?\s*(\d{1,6})\s*[)\]])?",
    re.IGNORECASE,
)
_CHINESE = re.compile(r"第\s*(\d{1,6})\s*页")


def cited_pages(text: str) -> list[int]:
    """1-based, ascending, each once. `page 7 (image 6)` is the seventh picture, whatever is printed on it."""
    pages: set[int] = {int(match[1]) for match in _CHINESE.finditer(text)}
    for match in _PAGES.finditer(text):
        if match[2] is not None:
            pages.add(int(match[2]) + 1)
            continue
        for entry in re.finditer(r"(\d{1,6})(?:\s*(?:-|–|—|to)\s*(\d{1,6}))?", match[1]):
            first, last = int(entry[1]), int(entry[2] or entry[1])
            if first <= last < first + _RANGE:
                pages |= set(range(first, last + 1))
            else:
                pages |= {first, last}
    return sorted(page for page in pages if 1 <= page <= MOST_PAGES)
