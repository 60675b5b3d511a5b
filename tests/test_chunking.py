"""Chunks: every unit in exactly one, within the bounds, the same ids for the same plan."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.catalogue import find
from pipelines.chunking import cut, with_full_inputs

TASKS = [find("ocr"), find("caption")]

units = st.lists(st.tuples(st.sampled_from(["page", "image", "clip", None]), st.integers(0, 90)), max_size=60).map(
    lambda pairs: [
        {"input_id": f"i{index // 3}", "unit_index": index % 3, "unit_kind": kind, "decoded_bytes": size}
        for index, (kind, size) in enumerate(pairs)
    ]
)


def identity(unit: dict[str, Any]) -> tuple[str, int]:
    return unit["input_id"], unit["unit_index"]


@given(units, st.integers(1, 8), st.integers(1, 100))
def test_every_unit_is_in_exactly_one_chunk_within_its_bounds(
    units: list[dict[str, Any]], max_units: int, max_bytes: int
) -> None:
    chunks = list(cut(units, TASKS, max_units=max_units, max_bytes=max_bytes))
    assert sorted(identity(unit) for chunk in chunks for unit in chunk["units"]) == sorted(map(identity, units))
    assert len({chunk["chunk_id"] for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        held = chunk["units"]
        assert 1 <= len(held) <= max_units
        assert len(held) == 1 or sum(unit["decoded_bytes"] for unit in held) <= max_bytes
        assert len({unit["unit_kind"] for unit in held}) == 1
    assert chunks == list(cut(units, TASKS, max_units=max_units, max_bytes=max_bytes))


def test_each_kind_goes_to_the_tasks_that_take_it() -> None:
    kinds = ["page", "image", "clip", None]
    units = [{"input_id": str(kind), "unit_index": 0, "unit_kind": kind, "decoded_bytes": 1} for kind in kinds]
    chunks = cut(units, TASKS, max_units=9, max_bytes=9)
    taken = {chunk["units"][0]["unit_kind"]: chunk["tasks"] for chunk in chunks}
    assert taken == {
        "page": ["ocr"],
        "image": ["ocr", "caption"],
        "clip": ["caption"],
        None: ["ocr", "caption"],
    }


@pytest.mark.parametrize(
    ("media", "parts", "whole"),
    [
        ("document", [{"page": page} for page in (1, 2, 3)], {"unit_kind": "document", "page_count": 3}),
        ("episode", [{"page": page} for page in (1, 2)], {"unit_kind": "episode", "page_count": 2}),
        ("video", [{"start_s": 0.0, "end_s": 30.0}, {"start_s": 30.0, "end_s": 41.0}], {"end_s": 41.0}),
        ("document", [{"error": {"kind": "malformed"}}], {"unit_kind": "document"}),
    ],
)
def test_a_whole_input_keeps_what_the_probe_knew(
    media: str, parts: list[dict[str, Any]], whole: dict[str, Any]
) -> None:
    rest = dict.fromkeys(("page", "start_s", "end_s", "page_count", "error"))
    same = {"input_id": "i", "media": media, "unit_kind": "page", "unit_count": len(parts)}
    tasks = [find(name) for name in ("document_qa", "video_qa", "gui_episode")]
    (unit,) = with_full_inputs([{**same, **rest, "unit_index": i, **part} for i, part in enumerate(parts)], tasks)
    assert unit["unit_count"] == 1
    assert {name: unit[name] for name in whole} == whole
    assert unit["page_count"] == whole.get("page_count")


def test_units_that_no_task_takes_are_counted_not_lost() -> None:
    unit = {"input_id": "a", "unit_index": 0, "unit_kind": "clip", "decoded_bytes": 1}
    (chunk,) = cut([unit], [find("ocr")], max_units=9, max_bytes=9)
    assert chunk["tasks"] == []
