"""Answer a prompt without a picture: every row of an input table with a column `prompt`."""

from __future__ import annotations

import unicodedata
from typing import Any

from pipelines.replies.thinking import split_thinking
from schemas.errors import InvalidOutput
from schemas.output import TEXT_OR_NULL, Output, record
from schemas.request import Sampling
from schemas.task import Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """The reply as it is, without the reasoning of a Thinking checkpoint."""
    reasoning, answer = split_thinking(unicodedata.normalize("NFC", text))
    if not answer:
        raise InvalidOutput("the reply ends before it answers" if reasoning else "the reply is empty")
    return {"text": answer, "thinking": reasoning}


TASK = Task(
    name="text",
    summary="the answer to a prompt without a picture",
    unit_kinds=("text",),
    prompt="{prompt}",
    output=Output(
        record(
            text={"type": "string", "minLength": 1},
            thinking=TEXT_OR_NULL,  # of Thinking checkpoints
        )
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
    reasoning_in_reply=True,
)
