"""The one moment that a reply gives: a span, one time, or the word that there is none."""

from __future__ import annotations

import re
from typing import Any

from operators.checks.refusals import cannot_say
from pipelines.replies.elements import json_values
from pipelines.replies.nothing import says_nothing
from pipelines.replies.thinking import final_answer, split_thinking
from pipelines.replies.times import TIME, seconds, span, span_in, span_of, spans_in, start_and_end_in, worded
from schemas.errors import InvalidOutput

_DEEPEST = 6
_SENTENCES = re.compile(r"(?<=[.!?。!?])\s+|(?<=。)|\n+")
_YET = re.compile(
    r"\b(?:until|till|before|after|except|besides|other\s+than|only|but|erst|nur|aber)\b|直到|之后|以外|才",
    re.IGNORECASE,
)
_TWICE = re.compile(r"\b(?:again|also|twice|once more|as well)\b|再次|又", re.IGNORECASE)
"""Of two times: that it happens at each, not from one to the other."""
_PLACE = re.compile(r"box|point|coord|position|size", re.IGNORECASE)
_NONE_AT_ALL = re.compile(r"\W*(?:-1(?:\.0)?\W+-1(?:\.0)?|none|null|n/?a|nan)\W*", re.IGNORECASE)
_BARE = re.compile(
    r"[^\w$€£¥%]*\d[\d:.]*\s*(?:(?:,|-|–|to|and|;|\s)\s*\d[\d:.]*\s*)?(?:s|seconds?|secs?|sekunden?|秒)?[^\w$€£¥%]*",
    re.IGNORECASE,
)
_NO_YEAR = r"(?!(?:19|20)\d\d(?![\d.:]))"
_YEAR = re.compile(r"(?<![\d.:])(?:19|20)\d\d(?![\d.:])")
_FROM_TO = re.compile(
    rf"\b(?:from|between|von|zwischen)\s+{_NO_YEAR}({TIME})\s*(?:to|and|until|bis|und|-|–)\s*({TIME})(?!\w|%|\s+\w)",
    re.IGNORECASE,
)
_AT = re.compile(
    rf"\b(?:at|timestamp|time|around|about|bei|zeitpunkt)(?:\s+is)?\s*[:=]?\s*{_NO_YEAR}({TIME})(?!\w|%|\s+\w)",
    re.IGNORECASE,
)
"""Numbers without a unit, where nothing stands behind them: seconds were asked for. A year is none."""
_ONLY_TIMES = re.compile(
    r"[^\w$€£¥%]*+(?:(?:between|and|from|to|until|the|at|is|of|in|about|around|approximately|seconds?|secs?|s|time|"
    r"timestamps?|range|interval|segment|span|moment|start|end|answer|von|bis|zwischen|und|sekunden?|时间|从|到|至|在|"
    r"\d[\d.:]*+)(?![A-Za-z])[^\w$€£¥%]*+)*",
    re.IGNORECASE,
)
"""What may stand around two numbers with a dash between them."""
_NUMBER = re.compile(r"\d[\d:]*(?:\.\d+)?")


def read_moment(reply: str) -> tuple[float, float] | None:
    """(start_s, end_s); a single time is a span without length. None where the reply says that it does not occur.

    Raises InvalidOutput.
    """
    _, answer = split_thinking(reply)
    if _NONE_AT_ALL.fullmatch(answer):
        return None
    values = json_values(answer).values
    for value in values:
        if (moment := _in_json(value, 0)) is not None:
            return moment
    if any(_is_none(value) for value in values):
        return None
    final = final_answer(answer)
    for text in (final, _without_denials(answer)):
        if text and (moment := _in_text(text)) is not None:
            return moment
    if cannot_say(answer):
        raise InvalidOutput("the model declines to name a time", ("refused",))
    if says_nothing(answer):
        return None
    raise InvalidOutput("the reply names no time")


def _in_text(text: str) -> tuple[float, float] | None:
    text = worded(text)
    spans = spans_in(text)
    if (whole := next((pair for pair in spans if pair[0] < pair[1]), None)) is not None:
        return whole
    if (labelled := start_and_end_in(text)) is not None:
        return labelled
    if spans:
        both = len(spans) == 2 and spans[0][0] <= spans[1][1] and not _TWICE.search(text)
        return (spans[0][0], spans[1][1]) if both else spans[0]
    if _BARE.fullmatch(text):
        times = _NUMBER.findall(text)
        return span(times[0], times[-1])
    if (pair := _FROM_TO.search(text)) is not None:
        return span(pair[1], pair[2])
    if (single := _AT.search(text)) is not None:
        return span(single[1], single[1])
    return span_in(text) if _ONLY_TIMES.fullmatch(text) and not _YEAR.search(text) else None


def _without_denials(answer: str) -> str:
    """Without the sentences that say that it does not occur: "not in the 60 seconds", "never between 0:00 and 1:00"."""
    sentences = [sentence for sentence in _SENTENCES.split(answer) if sentence.strip()]
    return "\n".join(one for one in sentences if _YET.search(one) or not says_nothing(one))


def _in_json(value: Any, depth: int) -> tuple[float, float] | None:
    if depth > _DEEPEST:
        return None
    if isinstance(value, str):
        return span_in(value) if depth else None
    if isinstance(value, dict):
        if (moment := span_of(value)) is not None:
            return moment
        times = [
            time
            for time in (seconds(item) for key, item in value.items() if "time" in str(key).lower())
            if time is not None
        ]
        if len(times) == 1:
            return times[0], times[0]
        inner = [_in_json(item, depth + 1) for key, item in value.items() if not _PLACE.search(str(key))]
        return next((moment for moment in inner if moment is not None), None)
    if isinstance(value, list):
        if len(value) == 2 and (moment := span(value[0], value[1])) is not None:
            return moment
        inner = [_in_json(item, depth + 1) for item in value[:1000] if isinstance(item, (dict, list, str))]
        return next((moment for moment in inner if moment is not None), None)
    return None


def _is_none(value: Any) -> bool:
    """Whether JSON says that there is no moment: [], {}, {"start": null, "end": null}, [-1, -1]."""
    if isinstance(value, dict):
        return all(_is_none(item) for item in value.values())
    if isinstance(value, list):
        return all(item == -1 or _is_none(item) for item in value)
    return value in (None, False, "", "none", "None", "null", "N/A", -1) or (
        isinstance(value, str) and says_nothing(value)
    )
