"""Where in each frame of a clip something is to be seen: boxes with times; the column `query` says what."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from typing import Any

from operators.checks.spans import SLACK_S
from pipelines.replies.grounded import BBOX_PX, PLACED, box_faults, read_grounded
from pipelines.replies.things import settle
from pipelines.replies.thinking import split_thinking
from pipelines.replies.times import seconds
from schemas.output import TEXT_OR_NULL, Output, list_of, record
from schemas.request import Clip, Message, Part, Request, Sampling
from schemas.task import CheckResult, ParsedReply, Step, Task, Unit, View

_TIME_KEYS = ("time", "timestamp", "time_s", "frame_time", "time_seconds", "seconds", "t")
_TIMED = replace(PLACED, times=_TIME_KEYS)


def ask_frames(task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | None:
    """Every frame as a picture of its own behind its time, as the cookbook asks: a clip's frames would merge in pairs,
    and a box belongs to one of them. So they take twice the tokens that decode.video_max_tokens says."""
    if history:
        return None
    assert isinstance(unit.content, Clip)
    parts: list[Part] = []
    for frame, time_s in zip(unit.content.frames, unit.content.times_s, strict=True):
        parts += [f"<{time_s:.1f} seconds>", frame]
    return Request("", (Message("user", (*parts, task.ask_text(unit.view))),), task.sampling)


def parse(text: str, view: View) -> ParsedReply:
    """A list of {"time": 1.0, "bbox_2d": […], "label": "…"}. A box belongs to the frame whose time is nearest; one
    that lies more than a second outside the clip belongs to none and is dropped."""
    grounded = read_grounded(text, view, kind=_TIMED)
    boxes: list[dict[str, Any]] = []
    dropped = grounded.dropped
    faults = list(grounded.faults)
    for thing in grounded.values:
        time_s = seconds(next((thing.element[key] for key in _TIME_KEYS if key in thing.element), None))
        frame = None if time_s is None else _frame(time_s, view.times_s)
        if thing.bbox_px is None or frame is None:
            dropped += 1
            if time_s is not None and frame is None and "span_outside" not in faults:
                faults.append("span_outside")
            continue
        boxes.append(
            {"label": thing.label, "frame_index": frame, "time_s": view.times_s[frame], "bbox_px": thing.bbox_px}
        )
    settle(split_thinking(text)[1], grounded.things, len(boxes), dropped, "times and boxes", faults)
    return ParsedReply({"boxes": boxes}, dropped, grounded.things.cut, tuple(faults))


def _frame(time_s: float, times_s: tuple[float, ...]) -> int | None:
    """Index of the frame that is nearest in time. times_s: ascending."""
    if not times_s or not times_s[0] - SLACK_S <= time_s <= times_s[-1] + SLACK_S:
        return None
    after = bisect_left(times_s, time_s)
    near = range(max(0, after - 1), min(len(times_s), after + 1))
    return min(near, key=lambda index: abs(times_s[index] - time_s))


def verify(value: Any, view: View) -> CheckResult:  # noqa: ARG001
    return CheckResult(box_faults([box["bbox_px"] for box in value["boxes"]]))


TASK = Task(
    name="ground_video",
    summary="where in the frames of a clip something is to be seen",
    unit_kinds=("clip",),
    prompt=(
        'Given the query "{query}", for each frame, detect and localize the visual content described by the given '
        "textual query in JSON format. If the visual content does not exist in a frame, skip that frame. Output "
        'Format: [{"time": 1.0, "bbox_2d": [x_min, y_min, x_max, y_max], "label": ""}, {"time": 2.0, "bbox_2d": '
        '[x_min, y_min, x_max, y_max], "label": ""}, ...].'
    ),
    output=Output(
        record(
            boxes=list_of(
                record(
                    label=TEXT_OR_NULL,
                    frame_index={"type": "integer", "minimum": 0},  # in the row's times_s
                    time_s={"type": "number"},  # of that frame
                    bbox_px=BBOX_PX,  # x0, y0, x1, y1 in pixels of the original
                )
            ),
        )
    ),
    sampling=Sampling(max_tokens=4096),
    next=ask_frames,
    parse=parse,
    verify=verify,
)
