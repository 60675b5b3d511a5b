"""`{0000..0127}` and `{a,b}` in an entry: one entry that stands for several, as in a shell and in webdataset."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.errors import SpecError

MOST_ENTRIES = 100_000
_RANGE = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})\}")
_LONGEST_SHOWN = 200


def expanded(text: str) -> list[str]:
    """In the order in which they are written; braces that hold no choice stay. Raises SpecError for more than
    MOST_ENTRIES."""
    pieces = [_choices(piece) for piece in _pieces(text)]
    count = 1
    for choices in pieces:
        count *= len(choices)
        if count > MOST_ENTRIES:
            shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
            raise SpecError(f"inputs: {shown!r} stands for more than {MOST_ENTRIES} entries; put them into a table")
    entries = [""]
    for choices in pieces:
        entries = [entry + choice for entry in entries for choice in choices]
    return entries


def _pieces(text: str) -> Iterator[str]:
    """Braces at the top, and what stands between them. One that is not closed is text."""
    depth = start = 0
    opened = 0
    for place, char in enumerate(text):
        if char == "{":
            if depth == 0:
                opened = place
            depth += 1
        elif char == "}" and depth:
            depth -= 1
            if depth == 0:
                yield text[start:opened]
                yield text[opened : place + 1]
                start = place + 1
    yield text[start:]


def _choices(piece: str) -> list[str]:
    if not (piece.startswith("{") and piece.endswith("}")):
        return [piece]
    if (bounds := _RANGE.fullmatch(piece)) is not None:
        return _numbers(bounds[1], bounds[2])
    parts, depth = [""], 0
    for char in piece[1:-1]:
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    if len(parts) > 1:
        return [choice for part in parts for choice in expanded(part)]
    return [f"{{{choice}}}" for choice in expanded(piece[1:-1])]


def _numbers(first: str, last: str) -> list[str]:
    """With as many digits as the longer has, where one begins with a zero."""
    width = max(len(first), len(last)) if any(re.match(r"-?0\d", bound) for bound in (first, last)) else 0
    low, high = int(first), int(last)
    if abs(high - low) >= MOST_ENTRIES:
        raise SpecError(f"inputs: {{{first}..{last}}} stands for more than {MOST_ENTRIES} entries")
    step = 1 if high >= low else -1
    return [f"{number:0{width}d}" for number in range(low, high + step, step)]
