"""Which pages an answer about a document cites."""

from __future__ import annotations

import re
import unicodedata

MOST_PAGES = 100_000
_RANGE = 200
"""Pages of one cited range; more is no citation."""

_TO = r"\s*(?:-|–|—|~|〜|to\b|through\b|thru\b|至|到)\s*"
_AND = r"\s*(?:,\s*and\b|,\s*or\b|,|、|;|and\b|&|or\b|和|及|与|以及)\s*"
_ONE = r"(?:\[\d{1,6}\]|\d{1,6})"
_LIST = rf"{_ONE}(?:{_TO}{_ONE})?"
_PAGES = re.compile(
    rf"\b(pages?|pp?\.?|pgs?\.?)(?:\(s\))?[\"']?\s*(?:no\.|nos\.|numbers?|\#)?\s*[:：=]?\s*(?:(?=\[\d{{1,6}}\])|[\[(])?\s*(?:\#\s*)?"
    rf"({_LIST}(?:{_AND}(?:pages?\s*|pp?\.\s*)?{_LIST})*)"
    # a number that is printed on a page is not its place in the document
    r"(?:\s*/\s*(\d{1,6}))?(?:\s*[(\[]\s*images?\s*(?:no\.\s*)?"
    rf"(\d{{1,6}}(?:{_TO}\d{{1,6}})?)\s*[)\]])?",
    re.IGNORECASE,
)
_IMAGES = re.compile(rf"\bimages?\s*(?:no\.\s*)?({_LIST}(?:{_AND}{_LIST})*)", re.IGNORECASE)
_NUMERAL = r"(?:\d{1,6}|[一二三四五六七八九十百零〇两]{1,7})"
_CHINESE = re.compile(rf"第\s*({_NUMERAL}(?:(?:{_TO}|{_AND})(?:第\s*)?{_NUMERAL})*)\s*页")
_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}


def cited_pages(text: str) -> list[int]:
    """1-based, ascending, each once. `page 9 (image 25)` is the 25th picture, whatever is printed on it.

    Images count from 1, as the prompt says; from 0 in a reply that shows that it counts so: `page 7 (image 6)`.
    """
    text = unicodedata.normalize("NFKC", text)
    pages: set[int] = set()
    for chinese in _CHINESE.finditer(text):
        pages |= _chinese_pages(chinese[1])
    matches = [(match[1], match[2].strip("[]"), match[3], match[4]) for match in _PAGES.finditer(text)]
    shown = [(int(page), int(image)) for _, page, _, image in matches if page.isdigit() and (image or "").isdigit()]
    from_zero = any(image == 0 for _, image in shown) or (
        any(image == page - 1 for page, image in shown) and not any(image == page for page, image in shown)
    )
    for word, page, of, image in matches:
        if image is not None:
            pages |= {number + from_zero for number in _listed(image)}
        elif of is not None and page.isdigit():  # `page 2/35` is one of them, `pages 2/3` are two
            pages.add(int(page))
            if word.lower().rstrip(".") in ("pages", "pp", "pgs"):
                pages.add(int(of))
        else:
            pages |= _listed(page)
    if not pages:  # the prompt counts pages as images
        pages = {page for match in _IMAGES.finditer(text) for page in _listed(match[1])}
    return sorted(page for page in pages if 1 <= page <= MOST_PAGES)


def _listed(text: str) -> set[int]:
    """Of `2, 4-6`; single numbers may stand in brackets."""
    entries = re.finditer(rf"(\d{{1,6}})(?:{_TO}(\d{{1,6}}))?", re.sub(r"[\[\]]", "", text))
    return {page for entry in entries for page in _range(int(entry[1]), int(entry[2] or entry[1]))}


def _range(first: int, last: int) -> set[int]:
    return set(range(first, last + 1)) if first <= last < first + _RANGE else {first, last}


def _chinese_pages(text: str) -> set[int]:
    pages: set[int] = set()
    numbers = list(re.finditer(_NUMERAL, text))
    before: int | None = None
    end = 0
    for match in numbers:
        page = _number(match[0])
        if before is not None and re.search(_TO, text[end : match.start()]):
            pages |= _range(before, page)
        else:
            pages.add(page)
        before, end = page, match.end()
    return pages


def _number(numeral: str) -> int:
    """`12`, `十二`, `一百零二`."""
    if numeral.isdigit():
        return int(numeral)
    total = digit = 0
    for char in numeral:
        if char in ("十", "百"):
            total += (digit or 1) * (10 if char == "十" else 100)
            digit = 0
        else:
            digit = _DIGITS[char]
    return total + digit
