"""Lists of timed descriptions: objects or lists with times in them, {"start - end": "text"}, tables, or lines of prose
that begin or end with a span."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from pipelines.replies.things import Kind, Things, read_things
from pipelines.replies.times import (
    END_KEYS,
    SPAN,
    SPAN_KEYS,
    START_KEYS,
    TIME,
    by_plain_key,
    seconds,
    span,
    span_in,
    span_of,
    with_points,
)

_TEXT_KEYS = (
    "description", "event", "text", "caption", "sentence", "activity", "label", "action", "content", "events",
    "summary", "event_description", "details", "scene", "what", "name", "title", "描述", "事件", "内容",
)  # fmt: skip
_LISTED_TEXT_KEYS = tuple(dict.fromkeys(key for one in _TEXT_KEYS for key in (f"{one}s", one, f"{one[:-1]}ies")))
_ENDS = ((*(f"{key}s" for key in START_KEYS), *START_KEYS), (*(f"{key}s" for key in END_KEYS), *END_KEYS))
_PAIR = re.compile(
    r"""(?:^|(?<=[{,\[\n"'”}]))[^\S\n]*(?:[-*•]\s+|\d+[.)]\s+)?["'“\[(]?"""  # a new line or pair, perhaps numbered
    rf"""{SPAN}["'”\])]?\s*[:,：]\s*""",
    re.MULTILINE,
)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?=\s*(?:[,}"\]]|```|$)|\s*\n)', re.DOTALL)
_OPENING = r"^[^\S\n]*+(?:[-*•#]++[^\S\n]++|\d{1,3}[.)][^\S\n]++)?"
_LINE = re.compile(
    rf"{_OPENING}[*_\[(<\"“`]{{0,4}}[^\S\n]*+(?:from|between|at|von|zwischen|bei|从)?[^\S\n]*+第?(?:{SPAN}|({TIME})(?=[\s*_\])>`\"”:：–—-]))"
    r"([*_\])>`\"”]{0,4})(\s*+[:：,，|]|\s++[-–—]++\s|\s++|)\s*+[*_]{0,2}[:：]?\s*+([^\n]{1,5000})",
    re.MULTILINE | re.IGNORECASE,
)
_NAMED_LINE = re.compile(
    rf"{_OPENING}[*_]{{0,3}}([^\W\d][^\n:：(\[\]]{{0,79}}?)[*_]{{0,3}}(?:\s?[:：]|\s?[(\[]|\s[-–—])[*_]{{0,3}}\s?{SPAN}[*_)\]]{{0,4}}"
    r"(?:[^\S\n]?[:：–—-]?[*_]{0,3}[^\S\n]+(?=\S)|[：，]|[^\S\n]?[:：]?[*_]{0,3}[^\S\n]?\n[^\S\n]*(?:[-*•][^\S\n]+)?)([^\n]{1,5000})",
    re.MULTILINE | re.IGNORECASE,
)
_COUNTED = re.compile(
    r"(?:event|scene|activity|clip|segment|part|step|shot|moment|action|事件|场景|片段)?\W*\d{0,3}\W*", re.IGNORECASE
)
"""A name of an event that says nothing of it."""
_WITH_COMMA = re.compile(rf"[\[(]({TIME}\s?s?)\s?,\s?({TIME}\s?s?)[\])]")
_NEXT_IN_LINE = re.compile(
    rf"(?<=[.;。])\s+(?=(?:from|between|von)\s+{SPAN}\s*,|{SPAN}(?<=[a-z秒>])\s*[,:])", re.IGNORECASE
)
_AT_THE_END = re.compile(
    rf"{_OPENING}([^\n:]{{3,500}}?)[\s:：,，*_-]{{0,4}}[(\[]\s*(?:from\s+)?{SPAN}\s*[)\]][*_.]{{0,3}}[^\S\n]*$",
    re.MULTILINE | re.IGNORECASE,
)


@dataclass(frozen=True)
class TimedText:
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class TimedTexts:
    """In the order of the reply. dropped, cut: as in Things, which is what it was read from."""

    values: tuple[TimedText, ...]
    dropped: int
    cut: bool
    things: Things


def _timed_list(value: list[Any]) -> dict[str, Any] | None:
    """[start, end, text], [[start, end], text], ["start - end", text]."""
    if len(value) == 1 or len(value) > 3 or not all(isinstance(item, (str, int, float, list)) for item in value):
        return None
    for place, item in enumerate(value):
        if isinstance(item, list) or (isinstance(item, str) and len(value) == 2):
            pair = span_of({"span": item})
            texts = [text for other, text in enumerate(value) if other != place and isinstance(text, str)]
            if pair is not None and len(texts) == len(value) - 1 == 1 and seconds(texts[0]) is None:
                return {"span": list(pair), "text": texts[0]}
    if len(value) == 3:
        for first, second, text in ((0, 1, 2), (1, 2, 0)):
            pair = span(value[first], value[second])
            if pair is not None and isinstance(value[text], str) and seconds(value[text]) is None:
                return {"span": list(pair), "text": value[text]}
    return None


_KIND = Kind(
    places={}, sizes={}, words=_TEXT_KEYS, bare=_timed_list, keys=(*START_KEYS, *END_KEYS, *SPAN_KEYS, *chain(*_ENDS))
)


def read_timed_texts(reply: str) -> TimedTexts:
    """Raises nothing."""
    reply = reply if "{" in reply else with_points(reply)
    pairs = list(_PAIR.finditer(reply))
    things = read_things(reply, _KIND)
    elements = [one for element in things.values for one in _side_by_side(element)]
    if len(elements) >= max(1, len(pairs)):
        values = []
        for element in elements:
            text, times = " ".join(_text_of(element).split()), span_of(element)
            if text and times is not None:
                values.append(TimedText(*times, text))
        return TimedTexts(tuple(values), things.dropped + len(elements) - len(values), things.cut, things)
    if not things.unread and not (pairs and _is_json(reply, pairs[0])):
        values = _lines(reply)
        if len(values) >= len(pairs):
            return TimedTexts(tuple(values), things.dropped, things.cut and not values, things)
    if not pairs:
        return TimedTexts((), things.dropped, things.cut, things)
    return _pairs(reply, pairs, things)


def _side_by_side(element: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of lists side by side, as ActivityNet has them: {"timestamps": [[0, 5], …], "sentences": ["…", …]};
    or of starts, ends and texts. Of the longer list what is beyond the other lacks its half."""
    plain = by_plain_key(element)
    texts = next((_texts_in(plain[key]) for key in _LISTED_TEXT_KEYS if key in plain and _texts_in(plain[key])), None)
    if texts is None:
        return [element]
    starts, ends, spans = (
        next((plain[key] for key in keys if isinstance(plain.get(key), list)), None) for keys in (*_ENDS, SPAN_KEYS)
    )
    if starts and ends and len(starts) == len(ends):
        spans = [list(pair) for pair in zip(starts, ends, strict=True)]
    if not spans or not all(span_of({"span": item}) is not None for item in spans):
        return [element]
    if len(texts) == 1 and span_of({"span": spans}) is not None:
        return [{"span": spans, "text": texts[0]}]
    return [{"span": one, "text": text} for one, text in zip_longest(spans, texts, fillvalue="")]


def _texts_in(item: Any) -> list[str] | None:
    return item if isinstance(item, list) and item and all(isinstance(text, str) for text in item) else None


def _text_of(element: dict[str, Any]) -> str:
    """What stands under one of the usual keys, else the longest text that is no time."""
    usual = [element[key] for key in _TEXT_KEYS if isinstance(element.get(key), str)]
    others = [
        text for text in element.values() if isinstance(text, str) and span_in(text) is None and seconds(text) is None
    ]
    return usual[0] if usual else max(others, key=len, default="")


def _is_json(reply: str, pair: re.Match[str]) -> bool:
    return "{" in reply[: pair.start() + 1] or reply[pair.end() : pair.end() + 1] == '"'


def _lines(reply: str) -> list[TimedText]:
    """Lines that begin with a span or a clock; else those with a name and a span, which may have their text below them,
    or those that end with one in brackets."""
    values: list[TimedText] = []
    reply = _NEXT_IN_LINE.sub("\n", _WITH_COMMA.sub(r"[\1 - \2]", reply))
    for match in _LINE.finditer(reply):
        start, end, single, closing, separator, text = match.groups()
        text = " ".join(text.strip(' *_"”').split())
        if single is not None and ":" not in single:
            continue
        clear = closing or separator.strip() or ":" in match[0]
        times = span(single, single) if single is not None else span(start, end)
        if clear and times is not None and any(map(str.isalpha, text)):
            values.append(TimedText(*times, text))
    if values:
        return values
    for match in _NAMED_LINE.finditer(reply):
        name, start, end, text = match.groups()
        text, times = " ".join(text.strip(' *_"“”').split()), span(start, end)
        if times is not None and any(map(str.isalpha, text)):
            values.append(TimedText(*times, text if _COUNTED.fullmatch(name) else f"{name.strip(' *_')}: {text}"))
    behind: list[TimedText] = []
    for match in _AT_THE_END.finditer(reply):
        text, times = " ".join(match[1].strip(' *_"“”').split()), span(match[2], match[3])
        if times is not None and any(map(str.isalpha, text)):
            behind.append(TimedText(*times, text))
    return behind if len(behind) > len(values) else values  # else a line's text is the next line


def _pairs(reply: str, pairs: list[re.Match[str]], things: Things) -> TimedTexts:
    values: list[TimedText] = []
    dropped, cut = 0, False
    in_braces = "{" in reply[: pairs[0].start() + 1]
    for number, pair in enumerate(pairs):
        last = number + 1 == len(pairs)
        region = reply[pair.end() : len(reply) if last else pairs[number + 1].start()]
        closed = _STRING.match(region)
        if closed is not None:
            text, rest = _unescaped(closed[1]), region[closed.end() :]
            dropped += len(re.findall(r'"\s*:\s*"', rest))
            cut = last and in_braces and not re.search(r"[}\]]|```", rest)
        elif last and region.startswith('"') and region.count('"') == 1:
            dropped, cut = dropped + 1, True  # the reply ends within this text
            continue
        else:
            cut = last and in_braces and "}" not in region
            text = re.split(r"```", region)[0].strip().strip('"“”,{}[] \n')
            text = text if region.startswith('"') or in_braces else text.split("\n")[0]
        times = span(pair[1], pair[2])
        text = " ".join(text.split())
        if text and times is not None:
            values.append(TimedText(*times, text))
        else:
            dropped += 1
    return TimedTexts(tuple(values), dropped, cut, things)


def _unescaped(content: str) -> str:
    try:
        return str(json.loads(f'"{content}"', strict=False))
    except ValueError:
        return content
