"""Two outputs against each other: what differs, how much, and which units come first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from jobs.report.difference import TaskDifference, differences
from jobs.report.difference_page import write_difference
from jobs.report.site import Folder
from operators.checks.text_distance import text_distance
from operators.store.memory import MemoryStore
from operators.store.results import Results
from operators.store.store import read
from schemas.errors import SpecError
from tests.support.result_rows import rows
from tests.support.stored import CHUNK, begin, put_rows

FAILED: dict[str, Any] = {
    "status": "engine_failed", "result": None, "error": {"stage": "infer", "kind": "timeout", "message": "late"},
}  # fmt: skip
DOUBTED: dict[str, Any] = {"verified": {"ok": False, "faults": ["cut"]}}


def output(address: str, texts: dict[str, str | dict[str, Any]], task: str = "ocr") -> MemoryStore:
    """texts: by input_id, what was read, or other columns."""
    store = MemoryStore(address)
    begin(store, {task: {"decode": {}}}, {"name": "papers"})
    plain = [
        {"input_id": name, "unit_index": 0, **({"text": row} if isinstance(row, str) else {"text": "same", **row})}
        for name, row in texts.items()
    ]
    put_rows(store, task, rows(CHUNK, plain))
    return store


BEFORE: dict[str, str | dict[str, Any]] = {
    "a": "equal", "b": "one word here", "c": "entirely", "d": {}, "e": {}, "gone": "x",
}  # fmt: skip
AFTER: dict[str, str | dict[str, Any]] = {
    "e": DOUBTED | {"text": "same!"}, "d": FAILED, "c": "wholly", "b": "one word there", "a": "equal", "new": "x",
}  # fmt: skip


def difference(before: MemoryStore, after: MemoryStore, most: int = 10) -> TaskDifference:
    (task,) = differences(Results(before), Results(after), tasks=(), most=most)
    return task


def test_units_that_differ_the_worst_first() -> None:
    task = difference(output("memory://before", BEFORE), output("memory://after", AFTER))
    assert (task.same, task.differ, task.only_before, task.only_after) == (1, 4, 1, 1)
    assert (task.better, task.worse) == (0, 2)
    assert [one.key[0] for one in task.worst] == ["d", "e", "c", "b"], "those whose state is worse, then by distance"
    assert task.worst[0].states == ("unsure", "failed")
    assert task.changes == {("unsure", "failed"): 1, ("unsure", "doubtful"): 1}


def test_the_other_way_round_it_is_better() -> None:
    task = difference(output("memory://after2", AFTER), output("memory://before2", BEFORE))
    assert (task.better, task.worse) == (2, 0)


def test_an_output_is_like_itself() -> None:
    store = output("memory://itself", BEFORE)
    task = difference(store, store)
    assert (task.same, task.differ, task.worst) == (6, 0, [])


def test_only_so_many_are_listed_and_all_are_counted() -> None:
    before = output("memory://many", {str(number): "word " * number for number in range(1, 30)})
    after = output("memory://many2", {str(number): "word " * number + "more" for number in range(1, 30)})
    task = difference(before, after, most=3)
    assert (task.differ, [one.key[0] for one in task.worst]) == (29, ["1", "2", "3"])


def test_outputs_without_a_task_in_common() -> None:
    with pytest.raises(SpecError, match="no task in common"):
        difference(output("memory://x", BEFORE), output("memory://y", BEFORE, task="caption"))
    store = output("memory://z", BEFORE)
    with pytest.raises(SpecError, match="results of caption"):
        list(differences(Results(store), Results(store), tasks=["caption"], most=1))


def test_the_page_holds_both_rows() -> None:
    before, after = output("memory://page", BEFORE), output("memory://page2", AFTER)
    target = MemoryStore("memory://page3")
    write_difference(before, after, Folder(target), [difference(before, after)], pictures=False)
    text = read(target, "data/detail-0-0.js").decode()
    details = json.loads(text.removeprefix('sightread("detail-0-0", ').removesuffix(");\n"))
    assert [row["input_id"] for row in details] == ["d", "e", "c", "b"]
    assert (details[2]["result"], details[2]["after"]["result"]) == ({"text": "entirely"}, {"text": "wholly"})
    assert details[2]["texts"] == ["entirely", "wholly"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output("memory://first", BEFORE)
    output("memory://second", AFTER)
    assert main(["diff", "memory://first", "memory://second", "--into", str(tmp_path / "page"), "--no-pictures"]) == 0
    printed = capsys.readouterr().out
    assert "unsure → failed" in printed
    assert (tmp_path / "page" / "index.html").exists()
    assert main(["diff", "memory://first", "memory://second", "--json"]) == 0
    (task,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (task["name"], task["differ"], task["changes"]["unsure -> failed"]) == ("ocr", 4, 1)


@given(st.text(max_size=40), st.text(max_size=40))
def test_distance(one: str, other: str) -> None:
    distance = text_distance(one, other)
    assert 0 <= distance <= 1
    assert (distance == 0) == (one == other)
    assert distance == text_distance(other, one)
