"""Describe a picture or a clip in all its detail."""

from __future__ import annotations

import unicodedata
from typing import Any

from schemas.errors import InvalidOutput
from schemas.output import Output, record
from schemas.request import Sampling
from schemas.task import Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """The reply is the caption; its paragraphs stay. An empty caption is no answer."""
    lines = (" ".join(line.split()) for line in unicodedata.normalize("NFC", text).strip().splitlines())
    caption = "\n".join(lines).strip()
    if not caption:
        raise InvalidOutput("the reply is empty")
    return {"text": caption}


TASK = Task(
    name="caption_dense",
    summary="a description of a picture or a clip in all its detail",
    unit_kinds=("image", "clip"),
    prompt=(
        "Describe this image in detail: the setting, every person and object with its look and place, what they do, "
        "and all text that can be read."
    ),
    prompts={
        "clip": (
            "Describe this video in detail, in the order in which things happen: the setting, every person and "
            "object with its look, what they do, how the camera moves, and all text that can be read."
        )
    },
    output=Output(record(text={"type": "string", "minLength": 1})),
    sampling=Sampling(max_tokens=2048),
    parse=parse,
)
