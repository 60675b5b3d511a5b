"""Describe a picture or a clip in short."""

from __future__ import annotations

import unicodedata
from typing import Any

from schemas.errors import InvalidOutput
from schemas.output import Output, record
from schemas.request import Sampling
from schemas.task import Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """The reply is the caption, its white space folded. An empty caption is no answer."""
    caption = " ".join(unicodedata.normalize("NFC", text).split())
    if not caption:
        raise InvalidOutput("the reply is empty")
    return {"text": caption}


TASK = Task(
    name="caption",
    summary="a description of a picture or a clip",
    unit_kinds=("image", "clip"),
    prompt="Describe this image.",
    prompts={"clip": "Briefly describe the video."},
    output=Output(record(text={"type": "string", "minLength": 1})),
    sampling=Sampling(max_tokens=512),
    parse=parse,
)
