"""`{0000..0127}` and `{a,b}` in an entry: one entry that stands for several, as in a shell and in webdataset."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.errors import SpecError

MOST_ENTRIES = 100_000
DEEPEST = 20
"""Braces within braces."""
_RANGE = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})\}")
_LONGEST_SHOWN = 200


def expanded(text: str) -> list[str]:
    """In the order in which they are written; braces that hold no choice stay. Raises SpecError for more than
    MOST_ENTRIES, or braces within braces that are deeper than DEEPEST."""
    try:
        return _expanded(text, 0)
    except SpecError as error:
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
        raise SpecError(f"inputs: {shown!r}: {error}") from error


def _expanded(text: str, depth: int) -> list[str]:
    if depth > DEEPEST:
        raise SpecError(f"its braces are more than {DEEPEST} deep")
    entries = [""]
    for piece in _pieces(text):
        choices = _choices(piece, depth)
        if len(entries) * len(choices) > MOST_ENTRIES:
            raise SpecError(f"it stands for more than {MOST_ENTRIES} entries; put them into a table")
        entries = [entry + choice for entry in entries for choice in choices]
    return entries


def _pieces(text: str) -> Iterator[str]:
    """Braces at the top, and what stands between them. One without its other is text."""
    opened, ends = list[int](), dict[int, int]()
    for place, char in enumerate(text):
        if char == "{":
            opened.append(place)
        elif char == "}" and opened:
            ends[opened.pop()] = place + 1
    place = 0
    for start in sorted(ends):
        if start >= place:
            yield text[place:start]
            place = ends[start]
            yield text[start:place]
    yield text[place:]


def _choices(piece: str, depth: int) -> list[str]:
    if not (piece.startswith("{") and piece.endswith("}")):
        return [piece]
    if (bounds := _RANGE.fullmatch(piece)) is not None:
        return _numbers(bounds[1], bounds[2])
    parts, level = [""], 0
    for char in piece[1:-1]:
        level += (char == "{") - (char == "}")
        if char == "," and level == 0:
            parts.append("")
        else:
            parts[-1] += char
    if len(parts) == 1:
        return [f"{{{choice}}}" for choice in _expanded(parts[0], depth + 1)]
    choices: list[str] = []
    for part in parts:
        choices += _expanded(part, depth + 1)
        if len(choices) > MOST_ENTRIES:
            raise SpecError(f"it stands for more than {MOST_ENTRIES} entries; put them into a table")
    return choices


def _numbers(first: str, last: str) -> list[str]:
    """With as many digits as the longer has, where one begins with a zero."""
    width = max(len(first), len(last)) if any(re.match(r"-?0\d", bound) for bound in (first, last)) else 0
    low, high = int(first), int(last)
    if abs(high - low) >= MOST_ENTRIES:
        raise SpecError(f"it stands for more than {MOST_ENTRIES} entries; put them into a table")
    step = 1 if high >= low else -1
    return [f"{number:0{width}d}" for number in range(low, high + step, step)]
