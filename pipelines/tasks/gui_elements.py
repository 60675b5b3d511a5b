"""What is on a screen: every control and text with its role and its box."""

from __future__ import annotations

import re
from typing import Any

from pipelines.replies.boxes import bbox_px
from pipelines.replies.grounded import BBOX_PX, BOX_ALIASES, clean
from pipelines.replies.things import Kind, read_things, settle
from pipelines.replies.thinking import split_thinking
from pipelines.replies.written import ROLE
from schemas.output import TEXT_OR_NULL, Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View

_ROLE_KEYS = ("role", "type", "element_type", "category", "control_type", "class")
_TEXT_KEYS = ("text", "text_content", "name", "content", "description")
_EITHER_KEYS = ("label", "element")
"""Of the role where nothing else is and the element has a text, or where they name one; else of the text."""
_NAME_BESIDE = "named"
"""For what stands beside or above a box: it may name the role and the text, `Button "Save": [10, 20, 30, 40]`."""
_KIND = Kind(
    places={"bbox_2d": BOX_ALIASES},
    sizes={4: "bbox_2d"},
    words=(_NAME_BESIDE, *_TEXT_KEYS, "element", *_ROLE_KEYS, "label"),
)
_ROLES = re.compile(ROLE, re.IGNORECASE)
_QUOTED = re.compile(r"""([^"“”'「」]*?)[\s:：]*["“'「]([^"“”「」]+)["”'」]\s*([^"“”'「」]*)""")
_SURE_ROLE_LAST = re.compile(
    r"(.+?)\s+\(?((?:radio |toggle )?button|link|icon|checkbox|(?:text|input|search) (?:field|box)|dropdown)\)?",
    re.IGNORECASE,
)
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
        role, words = _role_and_text(element)
        elements.append(
            {
                "role": re.sub(r"[\s-]+", "_", role.lower()),
                "text": words or None,
                "bbox_px": box,
                "clickable": _YES_NO.get(str(_first(element, _CLICKABLE)).lower()),
            }
        )
    settle(answer, listed, len(elements), dropped, "elements")
    return ParsedReply({"elements": elements}, dropped, listed.cut)


def _first(element: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((element[key] for key in keys if key in element), None)


def _role_and_text(element: dict[str, Any]) -> tuple[str, str]:
    role, words = clean(_first(element, _ROLE_KEYS)), clean(_first(element, _TEXT_KEYS))
    if not words and (name := clean(element.get(_NAME_BESIDE))):
        named, words = _parted(name)
        role = role or named
    for either in filter(None, (clean(element.get(key)) for key in _EITHER_KEYS)):
        if not role and (words or _ROLES.fullmatch(either)):
            role = either
        elif not words:
            words = either
    return role, words


def _parted(name: str) -> tuple[str, str]:
    """(role, text) of a name: `Button "Save"`, `"Save" button`, `Save button`."""
    if (quoted := _QUOTED.fullmatch(name)) is not None:
        outside = " ".join(f"{quoted[1]} {quoted[3]}".split()).strip("():：- ")
        if not outside or _ROLES.fullmatch(outside):
            return outside, quoted[2]
    last = _SURE_ROLE_LAST.fullmatch(name)
    return (last[2], last[1]) if last else ("", name.strip('"“”'))


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
