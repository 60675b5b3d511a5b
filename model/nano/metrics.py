"""Judges replies about scenes against what was drawn. Knows nothing of networks; reads strictly, as training wrote it.

Fractions: of replies that parse; of asked things found with an IoU of at least 0.7, or whose point lies in their box;
of event borders within half a second; of captions that are right word for word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.nano.questions import Question
from model.nano.scenes import Box, Scene

LEAST_IOU = 0.7
BORDER_S = 0.5


@dataclass(frozen=True)
class Marks:
    """parsed: whether the reply has its form. right of wanted: things, borders or captions."""

    parsed: bool
    right: int
    wanted: int


def score_caption(reply: str, question: Question) -> Marks:
    return Marks(bool(reply.strip()), int(reply == question.text), 1)


def score_objects(reply: str, scene: Scene, labels: Sequence[str]) -> Marks:
    """A reply of boxes or points to a question for these labels."""
    there = {thing.label: thing.box for thing in scene.things if thing.label in labels}
    objects = _json(reply.removeprefix("```json\n").removesuffix("\n```"), list)
    if objects is None:
        return Marks(False, 0, len(there))
    right = 0
    for label, box in there.items():
        places = [_place(entry) for entry in objects if isinstance(entry, dict) and entry.get("label") == label]
        right += any(place is not None and _fits(place, box) for place in places)
    parsed = all(isinstance(entry, dict) and _place(entry) is not None for entry in objects)
    return Marks(parsed, right, len(there))


def score_events(reply: str, scene: Scene) -> Marks:
    """Borders: the start and the end of every event, of the reply that names the same thing."""
    wanted = 2 * len(scene.things)
    spans = _json(reply, dict)
    if spans is None or not all(_SPAN.fullmatch(key) and isinstance(text, str) for key, text in spans.items()):
        return Marks(False, 0, wanted)
    right = 0
    for thing in scene.things:
        keys = [key for key, text in spans.items() if thing.label in text]
        if keys:
            start, end = (_seconds(part) for part in keys[0].split(" - "))
            right += (abs(start - thing.start_s) <= BORDER_S) + (abs(end - thing.end_s) <= BORDER_S)
    return Marks(True, right, wanted)


_SPAN = re.compile(r"\d\d:\d\d\.\d\d - \d\d:\d\d\.\d\d")


def _seconds(clock: str) -> float:
    minutes, seconds = clock.split(":")
    return 60 * int(minutes) + float(seconds)


def _place(entry: dict[str, Any]) -> tuple[float, ...] | None:
    """Four sides or two coordinates as shares of the picture."""
    for key, count in (("bbox_2d", 4), ("point_2d", 2)):
        values = entry.get(key)
        if isinstance(values, list) and len(values) == count and all(isinstance(value, int) for value in values):
            return tuple(value / 1000 for value in values)
    return None


def _fits(place: tuple[float, ...], box: Box) -> bool:
    x0, y0, x1, y1 = box
    if len(place) == 2:
        return x0 <= place[0] <= x1 and y0 <= place[1] <= y1
    return iou((place[0], place[1], place[2], place[3]), box) >= LEAST_IOU


def iou(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (areas[0] + areas[1] - width * height)


def _json(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, kind) else None
