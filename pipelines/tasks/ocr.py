"""Read all text of a page or picture, as plain text."""

from __future__ import annotations

import unicodedata
from typing import Any

from schemas.ask import Sampling
from schemas.output import Output
from schemas.task import ReadLine, Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """The reply is the text; composed (NFC), without trailing blanks. No text at all is a valid answer."""
    lines = unicodedata.normalize("NFC", text).strip().splitlines()
    return {"text": "\n".join(line.rstrip() for line in lines), "lines": None}


def parse_lines(lines: tuple[ReadLine, ...], view: View) -> dict[str, Any]:  # noqa: ARG001
    """Each line's pieces joined by a blank; lines in which nothing was read are left out."""
    texts: list[str] = []
    read: list[dict[str, Any]] = []
    for line, replies in lines:
        text = " ".join(" ".join(unicodedata.normalize("NFC", reply).split()) for reply in replies).strip()
        if text:
            texts.append(text)
            read.append({"text": text, "bbox_px": list(line.bbox_px)})
    return {"text": "\n".join(texts), "lines": read}


_LINE = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 1},
        "bbox_px": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
    },
    "required": ["text", "bbox_px"],
    "additionalProperties": False,
}

TASK = Task(
    name="ocr",
    summary="all text of a page or picture, as plain text",
    unit_kinds=("page", "image"),
    prompt="Read all the text in the image.",
    output=Output(
        {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                # only where pages are split: each line and its box, x0, y0, x1, y1 in pixels of the original
                "lines": {"type": ["array", "null"], "items": _LINE},
            },
            "required": ["text", "lines"],
            "additionalProperties": False,
        }
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
    parse_lines=parse_lines,
)
