"""Rows of a job in SQL: the views, the questions that ship, and what a query may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.cli import main
from jobs.commands.sql import asks, questions
from operators.store.addresses import store_at
from operators.store.memory import MemoryStore
from operators.store.sql import asked
from operators.store.store import Store
from schemas.errors import SpecError
from schemas.state import state_of
from tests.support.result_rows import OTHER, TEXT, rows
from tests.support.stored import CHUNK, begin, put_rows

ERROR = {"stage": "infer", "kind": "timeout", "message": "it took too long", "attempts": 1}
ROWS: list[dict[str, Any]] = [
    {"verified": {"ok": True, "faults": [], "cer": 0.01}},
    {"verified": {"ok": False, "faults": ["text_layer", "cut"], "cer": 0.4}, "finish_reason": "length", "attempt": 2},
    {
        "verified": {"ok": True, "faults": [], "code_check": {"outcome": "shown", "missing_words": 0}},
        "input_notes": ["damaged"],
    },
    {"verified": None, "attempts": [{"note": ""}, {"note": "enlarged"}]},
    {"status": "engine_failed", "error": ERROR},
]


def fill(store: Store) -> None:
    begin(store, {"ocr": {}, "own's": {}})
    for task, result in (("ocr", TEXT), ("own's", OTHER)):
        plain = [{"input_id": str(number), "unit_index": 0, **row} for number, row in enumerate(ROWS)]
        put_rows(store, task, rows(CHUNK, plain, result, [pa.field("shelf", pa.string())] if task == "ocr" else []))


@pytest.fixture
def output(tmp_path: Path) -> Store:
    store = store_at(str(tmp_path / "it's out"))
    fill(store)
    return store


def all_of(store: Store, query: str) -> list[tuple[Any, ...]]:
    with asked(store, query) as selected:
        return list(selected.rows)


def test_states_are_those_of_the_product(output: Store) -> None:
    states = [state for (state,) in all_of(output, "select state from ocr order by input_id")]
    assert states == [state_of({"status": "ok", "verified": None, **row}) for row in ROWS]


def test_views_by_task_and_over_all(output: Store) -> None:
    assert all_of(output, "select task, count(*) from rows group by task order by task") == [("ocr", 5), ("own's", 5)]
    assert all_of(output, 'select distinct task from "own\'s"') == [("own's",)]
    assert all_of(output, "select count(shelf) from rows") == [(0,)]
    assert all_of(output, 'select a.input_id from ocr a join "own\'s" b using (input_id) order by 1')[0] == ("0",)


@pytest.mark.parametrize(
    "query",
    [
        "copy rows to '{}/written.csv'",
        "create table x as select 1",
        "select 1; select 2",
        "select * from read_text('/etc/hostname')",
        "select * from '/etc/passwd'",
        "attach '{}/x.db'",
        "install httpfs",
        "set enable_external_access = true",
        "select nothing from ocr",
        "",
    ],
)
def test_a_query_reads_the_results_and_nothing_else(output: Store, query: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpecError, match=r"^(a query is one SELECT|the query cannot be answered)"):
        all_of(output, query.format(tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", questions())
def test_each_question_that_ships_has_an_answer(name: str, output: Store) -> None:
    path = questions()[name]
    assert asks(path)[0].islower()
    answers = all_of(output, path.read_text(encoding="utf-8"))
    assert answers, "something of every kind is there"


def test_ten_questions_ship_at_least() -> None:
    assert len(questions()) >= 10


def test_of_a_store_elsewhere_only_what_is_named_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore("memory://sql")
    fill(store)
    opened: list[str] = []
    there = store.open
    monkeypatch.setattr(store, "open", lambda key: opened.append(key) or there(key))
    assert all_of(store, "select count(*) from ocr") == [(5,)]
    assert {key for key in opened if "own" in key} == set()
    assert all_of(store, "select count(*) from rows") == [(10,)]


def test_the_command_prints_tables_json_and_csv(output: Store, capsys: pytest.CaptureFixture[str]) -> None:
    address = output.address
    assert main(["sql", address, "states"]) == 0
    assert "doubtful" in capsys.readouterr().out
    assert main(["sql", address, "select input_id, error.kind as kind from ocr order by 1", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == {"input_id": "4", "kind": "timeout"}
    assert main(["sql", address, "select input_id as id, task from ocr order by 1", "--csv", "--rows", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == ["id,task", "0,ocr"]
    assert main(["sql", address]) == 0
    assert "failures" in capsys.readouterr().out
    assert main(["sql", address, "failures", "--show"]) == 0
    assert "select task, error.stage" in capsys.readouterr().out
