"""Find things in a picture by name or description: boxes, or points, for a list of phrases."""

from __future__ import annotations

from typing import Any

from pipelines.replies.grounded import (
    BBOX_PX_OR_NULL,
    PLACED,
    POINT_PX_OR_NULL,
    box_faults,
    clean,
    read_grounded,
)
from pipelines.replies.things import settle
from pipelines.replies.thinking import split_thinking
from schemas.output import TEXT_OR_NULL, Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View

_NOT_ATTRIBUTES = {*PLACED.known, *PLACED.words}


def parse(text: str, view: View) -> ParsedReply:
    """A list of {"bbox_2d": [x0, y0, x1, y1] or "point_2d": [x, y], "label": "…"}; an empty one is a valid answer.

    What an element says beyond that (a color, a role, as the prompt asks for) are its attributes.
    """
    grounded = read_grounded(text, view)
    settle(
        split_thinking(text)[1],
        grounded.things,
        len(grounded.values),
        grounded.dropped,
        "boxes or points",
        grounded.faults,
    )
    objects = [
        {
            "label": thing.label,
            "bbox_px": thing.bbox_px,
            "point_px": thing.point_px,
            "attributes": [
                {"name": name, "value": words}
                for name, value in thing.element.items()
                if name not in _NOT_ATTRIBUTES
                and (words := clean(str(value) if isinstance(value, (int, float)) else value))
            ],
        }
        for thing in grounded.values
    ]
    return ParsedReply({"objects": objects}, grounded.dropped, grounded.things.cut, grounded.faults)


def verify(value: Any, view: View) -> CheckResult:  # noqa: ARG001
    return CheckResult(box_faults([thing["bbox_px"] for thing in value["objects"]]))


TASK = Task(
    name="ground_2d",
    summary="boxes or points of what a list of phrases names",
    unit_kinds=("page", "image"),
    # all phrases in one prompt, as the cookbook has it; `coordinates: point`, or [bbox, point] for both in turn
    prompt=(
        'Locate every instance that belongs to the following categories: "{phrases}". '
        "Report {coordinates} coordinates in JSON format."
    ),
    parameters={"coordinates": "bbox"},
    list_parameters=("phrases",),
    output=Output(
        record(
            objects=list_of(
                record(
                    label=TEXT_OR_NULL,
                    bbox_px=BBOX_PX_OR_NULL,  # x0, y0, x1, y1 in pixels of the original
                    point_px=POINT_PX_OR_NULL,  # x, y
                    attributes=list_of(record(name={"type": "string"}, value={"type": "string"})),
                )
            ),
        )
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
    verify=verify,
)
