"""What is on a screen: every control and text with its role and its box."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from pipelines.replies.boxes import bbox_px
from pipelines.replies.grounded import BBOX_PX, BOX_ALIASES
from pipelines.replies.things import Kind, read_things, settle
from pipelines.replies.thinking import split_thinking
from schemas.output import TEXT_OR_NULL, Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View

_ROLE_KEYS = ("role", "type", "label", "element_type", "category")
_TEXT_KEYS = ("text", "text_content", "name", "content", "description", "element")
_KIND = Kind(places={"bbox_2d": BOX_ALIASES}, sizes={4: "bbox_2d"}, words=(*_TEXT_KEYS, *_ROLE_KEYS))
_CLICKABLE = ("clickable", "interactive", "interactivity")
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse(text: str, view: View) -> ParsedReply:
    """A list of {"role": "button", "text": "Save", "bbox_2d": [x0, y0, x1, y1], "clickable": true}; an empty list is a
    valid answer. An element without a box is dropped; without a role or text, it has "" and null."""
    _, answer = split_thinking(text)
    listed = read_things(answer, _KIND)
    elements: list[dict[str, Any]] = []
    dropped = listed.dropped
    for element in listed.values:
        box = bbox_px(element.get("bbox_2d"), view.width_px, view.height_px)
        if box is None:
            dropped += 1
            continue
        words = _words(_first(element, _TEXT_KEYS))
        elements.append(
            {
                "role": re.sub(r"[\s-]+", "_", _words(_first(element, _ROLE_KEYS)).lower()),
                "text": words or None,
                "bbox_px": box,
                "clickable": _YES_NO.get(str(_first(element, _CLICKABLE)).lower()),
            }
        )
    settle(answer, listed, len(elements), dropped, "elements")
    return ParsedReply({"elements": elements}, dropped, listed.cut)


def _first(element: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((element[key] for key in keys if key in element), None)


def _words(value: Any) -> str:
    return " ".join(unicodedata.normalize("NFC", value).split()) if isinstance(value, str) else ""


def verify(value: Any, view: View) -> CheckResult:
    empty = any(x0 == x1 or y0 == y1 for x0, y0, x1, y1 in (element["bbox_px"] for element in value["elements"]))
    faults = ["empty_box"] if empty else []
    if not value["elements"] and view.blank is False:
        faults.append("nothing_read")
    return CheckResult(tuple(faults))


TASK = Task(
    name="gui_elements",
    summary="the controls and texts of a screen, with roles and boxes",
    unit_kinds=("image",),
    prompt=(
        "Locate every element of the user interface in this screenshot: buttons, links, icons, text fields, "
        "checkboxes, tabs, menus, texts and pictures. Report them in JSON format, one object for each element:\n"
        '[{{"bbox_2d": [x1, y1, x2, y2], "role": "button", "text": "the words on it", "clickable": true}}]'
    ),
    output=Output(
        record(
            elements=list_of(
                record(
                    role={"type": "string"},  # "" where there is none
                    text=TEXT_OR_NULL,
                    bbox_px=BBOX_PX,
                    clickable={"type": ["boolean", "null"]},
                )
            ),
        )
    ),
    sampling=Sampling(max_tokens=8192),
    parse=parse,
    verify=verify,
)
