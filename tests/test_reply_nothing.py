"""A reply that lists nothing: an answer where it says so, and never where it lists something that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.read_replies import AROUND, KEYS, LISTS, READS, checked

NOTHING = (
    '{"detections": []}',
    '{"objects": []}',
    '{"defect_type": "none", "detections": []}',
    '{"defect_type": "scratch", "detections": [], "count": 0}',
    "I looked at every part of it.\n\n{}",
    "[]",
    "{}",
    "```json\n[]\n```",
    "Here is the result:\n```json\n[\n]\n```",
    '{"result": {"objects": []}}',
    "null",
    "None",
    "There are no such objects in the image.",
    "No events happen in the video.",
    "I cannot find any of them.",
    "I'm sorry, but I don't see any mugs here.",
    "Nothing was found.",
    "The video does not show this.",
    "图中没有这些物体。",
    "未检测到相关内容。",
    '{"message": "No mugs were found."}',
    '[{"label": "mug", "present": false}]',
    "mug: none\njug: not found",
    "I could not find any mugs. []",
)


UNREADABLE = (
    '[{"foo": 1}, {"foo": 2}]',
    '["mug", "jug"]',
    "[true, []]",
    "[[1, 2, 3], [4, 5, 6]]",
    '{"objects": [{"label": "mug"}]}',
    '{"label": "mug", "position": "left"}',
    '{"objects": ["mug"], "note": "no jug"}',
    '[{"bbox_2d": [1, 2, 3], "label": "mug"}]',
    '[{"bbox_2d": "top left", "label": "mug"}]',
    '[{"bbox_3d": [1, 2], "label": "mug"}]',
    "A mug stands on a table.",
    "[",
    '[{"bbox_2d": [1, 2',
)


@pytest.mark.parametrize("task", LISTS)
@pytest.mark.parametrize("reply", NOTHING)
def test_nothing_is_an_answer(task: str, reply: str) -> None:
    row = checked(task, reply)
    assert row.failure is None
    assert READS[task](row.result) == []
    assert row.verified["faults"] == []


@pytest.mark.parametrize("task", [task for task in LISTS if task != "recognize"])
@pytest.mark.parametrize("reply", UNREADABLE)
def test_a_list_of_what_cannot_be_read_is_no_empty_list(task: str, reply: str) -> None:
    row = checked(task, reply)
    assert row.failure is not None
    assert row.failure.kind == "unparsable"


def test_boxes_of_another_kind_are_no_empty_list() -> None:
    in_two = '[{"bbox_2d": [275, 227, 899, 688], "label": "mug"}]'
    in_three = '[{"bbox_3d": [0.5, 0.25, 4.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.5], "label": "mug"}]'
    no_turns = '[{"center": [0, 0, 4], "size": [1, 2, 3], "label": "mug"}]'
    for task, reply in (
        ("ground_2d", in_three),
        ("gui_elements", in_three),
        ("ground_3d", in_two),
        ("ground_3d", no_turns),
    ):
        assert checked(task, reply).failure is not None, (task, reply)


def test_what_is_known_of_things_that_could_not_be_read_stays() -> None:
    row = checked("ground_2d", '[{"bbox_2d": [100, 200, 1300, 400], "label": "mug"}]')
    assert row.failure is not None
    assert row.verified["faults"] == ["dropped", "box_outside"]


SCALARS = st.none() | st.booleans() | st.integers(-2000, 2000) | st.floats(0, 1000) | KEYS


VALUES = st.recursive(
    SCALARS | st.lists(st.integers(0, 1000), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def holds_something(value: Any) -> bool:
    """Whether a list anywhere in it holds what is no list and says something; {"size": 3, "mugs": []} does not."""
    if isinstance(value, dict):
        return any(map(holds_something, value.values()))
    return isinstance(value, list) and any(
        holds_something(item) if isinstance(item, list) or _lists_none(item) else bool(item) for item in value
    )


def _lists_none(item: Any) -> bool:
    inner = [part for part in item.values() if isinstance(part, (list, dict))] if isinstance(item, dict) else []
    return item == {} or (bool(inner) and not any(inner))


@settings(max_examples=60, deadline=None)
@given(VALUES, st.sampled_from(AROUND), st.sampled_from(LISTS))
def test_no_list_of_something_is_taken_for_an_empty_one(value: Any, around: str, task: str) -> None:
    row = checked(task, around.replace("{}", json.dumps(value, ensure_ascii=False)))
    nothing = row.failure is None and not row.verified["faults"] and not READS[task](row.result)
    if nothing and task != "recognize":
        assert not holds_something(value) or "no" in json.dumps(value).lower() or "none" in str(value).lower()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(
        ("There are no {} in the image.", "No {} are visible.", "I cannot find any {}.", "No {} found.", "未发现{}。")
    ),
    st.sampled_from(("mugs", "red cars", "people who run", "events", "buttons", "杯子")),
    st.sampled_from(LISTS),
    st.sampled_from(("{}", "{}\n\n[]", "{}\n```json\n{{}}\n```", "**{}**")),
)
def test_whoever_says_that_there_is_nothing_is_believed(sentence: str, noun: str, task: str, around: str) -> None:
    row = checked(task, around.format(sentence.format(noun)))
    assert row.failure is None
    assert READS[task](row.result) == []
    assert row.verified["ok"]
