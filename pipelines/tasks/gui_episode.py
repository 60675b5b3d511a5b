"""A recorded episode replayed: the action on each of its screens in turn, towards what the column `instruction` asks.

An episode is a folder of screens that an input table names. Every screen is one question, with what the model did on
the screens before it as the history; a row holds them all.
"""

from __future__ import annotations

import json
import re
from typing import Any

from operators.checks.on_screen import boxes_of, point_faults
from operators.media.episode import HEADING
from pipelines.loops.screens import PROMPT, action_request, device_of, history_text
from pipelines.replies.gui_actions import ACTION, AIMED, read_action
from schemas.errors import InvalidOutput
from schemas.output import TEXT_OR_NULL, Output, list_of, nullable, record
from schemas.request import Picture, Request, Sampling
from schemas.task import CheckResult, ParsedReply, Reply, Step, Task, Unit, View

_LONGEST_TOLD = 300
_HEADING_IN_A_REPLY = re.compile(r"^(?=\[screen \d)", re.MULTILINE)


def ask_screen_by_screen(task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | None:
    assert isinstance(unit.content, tuple)
    screens = [part for part in unit.content if isinstance(part, Picture)]
    if len(history) == len(screens):
        return None
    done = history_text([_in_words(step.completion.text, unit.view) for step in history])
    return action_request(task, unit.view, screens[len(history)], done)


def _in_words(reply: str, view: View) -> str:
    """One action as the history tells it: by the model's own words for it, else by its call."""
    try:
        action = read_action(reply, device_of(view), 1000, 1000).value
    except InvalidOutput:
        return "(no action)"
    called = {key: value for key, value in action.items() if value is not None and key not in ("thought", "tool")}
    words = action["description"] or json.dumps(called, ensure_ascii=False)
    return " ".join(words.split())[:_LONGEST_TOLD]


def all_replies(task: Task, unit: Unit, history: tuple[Step, ...]) -> Reply:  # noqa: ARG001
    """Each behind the heading of its screen, which no line of a reply can pass for."""
    assert isinstance(unit.content, tuple)
    headings = [part for part in unit.content if isinstance(part, str)]
    text = "\n\n".join(
        f"{heading}\n{_HEADING_IN_A_REPLY.sub(' ', step.completion.text)}"
        for heading, step in zip(headings, history, strict=False)
    )
    return Reply(text, history)


def parse(text: str, view: View) -> ParsedReply:
    """What `all_replies` wrote. A step whose action cannot be read says why; InvalidOutput where none can be read."""
    marks = list(HEADING.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    steps: list[dict[str, Any]] = []
    dropped = 0
    faults: tuple[str, ...] = ()
    for mark, end in zip(marks, ends, strict=False):
        number, width_px, height_px = map(int, mark.groups())
        step: dict[str, Any] = {"step": number, "width_px": width_px, "height_px": height_px}
        try:
            parsed = read_action(text[mark.end() : end], device_of(view), width_px, height_px)
        except InvalidOutput as error:
            steps.append({**step, "action": None, "fault": str(error)})
            dropped += 1
            faults = tuple(dict.fromkeys((*faults, *error.faults)))
        else:
            steps.append({**step, "action": parsed.value, "fault": None})
            dropped += parsed.dropped
    if all(step["action"] is None for step in steps):
        raise InvalidOutput(steps[0]["fault"] if steps else "the reply is of no screen", faults)
    return ParsedReply({"steps": steps}, dropped, faults=faults)


def verify(value: Any, view: View) -> CheckResult:
    """Each point on its screen, and on one of the screen's elements: the column `elements` has a list for each."""
    known = view.parameters.get("elements")
    faults: list[str] = []
    for index, step in enumerate(value["steps"]):
        if (action := step["action"]) is None:
            continue
        screens = known if isinstance(known, list) and action["action"] in AIMED else []
        elements = boxes_of(screens[index]) if index < len(screens) else []
        points = (action["point_px"], action["end_point_px"])
        faults += point_faults(points, step["width_px"], step["height_px"], elements)
    return CheckResult(tuple(dict.fromkeys(faults)))


TASK = Task(
    name="gui_episode",
    summary="the action on each screen of a recorded episode, towards an instruction",
    unit_kinds=("episode",),
    prompt=PROMPT,  # its {history} is what the replay has done so far
    defaults={"device": "computer", "history": None, "elements": None},
    output=Output(
        record(
            steps=list_of(
                record(
                    step={"type": "integer", "minimum": 1},  # the screen, from 1
                    width_px={"type": "integer"},
                    height_px={"type": "integer"},
                    action=nullable(record(**ACTION)),
                    fault=TEXT_OR_NULL,  # why there is no action
                )
            )
        )
    ),
    sampling=Sampling(max_tokens=2048),
    next=ask_screen_by_screen,
    reply=all_replies,
    parse=parse,
    verify=verify,
)
