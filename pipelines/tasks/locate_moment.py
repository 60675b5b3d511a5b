"""When in a clip something is to be seen: the column `query` says what."""

from __future__ import annotations

import re
from typing import Any

from operators.checks.spans import span_faults
from pipelines.replies.elements import read_value
from pipelines.replies.times import LONGEST_S, span, span_in, span_of, times_in
from schemas.errors import InvalidOutput
from schemas.output import Output, record
from schemas.request import Sampling
from schemas.task import CheckResult, Task, View

_NEVER = re.compile(r"\b(?:no|not|never|none|nowhere|cannot|can't|doesn't|isn't|null)\b", re.IGNORECASE)


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """One span, in seconds from the start of the file; both null when the reply says that it does not occur."""
    value = read_value(text, "{")
    moment = span_of(value) if isinstance(value, dict) else None
    moment = moment or span_in(text)
    if moment is None and (times := times_in(text)):
        moment = span(times[0], times[1] if len(times) == 2 else times[0])
    if moment is None:
        if _NEVER.search(text) and not any(char.isdigit() for char in text):
            return {"start_s": None, "end_s": None}
        raise InvalidOutput("the reply names no time")
    return {"start_s": moment[0], "end_s": moment[1]}


def verify(value: Any, view: View) -> CheckResult:
    spans = [(value["start_s"], value["end_s"])] if value["start_s"] is not None else []
    return CheckResult(span_faults(spans, view))


_TIME = {"type": ["number", "null"], "minimum": 0, "maximum": LONGEST_S}

TASK = Task(
    name="locate_moment",
    summary="when in a clip something is to be seen",
    unit_kinds=("clip",),
    prompt=(
        "Give you a textual query: '{query}'. When does the described content occur in the video? "
        "Please return the timestamp in seconds."
    ),
    output=Output(record(start_s=_TIME, end_s=_TIME)),
    sampling=Sampling(max_tokens=256),
    parse=parse,
    verify=verify,
)
