"""The task of `sightread bench pipeline`: one request for every page, picture and clip, any reply is right."""

from __future__ import annotations

from typing import Any

from schemas.output import Output
from schemas.request import Sampling
from schemas.task import Task, View

MOST_TOKENS = 128


def _parse(reply: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    return {"text": reply}


TASK = Task(
    name="bench",
    summary="whatever the engine says of it",
    unit_kinds=("page", "image", "clip"),
    prompt="Say what is to be seen.",
    output=Output({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}),
    parse=_parse,
    sampling=Sampling(temperature=1.0, seed=1, max_tokens=MOST_TOKENS),
)
