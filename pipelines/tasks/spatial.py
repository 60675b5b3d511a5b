"""A question about space in a picture: orientation, viewpoint, occlusion, relations, where something can be grasped
or put. The column `question` says which; it may offer options, lettered from A on."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

from pipelines.replies.choices import choice_of, options_in
from pipelines.replies.grounded import BBOX_PX_OR_NULL, PLACED, POINT_PX_OR_NULL, box_faults, read_grounded
from pipelines.replies.thinking import final_answer, split_thinking
from schemas.errors import InvalidOutput
from schemas.output import TEXT_OR_NULL, Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View

_KIND = replace(PLACED, prose=False)
"""An answer in words may name places; a pair of numbers in a sentence is none."""


def parse(text: str, view: View) -> ParsedReply:
    """The answer in words, the option that it takes, and the boxes and points that it names."""
    reasoning, answer = split_thinking(unicodedata.normalize("NFC", text))
    if not answer:
        raise InvalidOutput("the reply ends before it answers" if reasoning else "the reply is empty")
    options = _options(view)
    choice = choice_of(answer, options) if options else None
    grounded = read_grounded(answer, view, kind=_KIND)
    value = {
        "answer": answer,
        "short_answer": final_answer(answer),
        "choice": choice,
        "choice_text": None if choice is None else options[choice],
        "objects": [
            {"label": thing.label, "bbox_px": thing.bbox_px, "point_px": thing.point_px} for thing in grounded.values
        ],
    }
    listed = bool(grounded.values or grounded.dropped)  # a bracket in prose opens no list
    return ParsedReply(value, grounded.dropped, grounded.things.cut and listed, grounded.faults)


def _options(view: View) -> dict[str, str]:
    question = view.parameters.get("question")
    return options_in(question) if isinstance(question, str) else {}


def verify(value: Any, view: View) -> CheckResult:
    faults = box_faults([thing["bbox_px"] for thing in value["objects"]])
    missed = bool(_options(view)) and value["choice"] is None
    return CheckResult((*faults, *(("no_choice",) if missed else ())))


TASK = Task(
    name="spatial",
    summary="the answer to a question about space in a picture, with the option, boxes and points that it names",
    unit_kinds=("image",),
    prompt="{question}",
    output=Output(
        record(
            answer={"type": "string", "minLength": 1},
            short_answer=TEXT_OR_NULL,  # what the reply marks as final
            choice=TEXT_OR_NULL,  # the letter, where the question offers options
            choice_text=TEXT_OR_NULL,
            objects=list_of(
                record(
                    label=TEXT_OR_NULL,
                    bbox_px=BBOX_PX_OR_NULL,  # x0, y0, x1, y1 in pixels of the original
                    point_px=POINT_PX_OR_NULL,  # x, y
                )
            ),
        )
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
    verify=verify,
    reasoning_in_reply=True,
)
