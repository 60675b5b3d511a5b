"""No reply makes a parser work long or deep. Replies that were made to are read to their end, whatever their length,
and what takes the time is counted: searches for sound JSON that fail, each of which may read to the end, and repairs,
whose time grows with the square of what they repair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipelines.catalogue import find
from pipelines.replies import elements
from pipelines.replies.grounded import PLACED
from pipelines.replies.things import read_things
from schemas.errors import InvalidOutput
from schemas.task import View

PIECES = (
    "[", "{", '{"a":[', "[[1,2,3,4],", '{"bbox_2d": [', "{'bbox_2d': [1,2,3,4], 'label': 'x'},", '"', '\\"',
    "```json\n", "\\boxed{", "Answer: ", "The answer is ", "00:01 - 00:05: a ", "12 - ", "pages 1-2 ", "(1,2),",
    '<points x1="1" y1="2" ', "| a | 1 |\n", "I cannot ", "**", "A. ", "<tool_call>", "<function=a>", "start: 1 ",
    '{"name": "computer_use", "arguments": ',
)  # fmt: skip
TASKS = (
    "ground_2d", "ground_3d", "ground_video", "ocr_spotting", "gui_elements", "recognize", "spatial", "events",
    "locate_moment", "document_qa", "video_qa", "solve", "gui_action", "caption_structured",
)  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_what_was_made_to_take_long_is_read_or_refused(task: str, amount: Callable[[int, int], int]) -> None:
    question = {"question": "Which? A. left B. right", "device": "computer"}
    view = View("image", 0, 100, 100, start_s=0.0, end_s=9.0, times_s=(0.0, 1.0), page_count=9, parameters=question)
    for piece in PIECES:
        reply = piece * (amount(4_000, 256_000) // len(piece))
        for text in (reply, f"{reply}]", f'[{{"bbox_2d": [1, 2, 3, 4], "label": "a"}}, {reply}'):
            try:
                find(task).parse(text, view)
            except InvalidOutput:
                continue


@pytest.mark.parametrize("piece", PIECES)
def test_searches_and_repairs_are_bounded(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, repaired = 0, 0
    decode, repair = elements._strict, elements._repaired

    def counted_decode(text: str, place: int) -> Any:
        nonlocal failures
        value = decode(text, place)
        failures += value is None
        return value

    def counted_repair(region: str) -> Any:
        nonlocal repaired
        repaired += len(region) ** 2
        return repair(region)

    monkeypatch.setattr(elements, "_strict", counted_decode)
    monkeypatch.setattr(elements, "_repaired", counted_repair)
    read_things(piece * (20_000 // len(piece)), PLACED)
    assert failures <= 4 * elements._MOST_FAILURES
    assert repaired <= 2 * elements._REPAIRS
