"""A question about a whole video, frames over all its length in one prompt; the column `question` says which."""

from __future__ import annotations

import unicodedata
from typing import Any

from operators.checks.spans import span_faults
from pipelines.replies.thinking import final_answer, split_thinking
from pipelines.replies.times import LONGEST_S, cited_spans
from schemas.errors import InvalidOutput
from schemas.output import TEXT_OR_NULL, Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """Cited times are seconds from the start of the file; a single time is a span without length."""
    reasoning, answer = split_thinking(unicodedata.normalize("NFC", text))
    if not answer:
        raise InvalidOutput("the reply ends before it answers" if reasoning else "the reply is empty")
    spans = [{"start_s": start_s, "end_s": end_s} for start_s, end_s in cited_spans(answer)]
    return {"answer": answer, "short_answer": final_answer(answer), "spans": spans}


def verify(value: Any, view: View) -> CheckResult:
    spans = [(span["start_s"], span["end_s"]) for span in value["spans"]]
    return CheckResult((*(() if spans else ("not_cited",)), *span_faults(spans, view)))


_TIME = {"type": "number", "minimum": 0, "maximum": LONGEST_S}

TASK = Task(
    name="video_qa",
    summary="the answer to a question about a whole video, with the times it rests on",
    unit_kinds=("video",),
    prompt=(
        "{question}\n\nName the times that your answer rests on, as [mm:ss - mm:ss]. "
        'End with a line "Answer:" and the answer in a few words.'
    ),
    output=Output(
        record(
            answer={"type": "string", "minLength": 1},
            short_answer=TEXT_OR_NULL,  # what the reply marks as final
            spans=list_of(record(start_s=_TIME, end_s=_TIME)),
        )
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
    verify=verify,
    reasoning_in_reply=True,
)
