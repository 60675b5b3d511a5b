"""Read all text of a page or picture, as plain text."""

from __future__ import annotations

import unicodedata
from typing import Any

from schemas.ask import Sampling
from schemas.output import Output
from schemas.task import Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """The reply is the text; composed (NFC), without trailing blanks. No text at all is a valid answer."""
    lines = unicodedata.normalize("NFC", text).strip().splitlines()
    return {"text": "\n".join(line.rstrip() for line in lines)}


TASK = Task(
    name="ocr",
    summary="all text of a page or picture, as plain text",
    unit_kinds=("page", "image"),
    prompt="Read all the text in the image.",
    output=Output(
        {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        }
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
)
