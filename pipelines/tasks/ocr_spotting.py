"""Read the text of a page or picture line by line, each with its box; by word with another prompt."""

from __future__ import annotations

import unicodedata
from typing import Any

from operators.checks.page_check import text_faults
from pipelines.replies.boxes import bbox_px, scale_of
from pipelines.replies.elements import read_elements
from pipelines.replies.grounded import BBOX_PX
from schemas.errors import InvalidOutput
from schemas.output import Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View

_TEXT_KEYS = ("text_content", "text", "content")
_BOX_KEYS = ("bbox_2d", "bbox")
_COUNTS_TO = 999
"""The scale of the model's text spotting; its documents and grounding count to 1000."""


def parse(text: str, view: View) -> ParsedReply:
    """A list of {"bbox_2d": [x0, y0, x1, y1], "text_content": "…"}; an empty list is a valid answer."""
    elements = read_elements(text, (*_TEXT_KEYS, *_BOX_KEYS))
    if not elements.has_list:
        raise InvalidOutput("the reply holds no list of texts and boxes")
    boxes = [next((element[key] for key in _BOX_KEYS if key in element), None) for element in elements.values]
    scale = scale_of(boxes, _COUNTS_TO)
    lines: list[dict[str, Any]] = []
    dropped = elements.dropped
    for element, box in zip(elements.values, boxes, strict=True):
        content = next((element[key] for key in _TEXT_KEYS if key in element), None)
        place = bbox_px(box, view.width_px, view.height_px, scale=scale)
        read = " ".join(unicodedata.normalize("NFC", content).split()) if isinstance(content, str) else ""
        if read and place is not None:
            lines.append({"text": read, "bbox_px": place})
        else:
            dropped += 1
    return ParsedReply({"text": "\n".join(line["text"] for line in lines), "lines": lines}, dropped, elements.cut)


def verify(value: Any, view: View) -> CheckResult:
    return text_faults(value["text"], view)


TASK = Task(
    name="ocr_spotting",
    summary="lines of text with their boxes",
    unit_kinds=("page", "image"),
    prompt="Spotting all the text in the image with line-level, and output in JSON format.",
    output=Output(
        record(
            text={"type": "string"},
            lines=list_of(
                record(
                    text={"type": "string", "minLength": 1},
                    bbox_px=BBOX_PX,
                )
            ),
        )
    ),
    sampling=Sampling(max_tokens=8192),
    parse=parse,
    verify=verify,
)
