"""Zooming in: the model asks for a part of the picture, gets it larger, and goes on until it answers.

The tool is Qwen's `image_zoom_in_tool` (docs/facts/qwen3-vl.md §2.8; qwen_agent/tools/image_zoom_in_qwen3vl.py): a box
on a scale of 0-1000 of the picture img_idx, where 0 is the first of the conversation and crops count on. A task that
zooms keeps its own loop: what it sees as its history are the steps that answered, and each of its own requests may
be followed by `Task.zooms` crops at most. Every step is in the row's `attempts`, its note saying what was shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from operators.media.pictures import cropped, grown
from pipelines.replies.boxes import SLACK, numbers
from pipelines.replies.tool_calls import Call, read_calls, signature, with_tool
from schemas.decode import UnitKind
from schemas.errors import InvalidOutput
from schemas.request import Message, Part, Picture, Request
from schemas.task import FinalReply, Next, Reply, Step, Task, Unit, View

TOOL = "image_zoom_in_tool"
ZOOMABLE: frozenset[UnitKind] = frozenset(("page", "image", "episode"))
LEAST_PX = 256 * 32 * 32
"""Area to which a smaller crop is enlarged, as Qwen-Agent does."""

_SIGNATURE = signature(
    TOOL,
    "Zoom in on a specific region of an image by cropping it based on a bounding box (bbox) and an optional object "
    "label",
    {
        "bbox_2d": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 4,
            "maxItems": 4,
            "description": "The bounding box of the region to zoom in, as [x1, y1, x2, y2], where (x1, y1) is the "
            "top-left corner and (x2, y2) is the bottom-right corner, relative to the image, from 0 to 1000",
        },
        "label": {"type": "string", "description": "The name or label of the object in the specified bounding box"},
        "img_idx": {"type": "number", "description": "The index of the image to zoom in (starting from 0)"},
    },
    ("bbox_2d", "label", "img_idx"),
)
_GO_ON = "Zoom in again, or answer."
_ANSWER = "You cannot zoom in again. Answer now."
_PLACES = "Coordinates in an answer refer to image 0."


@dataclass(frozen=True)
class Region:
    """A part of a picture: source is the picture that the request showed; box lies within 0..1 of it."""

    source: Picture
    box: tuple[float, float, float, float]


def with_zoom(task: Task) -> Task:
    """The task, whose model may zoom in on pages, pictures and screens `task.zooms` times before each answer."""
    return replace(
        task,
        next=partial(_next, task.next),
        reply=partial(_reply, task.reply),
        parse=partial(_parse, task),
    )


def _next(inner: Next, task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | tuple[Request, ...] | None:
    if history and not _is_answer(task, history[-1]):
        return _crop_request(task, unit, history[-1])
    request = inner(task, unit, _answers(task, history))
    # of what is asked together, the lines of a page, nothing more is to be seen
    return _offered(request) if isinstance(request, Request) and _can_be_cropped(unit) else request


def _reply(inner: FinalReply, task: Task, unit: Unit, history: tuple[Step, ...]) -> Reply:
    return inner(task, unit, _answers(task, history) or history[-1:])


def _parse(task: Task, text: str, view: View) -> Any:
    calls = read_calls(text, ("bbox_2d",)).calls if TOOL in text else ()
    if calls and all(call.name == TOOL for call in calls):
        raise InvalidOutput(f"the reply asks to zoom in once more than the {task.zooms} times that it may")
    return task.parse(text, view)


def _can_be_cropped(unit: Unit) -> bool:
    return unit.view.unit_kind == "episode" or isinstance(unit.content, Picture)


def _offered(request: Request) -> Request:
    """With the tool in its system message, and free to call it."""
    first = request.messages[0]
    system = "".join(part for part in first.parts if isinstance(part, str)) if first.role == "system" else ""
    rest = request.messages[1:] if first.role == "system" else request.messages
    message = Message("system", (with_tool(system, _SIGNATURE),))
    return replace(request, messages=(message, *rest), schema=None)


def _is_answer(task: Task, step: Step) -> bool:
    """Whether a step ends in an answer: it may not zoom (any more), or does not ask to."""
    first, *rest = step.request.messages
    offered = first.role == "system" and any(isinstance(part, str) and TOOL in part for part in first.parts)
    spent = sum(message.role == "assistant" for message in rest)
    return not offered or spent >= task.zooms or _call(step.completion.text) is None


def _answers(task: Task, history: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(step for step in history if _is_answer(task, step))


def _call(reply: str) -> Call | None:
    """The reply's call of the tool, if there is one and no other tool is called."""
    if TOOL not in reply:
        return None
    calls = read_calls(reply, ("bbox_2d",)).calls
    return calls[0] if calls and all(call.name == TOOL for call in calls) else None


def _crop_request(task: Task, unit: Unit, step: Step) -> Request:
    """The request that goes on from a step which asked to zoom in: with the crop, or with what is wrong."""
    call = _call(step.completion.text)
    assert call is not None
    regions = _regions(step.request.messages)
    messages = (*step.request.messages, Message("assistant", (step.completion.text,)))
    last = sum(message.role == "assistant" for message in messages) == task.zooms
    then = f"{_ANSWER if last else _GO_ON} {_PLACES}"
    content: tuple[Part, ...]
    try:
        crop, note = _crop(_region(call, regions), unit)
    except InvalidOutput as fault:
        content, note = (f"Error: {fault}. {then}",), f"zoom refused: {fault}"
    else:
        content = (crop, f"\nThis is image {len(regions)}. {then}")
    response = Message("user", ("<tool_response>\n", *content, "\n</tool_response>"))
    schema = task.output.schema if last and task.constrained else None
    return replace(step.request, messages=(*messages, response), schema=schema, note=note)


def _regions(messages: tuple[Message, ...]) -> list[Region]:
    """What each picture of a conversation shows, in order: those of the request, then one crop after another."""
    regions: list[Region] = []
    call: Call | None = None
    for message in messages:
        if message.role == "assistant":
            call = _call("".join(part for part in message.parts if isinstance(part, str)))
        for part in message.parts:
            if isinstance(part, Picture):
                regions.append(Region(part, (0.0, 0.0, 1.0, 1.0)) if call is None else _region(call, regions))
    return regions


def _region(call: Call, regions: list[Region]) -> Region:
    """Raises InvalidOutput."""
    index = numbers([call.arguments.get("img_idx", 0)], 1)
    if index is None or not index[0].is_integer() or not 0 <= index[0] < len(regions):
        raise InvalidOutput(f"img_idx is from 0 to {len(regions) - 1}")
    box = numbers(call.arguments.get("bbox_2d"), 4)
    if box is None or any(not -SLACK <= side <= 1000 + SLACK for side in box):
        raise InvalidOutput("bbox_2d is four numbers from 0 to 1000")
    base = regions[int(index[0])]
    left, top, right, bottom = base.box
    x0, x1 = sorted(left + min(max(side / 1000, 0.0), 1.0) * (right - left) for side in box[0::2])
    y0, y1 = sorted(top + min(max(side / 1000, 0.0), 1.0) * (bottom - top) for side in box[1::2])
    return Region(base.source, (x0, y0, x1, y1))


def _crop(region: Region, unit: Unit) -> tuple[Picture, str]:
    """The part of the picture as sharp as it is at hand, with at most as many tokens as the whole (or as LEAST_PX); and
    a note of it.

    The note is in pixels of the original where that is what was shown; of a turned or enlarged picture, in its own.
    """
    source = region.source
    content = unit.content if isinstance(unit.content, tuple) else (unit.content,)
    pictures = [part for part in content if isinstance(part, Picture)]
    place = next((place for place, part in enumerate(pictures) if part is source), None)
    full_res = unit.full_res[place] if place is not None and place < len(unit.full_res) else None
    picture = full_res or source
    box_px = grown(region.box, picture.width_px, picture.height_px)
    crop = cropped(picture, box_px, LEAST_PX, max(LEAST_PX, source.width_px * source.height_px))
    size_px = (picture.width_px, picture.height_px)
    if isinstance(unit.content, Picture) and place is not None:
        size_px = (unit.view.width_px, unit.view.height_px)
    corners = (
        round(side * size_px[axis % 2] / (picture.width_px, picture.height_px)[axis % 2])
        for axis, side in enumerate(box_px)
    )
    return crop, f"zoom {' '.join(map(str, corners))} px"
