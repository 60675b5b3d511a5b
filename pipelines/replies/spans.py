"""Lists of timed descriptions: objects with times in them, {"start - end": "text"}, or lines of `start - end: text`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pipelines.replies.elements import read_elements
from pipelines.replies.times import END_KEYS, SPAN, SPAN_KEYS, START_KEYS, span, span_of

_TEXT_KEYS = ("description", "event", "text", "caption", "sentence", "activity", "label", "action", "content")
_PAIR = re.compile(
    r"""(?:^|(?<=[{,\[\n"'”}]))[^\S\n]*(?:[-*•]\s+|\d+[.)]\s+)?["'“\[(]?"""  # a new line or pair, perhaps numbered
    rf"""{SPAN}["'”\])]?\s*[:,：]\s*""",
    re.MULTILINE,
)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?=\s*(?:[,}"\]]|```|$)|\s*\n)', re.DOTALL)


@dataclass(frozen=True)
class TimedText:
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class TimedTexts:
    """dropped, cut, has_list: as in Elements."""

    values: tuple[TimedText, ...]
    dropped: int
    cut: bool
    has_list: bool


def read_timed_texts(reply: str) -> TimedTexts:
    """In the order of the reply. Raises nothing."""
    pairs = list(_PAIR.finditer(reply))
    objects = read_elements(reply, (*START_KEYS, *END_KEYS, *SPAN_KEYS))
    if len(objects.values) >= max(1, len(pairs)):
        values = []
        for element in objects.values:
            text = next((element[key] for key in _TEXT_KEYS if isinstance(element.get(key), str)), "")
            text, times = " ".join(text.split()), span_of(element)
            if text and times is not None:
                values.append(TimedText(*times, text))
        dropped = objects.dropped + len(objects.values) - len(values)
        return TimedTexts(tuple(values), dropped, objects.cut, has_list=True)
    if not pairs:
        return TimedTexts((), objects.dropped, objects.cut, objects.has_list or reply.strip() in ("{}", "[]"))
    return _pairs(reply, pairs)


def _pairs(reply: str, pairs: list[re.Match[str]]) -> TimedTexts:
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
    return TimedTexts(tuple(values), dropped, cut, has_list=True)


def _unescaped(content: str) -> str:
    try:
        return str(json.loads(f'"{content}"', strict=False))
    except ValueError:
        return content
