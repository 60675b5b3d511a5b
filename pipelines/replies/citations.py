"""Which pages an answer about a document cites, in English, German and Chinese: `pages 3–5`, `the second page`, `Seite
drei`, `第三页`, `"pages": [3]`. A number that counts something else (`on page 3, 12 tables`) is no page."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from pipelines.replies.numerals import CARDINALS, HAN, ORDINALS, chinese_number

MOST_PAGES = 100_000
_RANGE = 200
"""Pages of one cited range; more is no citation."""

_TO = r"\s*(?:-|–|—|~|〜|to\b|through\b|thru\b|bis\b|至|到)\s*"
_AND = r"\s*(?:,\s*and\b|,\s*or\b|,\s*und\b|,|、|;|and\b|&|\+|or\b|und\b|oder\b|sowie\b|和|及|与|以及)\s*"
_WORD = r"(?:pages?|pgs?\.?|pp?\.?|seiten?|S\.)"
_HEAD = re.compile(
    r"(?:(?<![^\W_])(?P<word>pages?|pgs?\.?|seiten?|pp?\.)|(?<![\w.])"
    r"(?P<short>p(?=\s+\d|\s*\[)|(?<=[\[(])p(?=\d)|pp(?=\s*\d)|(?-i:S\.)(?=\s?\d))"
    r"|(?P<han>页码))(?:\(s\)|\(n\))?(?:[_\s]?(?:numbers?|nums?|nos?\.|nr\.|index|idx|ids?)(?![^\W\d_]))?[\"']?"
    r"\s*(?:\#\s*)?[:：=]?\s*(?=[\[(\"'\d#])",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"numbers|nums|nos|ids", re.IGNORECASE)
_OPENS = re.compile(r"[\[(](?!\d{1,6}\])\s*")
_IN_BRACKETS = re.compile(r"[\[(]\s*[^\W\d]{1,6}\.?(?:\(s\))?\s*$")
_ITEM = re.compile(r"\#?\s*(?:\[(\d{1,6})\]|[\"']?(\d{1,6})[\"']?)(?!\d)")
_UP_TO = re.compile(rf"{_TO}(?:the\s+)?(?:{_WORD}\s*)?(?:\[(\d{{1,6}})\]|(\d{{1,6}}))(?![\d%])(?!\.\d)", re.IGNORECASE)
_NEXT = re.compile(rf"({_AND})(?:{_WORD}\s*)?(?=[\[\"'\d])", re.IGNORECASE)
_AMOUNT = re.compile(r"\s?(?:%|‰|°|€|percent\b|per\s+cent\b|Prozent\b)|[.,]\d")
_COUNTED = re.compile(
    r"[^\S\n]+(?!(?:and|or|to|und|oder|bis|through|of|von|in|on|show|are|is|each|respectively)\b)[^\W\d_]"
)
_OF = re.compile(r"\s*/\s*(\d{1,6})")
_IMAGE_BEHIND = re.compile(rf"\s*[(\[]\s*images?\s*(?:no\.\s*)?(\d{{1,6}}(?:{_TO}\d{{1,6}})?)\s*[)\]]", re.IGNORECASE)
_IMAGES = re.compile(
    r"(?<![^\W_])(?:images?|bild(?:er)?)(?:\(s\))?[\"']?\s*(?:no\.|number|\#)?\s*[:：=]?\s*(?=[\[(\"'\d])"
    r"|(?:图片|图像)\s*(?=\d)",
    re.IGNORECASE,
)
_NUMERAL = rf"(?:\d{{1,6}}|[{HAN}]{{1,7}})"
_CHINESE = re.compile(
    rf"第\s*({_NUMERAL}(?:(?:\s*页)?(?:{_TO}|{_AND})(?:第\s*)?{_NUMERAL}(?=\s*[页\-–—~至到,、和及与第])){{0,50}})\s*页"
)
_CHINESE_IMAGES = re.compile(rf"第\s*({_NUMERAL}(?:(?:{_TO}|{_AND})(?:第\s*)?{_NUMERAL}){{0,50}})\s*(?:张|幅|个)?\s*图")

_NAMED = re.compile(r"\b(pages?|seiten?|images?|bild(?:er|es|s)?)\b", re.IGNORECASE)
_TOKEN = re.compile(r"\d{1,4}(?:st|nd|rd|th|\.)?|[^\W\d_]+(?:-[^\W\d_]+)?|[^\w\s]")
_SPELLED = re.compile(
    r"(?<![^\W_])((?:pages?|seiten?|images?|bild(?:er)?)\s+)([^\W\d_]+(?:-[^\W\d_]+)?"
    r"(?:(?:\s*,\s*|\s+)[^\W\d_]+(?:-[^\W\d_]+)?){0,12})",
    re.IGNORECASE,
)
_BETWEEN = frozenset((",", "and", "or", "&", "to", "through", "und", "oder", "bis", "the", "der", "die", "-", "–"))
_LOOKED_BACK = 80
"""Characters before a page's word in which its ordinals stand."""


@dataclass(frozen=True)
class _Citation:
    """pages: as they are named. image: the pictures that they are said to be; None where nothing is said."""

    pages: frozenset[int]
    image: str | None = None


def cited_pages(text: str) -> list[int]:
    """1-based, ascending, each once. `page 9 (image 25)` is the 25th picture, whatever is printed on it.

    Images count from 1, as the prompt says; from 0 in a reply that shows that it counts so: `page 7 (image 6)`.
    """
    text = _in_digits(re.sub(r"[*`]+", "", unicodedata.normalize("NFKC", text)))
    pages: set[int] = set()
    for chinese in _CHINESE.finditer(text):
        pages |= _chinese_pages(chinese[1])
    citations = _citations(text)
    shown = [
        (next(iter(one.pages)), int(one.image))
        for one in citations
        if len(one.pages) == 1 and one.image is not None and one.image.isdigit()
    ]
    from_zero = any(image == 0 for _, image in shown) or (
        any(image == page - 1 for page, image in shown) and not any(image == page for page, image in shown)
    )
    for one in citations:
        pages |= one.pages if one.image is None else {number + from_zero for number in _listed(one.image)}
    pages |= _ordinals(text, ("page", "seite"))
    if not pages:  # the prompt counts pages as images
        for match in _IMAGES.finditer(text):
            pages |= _items(text, match.end(), plural=True)[0]
        for chinese in _CHINESE_IMAGES.finditer(text):
            pages |= _chinese_pages(chinese[1])
        pages |= _ordinals(text, ("image", "bild"))
    return sorted(page for page in pages if 1 <= page <= MOST_PAGES)


def _citations(text: str) -> list[_Citation]:
    citations: list[_Citation] = []
    place = 0
    while (head := _HEAD.search(text, place)) is not None:
        word = (head["word"] or head["short"] or head["han"]).lower().rstrip(".")
        plural = word in ("pages", "pp", "pgs", "seiten") or "(" in head[0] or _NUMBERS.search(head[0]) is not None
        pages, place = _items(text, head.end(), plural=plural)
        if head["short"] and "=" in head[0]:
            continue  # p = 12 is a value
        of = _OF.match(text, place)
        if of is not None and len(pages) == 1:  # `page 2/35` is one of them, `pages 2/3` are two
            place = of.end()
            pages = pages | {int(of[1])} if plural else pages
        image = _IMAGE_BEHIND.match(text, place)
        place = max(image.end() if image else place, head.end())
        # a number that is printed on a page is not its place in the document
        citations.append(_Citation(frozenset(pages), image[1] if image else None))
    return citations


def _items(text: str, place: int, *, plural: bool) -> tuple[set[int], int]:
    """The numbers of a list that begins there, and where it ends. plural: whether several were announced, so that one
    behind a comma belongs to it; where `and` stood, the list has ended."""
    opening = _OPENS.match(text, place)
    place = opening.end() if opening else place
    within = bool(opening) or _IN_BRACKETS.search(text, max(0, place - 16), place) is not None
    pages: set[int] = set()
    closed = False
    item = _ITEM.match(text, place)
    while item is not None:
        first = int(item[1] or item[2])
        place = item.end()
        up_to = _UP_TO.match(text, place)
        if up_to is not None:
            pages |= _range(first, int(up_to[1] or up_to[2]))
            place = up_to.end()
        else:
            pages.add(first)
        following = _NEXT.match(text, place)
        item = _ITEM.match(text, following.end()) if following else None
        if following is None or item is None:
            break
        comma = following[1].strip() in (",", ";", "、")
        if not within and (
            _AMOUNT.match(text, item.end())
            or (comma and (closed or not plural) and _COUNTED.match(text, item.end()))
            or (comma and closed)
        ):
            break
        closed = closed or not comma
    return pages, place


def _in_digits(text: str) -> str:
    """With digits for the numbers in words that stand behind a page's word: `page two`, `Seiten zwei bis vier`."""

    def digits(match: re.Match[str]) -> str:
        words = re.split(r"(\s*,\s*|\s+)", match[2])
        for place in range(0, len(words), 2):
            value = CARDINALS.get(words[place].lower())
            if value is not None:
                words[place] = str(value)
            elif words[place].lower() not in _BETWEEN:
                break
        return match[1] + "".join(words)

    return _SPELLED.sub(digits, text)


def _ordinals(text: str, named: tuple[str, ...]) -> set[int]:
    """Of `the second page`, `3rd to 5th pages`, `der dritten Seite`, `the first two pages`."""
    pages: set[int] = set()
    for match in _NAMED.finditer(text):
        if not match[1].lower().startswith(named) or re.match(r"\s*\d", text[match.end() : match.end() + 5]):
            continue  # `2. Seite 5` is an item of a list
        tokens = _TOKEN.findall(text[max(0, match.start() - _LOOKED_BACK) : match.start()].lower())
        counted = tokens[-1:] and (CARDINALS.get(tokens[-1]) or (int(tokens[-1]) if tokens[-1].isdigit() else None))
        if counted and tokens[-2:-1] and ORDINALS.get(tokens[-2]) == 1:
            pages |= _range(1, counted)
            continue
        german = match[1].lower().startswith(named[1])
        listed: list[str] = []
        while tokens and (tokens[-1] in _BETWEEN or _ordinal(tokens[-1], german=german) is not None):
            token = tokens.pop()
            value = _ordinal(token, german=german)
            listed.append(token if value is None else str(value))
        pages |= _listed(" ".join(reversed(listed)))
    return pages


def _ordinal(token: str, *, german: bool) -> int | None:
    digits = re.fullmatch(r"(\d{1,4})\." if german else r"(\d{1,4})(?:st|nd|rd|th)", token)
    return int(digits[1]) if digits else ORDINALS.get(token)


def _listed(text: str) -> set[int]:
    """Of `2, 4-6`."""
    entries = re.finditer(rf"(\d{{1,6}})(?:{_TO}(?:the\s+)?(\d{{1,6}}))?", text)
    return {page for entry in entries for page in _range(int(entry[1]), int(entry[2] or entry[1]))}


def _range(first: int, last: int) -> set[int]:
    return set(range(first, last + 1)) if first <= last < first + _RANGE else {first, last}


def _chinese_pages(text: str) -> set[int]:
    pages: set[int] = set()
    before: int | None = None
    end = 0
    for match in re.finditer(_NUMERAL, text):
        page = chinese_number(match[0])
        if before is not None and re.search(_TO, text[end : match.start()]):
            pages |= _range(before, page)
        else:
            pages.add(page)
        before, end = page, match.end()
    return pages
