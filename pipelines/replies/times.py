"""Times and spans as the model writes them: seconds, mm:ss(.ff) and h:mm:ss read alike; in prose only what is a time.

A number in a text is a time where it is marked as one: a clock, in <>, a span with a unit, a unit behind a preposition.
"for 15 seconds", "a 60 second video", "an iPhone 15s", "10:45 a.m." and "the 1990s" are none. Units are in English,
German or Chinese.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

LONGEST_S = 1_000_000.0
"""Seconds (eleven days); beyond it nothing is a time in a video."""

TIME = r"(?>\d{1,4}(?::\d{1,2}){1,2}(?:\.\d{1,9}|,\d{3}(?!\d))?|\d{1,12}(?:\.\d{1,12})?)"
_ENDS = r"(?![A-Za-zÄÖÜäöüß\d_])"
"""Of a unit: no letter stands behind it but one of Chinese."""
_SECONDS = rf"(?:(?:sec|[Ss]ek)\.|(?:seconds?|secs?|[Ss]ek(?:unden?)?|s){_ENDS}|秒钟?)"
_UNIT = rf"(?:\s*{_SECONDS})?+"
_SEPARATOR = (
    r"\s*+(?:开始\s*+[,，]?\s*+)?(?:-->|->|→|-|–|—|~|〜|～|to\b|until\b|(?:and|und)\b(?=.{0,40}\d)|through\b|bis\b|直到|到|至)"
    r"\s*+(?:about\s|around\s|the\s|zu\s|zur\s)?第?"
)
SPAN = rf"<?({TIME})>?{_UNIT}>?{_SEPARATOR}<?({TIME})>?{_UNIT}>?"
_SPAN = re.compile(rf"(?<![\d.:])第?{SPAN}")
_TIME = re.compile(rf"(?<![\d.:])<?({TIME})>?{_UNIT}")
_CLOCK = r"\d{1,4}(?::\d\d){1,2}(?:\.\d{1,9})?"
_MARKED = re.compile(rf"<({TIME})[^<>]{{0,9}}>|(?<![\d.:])({TIME})\s*{_SECONDS}|(?<![\d.:])({_CLOCK})(?![\d:])")
_HOUR = rf"(?:(?:hours?|hrs?|h|Stunden?|Std\.?){_ENDS}|小时)"
_MINUTE_WORD = rf"(?:(?:minutes?|mins?\.?|Minuten?|Min\.?){_ENDS}|分钟?)"
_MINUTE = rf"(?:{_MINUTE_WORD}|m(?![A-Za-z_]))"
_THEN = r"\s*(?:,|and\b|und\b)?\s*"
_WORDY = re.compile(
    rf"(?<![\d.:])(?:(\d{{1,2}})\s*{_HOUR}{_THEN})?(?<!\d[-–])(\d{{1,3}})\s*{_MINUTE}"
    rf"(?:{_THEN}(\d{{1,2}}(?:\.\d{{1,6}})?)\s*{_SECONDS}|(?<=[es分钟n.])(?![a-z]))"
)
_MINUTES_TO = re.compile(
    rf"(?<![\d.:])(\d{{1,3}})(\s*(?:-|–|—|to\b|and\b|bis\b|und\b|到|至)\s*)(\d{{1,3}})[\s-]*{_MINUTE_WORD}"
)
_COMMA = re.compile(
    rf"(?<![\d.,:])(?:(\d{{1,6}}),(\d{{1,2}})|(\d{{1,3}}),(\d{{3}}))(?=\s*(?:{_SECONDS}|(?:bis|to|-|–)\s*\d{{1,6}}(?:,\d{{1,2}})?\s*{_SECONDS}))"
    r"|(?<=:\d\d),(\d{1,2})(?![\d:])"
)
_BRACKETED = re.compile(r"[\[【]([^\[\]【】\n]{1,200})[\]】]")
_EMPHASIS = re.compile(r"\*\*|(?<=\d)[*_`]|[*_`](?=\d)")
_ORDINAL = re.compile(
    r"(?<![\d.])(\d{1,6})(?:(?:st|nd|rd|th)\s+seconds?\b|-seconds?\b(?=\s+(?:(?:and|to|until)\s+(?:the\s+)?\d{1,6}-seconds?\s+)?marks?\b))"
    r"|(?<!\bthe\s)(?<!\bper\s)(?<!\bevery\s)\bsecond\s+(\d{1,6}(?:\.\d{1,3})?)(?!\s*s|[\d.]*\d)"
    r"|\bsekunde\s+(\d{1,6}(?:\.\d{1,3})?)(?!\s*s|[\d.]*\d)|(?<![\d.])(\d{1,6})\.\s*sekunde\b",
    re.IGNORECASE,
)
_HAS_UNIT = re.compile(r"\d\s*s\b|sec|[Ss]ek|<|秒")
_DECADE = re.compile(r"(?<!\d)(?:1\d|20)\d0s\b")
_SHORT_DECADE = re.compile(r"(?<!\d)[2-9]0s\b")
_OF_DECADES = re.compile(r"(?:\b(?:in|the|early|late|mid)\W{0,2}|')$", re.IGNORECASE)
_UNMARKED_BEFORE = re.compile(
    r"(?:\b(?:for|lasts?|lasted|lasting|within|every|of|over|than|first|last|next|another|additional|takes?|took|"
    r"per|runs?|spans?|"
    r"duration(?:\s+is)?:?|length:?|für|dauert|dauerte|alle|innerhalb|binnen|ersten?|letzten?|nächsten?|持续|长达|共|约有|每)"
    r"(?:\s+(?:about|around|approximately|only|roughly|the|an?|"
    r"approx\.?|etwa|rund|ca\.))?|持续了?|长达|每)\s*$",
    re.IGNORECASE,
)
_UNMARKED_BEHIND = re.compile(
    r"^[\s-]*(?:long\b|later\b|videos?\b|clips?\b|footage\b|recordings?\b|duration\b|apart\b|each\b|intervals?\b|"
    r"per\b|films?\b|of\b|lang\b|langes?\b|später\b|pauses?\b|delays?\b|"
    r"视频|片段|长)",
    re.IGNORECASE,
)
_WALL_CLOCK = re.compile(r"\s*(?:[ap]\.\s?m\.|[ap]m\b|uhr\b|o'clock\b|aspect\b|ratio\b|点)", re.IGNORECASE)
_MARK_BEHIND = re.compile(r"^\s*(?:mark|point|timestamp)\b", re.IGNORECASE)
_LEADS_TO_A_TIME = re.compile(
    r"(?:^|[^\w\s]|[在从到至于]|\b(?:at|from|to|until|till|and|or|around|about|approximately|roughly|circa|by|between|after|"
    r"before|near|is|since|bei|von|bis|ab|um|nach|vor|zwischen|und|oder|"
    r"time|timestamp|second|starts?|ends?|begins?|through|in))\s*$",
    re.IGNORECASE,
)
_START = re.compile(
    rf"\b(?:start|begin|anfang)\w{{0,8}}(?:[\s_]{{0,2}}(?:time|timestamp|seconds?|s)\b)?\W{{1,8}}(?:(?:at|from|is|around|bei|um|"
    rf"about|approximately)\W{{1,3}}){{0,2}}({TIME})",
    re.IGNORECASE,
)
_END = re.compile(_START.pattern.replace("start|begin|anfang", "end|finish|stop|conclud"), re.IGNORECASE)

START_KEYS = (
    "start_s", "start_time", "start", "start_timestamp", "starttime", "starts", "begin", "begin_time", "from",
    "start_seconds", "start_sec", "t_start", "开始时间", "开始", "起始时间",
)  # fmt: skip
END_KEYS = (
    "end_s", "end_time", "end", "end_timestamp", "endtime", "ends", "finish", "to", "end_seconds", "end_sec", "t_end",
    "结束时间", "结束", "终止时间",
)  # fmt: skip
_LENGTH_KEYS = ("duration", "duration_s", "length")
SPAN_KEYS = (
    "timestamp", "timestamps", "time", "span", "interval", "time_range", "segment", "times", "period", "time_interval",
    "moment", "time_span", "range", "timerange", "时间", "时间段",
)  # fmt: skip


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
        match = _TIME.fullmatch(worded(value[:100]).strip().strip("<>").strip()) if isinstance(value, str) else None
        if match is None:
            return None
        time_s = 0.0
        for part in match[1].replace(",", ".").split(":"):
            time_s = time_s * 60 + float(part)
    return time_s if math.isfinite(time_s) and 0 <= time_s <= LONGEST_S else None


def worded(text: str) -> str:
    """With `1 min 5 s`, `1 Minute 5 Sekunden` and `1分5秒` as `1:05 s`, `the 12th second`, `second 12` and `the
    12-second mark` as 12 seconds, `12,5 s` as 12.5 s, and without marks of emphasis."""
    text = with_points(_EMPHASIS.sub("", text))
    text = _ORDINAL.sub(r"\1\2\3\4 seconds", text)
    return _WORDY.sub(_as_clock, _MINUTES_TO.sub(r"\1:00\2\3:00 s", text))


def with_points(text: str) -> str:
    """With a decimal point for the comma of a number of seconds, and thousands together."""
    return _COMMA.sub(_without_comma, text)


def _without_comma(match: re.Match[str]) -> str:
    if match[5] is not None:
        return f".{match[5]}"
    return f"{match[1]}.{match[2]}" if match[1] is not None else f"{match[3]}{match[4]}"


def _as_clock(match: re.Match[str]) -> str:
    """The unit stays behind it: so it may still say how long something takes."""
    minutes = f"{match[1]}:{match[2].zfill(2)}" if match[1] is not None else match[2]
    return f"{minutes}:{match[3].zfill(2) if match[3] else '00'} s"


def span(first: Any, second: Any) -> tuple[float, float] | None:
    """(start_s, end_s) as the model wrote them; the check reports one that ends before it begins."""
    start, end = seconds(first), seconds(second)
    return None if start is None or end is None else (start, end)


def span_in(text: str) -> tuple[float, float] | None:
    """The first span of a text: two times with a dash or `to` between them."""
    for match in _SPAN.finditer(worded(text)):
        if (pair := span(match[1], match[2])) is not None:
            return pair
    return None


def spans_in(text: str) -> list[tuple[float, float]]:
    """All spans and single times of a text that are marked as times; a single time is a span without length."""
    text = worded(unicodedata.normalize("NFKC", text))
    spans: list[tuple[int, float, float]] = []
    taken = 0
    spanned: list[tuple[int, int]] = []
    for match in _SPAN.finditer(text):
        marked = _is_span(text, match)
        pair = span(match[1], match[2]) if marked else None
        if pair is not None:
            spans.append((match.start(), *pair))
        if pair is not None or marked is None:
            spanned.append(match.span())
    for match in _MARKED.finditer(text):
        while taken < len(spanned) and spanned[taken][1] <= match.start():
            taken += 1
        if taken < len(spanned) and spanned[taken][0] <= match.start():
            continue
        time = seconds(next(group for group in match.groups() if group)) if _is_time(text, match) else None
        if time is not None:
            spans.append((match.start(), time, time))
    return [(start_s, end_s) for _, start_s, end_s in sorted(spans)]


def cited_spans(text: str) -> list[tuple[float, float]]:
    """Those in square brackets, as the prompt asks for them, where there are any: other times may be what an answer is
    about. Else all of the text."""
    cited = spans_in("\n".join(_BRACKETED.findall(text)))
    return cited or spans_in(text)


def start_and_end_in(text: str) -> tuple[float, float] | None:
    """The times behind words like `start_time:` and `ends at`."""
    text = worded(text)
    start, end = _START.search(text), _END.search(text)
    return span(start[1], end[1]) if start and end else None


def _is_span(text: str, match: re.Match[str]) -> bool | None:
    """Whether two numbers with a dash between them are times; None where they say how long something takes. `and` parts
    them only behind `between`."""
    before, behind = text[max(0, match.start() - 30) : match.start()], text[match.end() : match.end() + 20]
    if re.search(r"\b(?:and|und)\b", match[0]) and not re.search(
        r"(?:between|zwischen)\s+(?:\w+\s+)?$", before, re.IGNORECASE
    ):
        return False
    if _DECADE.search(match[0]) or (_SHORT_DECADE.search(match[0]) and _OF_DECADES.search(before)):
        return False
    clock, unit = ":" in match[0], _HAS_UNIT.search(match[0]) is not None
    if not (clock or unit):
        return False
    if clock and not unit:
        return _WALL_CLOCK.match(behind) is None
    return None if _UNMARKED_BEFORE.search(before) or _UNMARKED_BEHIND.search(behind) else True


def _is_time(text: str, match: re.Match[str]) -> bool:
    if match[1]:
        return True
    if match[3]:
        return _WALL_CLOCK.match(text, match.end()) is None
    before, behind = text[max(0, match.start() - 30) : match.start()], text[match.end() : match.end() + 20]
    if _MARK_BEHIND.match(behind):
        return True
    if _UNMARKED_BEFORE.search(before) or _UNMARKED_BEHIND.search(behind):
        return False
    if re.fullmatch(r".*\ds", match[0]):  # 15s, glued
        is_decade = _DECADE.search(match[0]) or (_SHORT_DECADE.search(match[0]) and _OF_DECADES.search(before))
        return _LEADS_TO_A_TIME.search(before) is not None and not is_decade
    return True


def span_of(element: dict[str, Any]) -> tuple[float, float] | None:
    """The span that an object names, whichever of the usual keys it uses; one time is a span without length."""
    element = by_plain_key(element)
    single: float | None = None
    for key in SPAN_KEYS:
        value = element.get(key)
        if isinstance(value, str) and (pair := span_in(value)) is not None:
            return pair
        if isinstance(value, dict) and (pair := _ends(by_plain_key(value))) is not None:
            return pair
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        if isinstance(value, list) and len(value) == 2 and (pair := span(value[0], value[1])) is not None:
            return pair
        single = seconds(value) if single is None else single
    pair = _ends(element)
    return pair if pair is not None or single is None else (single, single)


def by_plain_key(element: dict[str, Any]) -> dict[str, Any]:
    """With its keys in lower case, their words joined with _: `Start Time` is start_time. Of two alike the first."""
    return {re.sub(r"[\s-]+", "_", key.strip().lower()): item for key, item in reversed(element.items())}


def _ends(element: dict[str, Any]) -> tuple[float, float] | None:
    first = next((element[key] for key in START_KEYS if key in element), None)
    second = next((element[key] for key in END_KEYS if key in element), None)
    if second is None and (start := seconds(first)) is not None:
        length = next((seconds(element[key]) for key in _LENGTH_KEYS if key in element), None)
        return None if length is None else span(start, start + length)
    return span(first, second)
