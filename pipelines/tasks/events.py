"""What happens in a clip, and when."""

from __future__ import annotations

import unicodedata
from typing import Any

from operators.checks.spans import span_faults
from pipelines.replies.spans import read_timed_texts
from pipelines.replies.things import settle
from pipelines.replies.times import LONGEST_S
from schemas.output import Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View


def parse(text: str, view: View) -> ParsedReply:  # noqa: ARG001
    """Spans with descriptions, in seconds from the start of the file, as the model saw the frames' times.

    A span that lies outside the clip is kept as the model wrote it: the check reports it.
    """
    timed = read_timed_texts(text)
    settle(text, timed.things, len(timed.values), timed.dropped, "events with times")
    events: list[dict[str, Any]] = [
        {"start_s": event.start_s, "end_s": event.end_s, "text": unicodedata.normalize("NFC", event.text)}
        for event in timed.values
    ]
    return ParsedReply({"events": events}, timed.dropped, timed.cut)


def verify(value: Any, view: View) -> CheckResult:
    spans = [(event["start_s"], event["end_s"]) for event in value["events"]]
    return CheckResult(span_faults(spans, view, ordered=True))


_TIME = {"type": "number", "minimum": 0, "maximum": LONGEST_S}

TASK = Task(
    name="events",
    summary="what happens in a clip, and when",
    unit_kinds=("clip",),
    prompt=(
        "Localize a series of activity events in the video, output the start and end timestamp for each event, "
        "and describe each event with sentences. Provide the result in json format with 'mm:ss.ff' format for "
        "time depiction."
    ),
    output=Output(
        record(
            events=list_of(
                record(
                    start_s=_TIME,
                    end_s=_TIME,
                    text={"type": "string", "minLength": 1},
                )
            ),
        )
    ),
    sampling=Sampling(max_tokens=2048),
    parse=parse,
    verify=verify,
)
