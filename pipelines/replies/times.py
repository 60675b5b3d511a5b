"""Times and spans as the model writes them: seconds, mm:ss(.ff) and h:mm:ss read alike."""

from __future__ import annotations

import math
import re
from typing import Any

LONGEST_S = 1_000_000.0
"""Seconds (eleven days); beyond it nothing is a time in a video."""

TIME = r"(?:\d{1,4}(?::\d{1,2}){1,2}(?:\.\d+)?|\d+(?:\.\d+)?)"
_UNIT = r"(?:\s*(?:seconds?|secs?|s)\b)?"
_SEPARATOR = r"\s*(?:-|–|—|~|→|->|to|and|until)\s*"
SPAN = rf"<?({TIME})>?{_UNIT}>?{_SEPARATOR}<?({TIME})>?{_UNIT}>?"
_SPAN = re.compile(SPAN)
_TIME = re.compile(rf"(?<![\d.:])<?({TIME})>?{_UNIT}")
_CLOCK = r"\d+(?::\d\d){1,2}(?:\.\d+)?"
_MARKED = re.compile(
    rf"<({TIME})[^<>]{{0,9}}>|(?<![\d.:])({TIME})\s*(?:seconds?|secs?|s)\b|(?<![\d.:])({_CLOCK})(?![\d:])"
)

START_KEYS = ("start_s", "start_time", "start", "start_timestamp", "startTime", "begin", "begin_time", "from")
END_KEYS = ("end_s", "end_time", "end", "end_timestamp", "endTime", "finish", "to")
SPAN_KEYS = ("timestamp", "timestamps", "time", "span", "interval", "time_range", "segment")


def seconds(value: Any) -> float | None:
    """From a number of seconds or a text; None for what is no time, negative, or beyond LONGEST_S."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            time_s = float(value)
        except OverflowError:
            return None
    else:
        match = _TIME.fullmatch(str(value).strip().strip("<>").strip()) if isinstance(value, str) else None
        if match is None:
            return None
        time_s = 0.0
        for part in match[1].split(":"):
            time_s = time_s * 60 + float(part)
    return time_s if math.isfinite(time_s) and 0 <= time_s <= LONGEST_S else None


def span(first: Any, second: Any) -> tuple[float, float] | None:
    """(start_s, end_s) as the model wrote them; the check reports one that ends before it begins."""
    start, end = seconds(first), seconds(second)
    return None if start is None or end is None else (start, end)


def span_in(text: str) -> tuple[float, float] | None:
    """The first span of a text: two times with a dash or `to` between them."""
    for match in _SPAN.finditer(text):
        if (pair := span(match[1], match[2])) is not None:
            return pair
    return None


def times_in(text: str) -> list[float]:
    """All times of a text that are marked as such: with a colon, in <> or followed by a unit; seconds."""
    times = (seconds(next(group for group in match.groups() if group)) for match in _MARKED.finditer(text))
    return [time_s for time_s in times if time_s is not None]


def spans_in(text: str) -> list[tuple[float, float]]:
    """All spans and single times of a text that are marked as times; a single time is a span without length."""
    spans: list[tuple[int, float, float]] = []
    taken: list[tuple[int, int]] = []
    for match in _SPAN.finditer(text):
        marked = ":" in match[0] or re.search(r"s\b|sec|<", match[0])
        pair = span(match[1], match[2]) if marked else None
        if pair is not None:
            spans.append((match.start(), *pair))
            taken.append(match.span())
    for match in _MARKED.finditer(text):
        if not any(start <= match.start() < end for start, end in taken):
            time = seconds(next(group for group in match.groups() if group))
            if time is not None:
                spans.append((match.start(), time, time))
    return [(start_s, end_s) for _, start_s, end_s in sorted(spans)]


def span_of(element: dict[str, Any]) -> tuple[float, float] | None:
    """The span that an object names, whichever of the usual keys it uses."""
    for key in SPAN_KEYS:
        value = element.get(key)
        if isinstance(value, str) and (pair := span_in(value)) is not None:
            return pair
        if isinstance(value, list) and len(value) == 2 and (pair := span(value[0], value[1])) is not None:
            return pair
    first = next((element[key] for key in START_KEYS if key in element), None)
    second = next((element[key] for key in END_KEYS if key in element), None)
    return span(first, second)
