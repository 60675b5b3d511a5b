"""Replies read as the operator reads and checks them, and their results in short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from operators.checks.check_reply import CheckedReply, check_reply
from pipelines.catalogue import find
from schemas.errors import InvalidOutput
from schemas.task import View

PICTURE = View("image", 0, 1000, 1000)
"""A unit of the scale is a pixel."""


CLIP = View("clip", 0, 1000, 1000, start_s=0.0, end_s=60.0, times_s=tuple(float(second) for second in range(61)))


def checked(task: str, reply: str) -> CheckedReply:
    """As the operator reads and checks a reply."""
    shipped = find(task)
    view = CLIP if task in ("ground_video", "events", "locate_moment") else PICTURE
    try:
        parsed: Any = shipped.parse(reply, view)
    except InvalidOutput as error:
        parsed = error
    return check_reply(shipped, view, reply, parsed, cut=False)


def grounded(result: Any) -> list[Any]:
    return [(thing["label"], thing["bbox_px"] or thing["point_px"]) for thing in result["objects"]]


def in_space(result: Any) -> list[Any]:
    return [(box["label"], [*box["center_m"], *box["size_m"]]) for box in result["boxes"]]


def timed(result: Any) -> list[Any]:
    return [(box["label"], box["frame_index"], box["bbox_px"]) for box in result["boxes"]]


def spotted(result: Any) -> list[Any]:
    return [(line["text"], [round(side * 0.999) for side in line["bbox_px"]]) for line in result["lines"]]


def on_screen(result: Any) -> list[Any]:
    return [(item["role"], item["text"], item["bbox_px"]) for item in result["elements"]]


def names(result: Any) -> list[Any]:
    return [([name["name"] for name in thing["names"]], thing["bbox_px"]) for thing in result["objects"]]


def happened(result: Any) -> list[Any]:
    return [(event["start_s"], event["end_s"], event["text"]) for event in result["events"]]


READS: dict[str, Callable[[Any], list[Any]]] = {
    "ground_2d": grounded,
    "spatial": grounded,
    "ground_3d": in_space,
    "ground_video": timed,
    "ocr_spotting": spotted,
    "gui_elements": on_screen,
    "recognize": names,
    "events": happened,
}


LISTS = ("ground_2d", "ground_3d", "ground_video", "ocr_spotting", "gui_elements", "recognize", "events")
"""Tasks whose answer is a list; `spatial` answers in words, and may list."""

KEYS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=12)
"""Names that a list may stand under, or a thing have."""
AROUND = ("{}", "```json\n{}\n```", "Here is what I see:\n{}", "Sure [1].\n\n```\n{}\n```\nDone.")
"""What stands around the JSON of a reply."""
