"""The next action on a screen, towards what the column `instruction` asks for."""

from __future__ import annotations

from typing import Any

from operators.checks.on_screen import boxes_of, point_faults
from pipelines.loops.screens import NOTHING_DONE, PROMPT, action_request, device_of, history_text
from pipelines.replies.gui_actions import ACTION, AIMED, read_action
from schemas.output import Output, record
from schemas.request import Picture, Request, Sampling
from schemas.task import CheckResult, ParsedReply, Step, Task, Unit, View


def parse(text: str, view: View) -> ParsedReply:
    return read_action(text, device_of(view), view.width_px, view.height_px)


def verify(value: Any, view: View) -> CheckResult:
    """On the screen, and on one of the elements that the column `elements` gives."""
    elements = boxes_of(view.parameters.get("elements")) if value["action"] in AIMED else []
    points = (value["point_px"], value["end_point_px"])
    return CheckResult(point_faults(points, view.width_px, view.height_px, elements))


def ask_for_action(task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | None:
    if history:
        return None
    assert isinstance(unit.content, Picture)
    return action_request(task, unit.view, unit.content, history_text(unit.view.parameters.get("history")))


TASK = Task(
    name="gui_action",
    summary="the next action on a screen, towards an instruction",
    unit_kinds=("image",),
    prompt=PROMPT,
    # device: computer or mobile. history: what was done so far, a text or a list. elements: result.elements of
    # gui_elements, for the check
    defaults={"device": "computer", "history": NOTHING_DONE, "elements": None},
    output=Output(record(**ACTION)),
    sampling=Sampling(max_tokens=2048),
    next=ask_for_action,
    parse=parse,
    verify=verify,
)
