"""Read the text of a page or picture line by line, each with its box; by word with another prompt."""

from __future__ import annotations

from typing import Any

from operators.checks.page_check import text_faults
from pipelines.replies.boxes import bbox_px, scale_of
from pipelines.replies.grounded import BBOX_PX, BOX_ALIASES, clean
from pipelines.replies.things import Kind, read_things, settle
from pipelines.replies.thinking import split_thinking
from schemas.output import Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View

_TEXT_KEYS = (
    "text_content",
    "text",
    "content",
    "line",
    "word",
    "transcription",
    "label",
    "line_text",
    "value",
    "rec_text",
)
_KIND = Kind(
    places={"bbox_2d": (*BOX_ALIASES, "points", "quadrilateral", "line_bbox")}, sizes={4: "bbox_2d"}, words=_TEXT_KEYS
)
_COUNTS_TO = 999
"""The scale of the model's text spotting; its documents and grounding count to 1000."""


def parse(text: str, view: View) -> ParsedReply:
    """A list of {"bbox_2d": [x0, y0, x1, y1], "text_content": "…"}; an empty list is a valid answer."""
    _, answer = split_thinking(text)
    things = read_things(answer, _KIND)
    boxes = [element.get("bbox_2d") for element in things.values]
    scale = scale_of(boxes, _COUNTS_TO)
    lines: list[dict[str, Any]] = []
    dropped = things.dropped
    for element, box in zip(things.values, boxes, strict=True):
        content = next((element[key] for key in _TEXT_KEYS if key in element), None)
        place = bbox_px(box, view.width_px, view.height_px, scale=scale)
        read = clean(content)
        if read and place is not None:
            lines.append({"text": read, "bbox_px": place})
        else:
            dropped += 1
    settle(answer, things, len(lines), dropped, "texts and boxes")
    return ParsedReply({"text": "\n".join(line["text"] for line in lines), "lines": lines}, dropped, things.cut)


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
