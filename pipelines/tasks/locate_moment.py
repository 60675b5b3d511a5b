"""When in a clip something is to be seen: the column `query` says what."""

from __future__ import annotations

from typing import Any

from operators.checks.spans import span_faults
from pipelines.replies.moments import read_moment
from pipelines.replies.times import LONGEST_S
from schemas.output import Output, record
from schemas.request import Sampling
from schemas.task import CheckResult, Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """One span, in seconds from the start of the file; both null when the reply says that it does not occur."""
    moment = read_moment(text)
    return {"start_s": None, "end_s": None} if moment is None else {"start_s": moment[0], "end_s": moment[1]}


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
