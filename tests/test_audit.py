"""The audit counts, slice by slice, what a count row by row of all would say."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.store.addresses import store_at
from operators.store.part_log import PartLog
from operators.store.results import Results
from operators.store.view import View
from pipelines.catalogue import find
from pipelines.summary import audit as audits
from pipelines.summary.audit import PLANNED, TaskAudit, audit, audit_slice, compare
from schemas import tables
from schemas.state import STATES, state_of, states
from tests.support.result_rows import chunk_id, rows

INPUTS, UNITS, GENERATIONS = ("a", "b", "c"), 3, 3
ROWS = pa.schema([tables.results_schema(pa.null(), []).field(name) for name in audits._COLUMNS])
UNIT = st.tuples(st.sampled_from(INPUTS), st.integers(0, UNITS - 1))
REQUEST, GENERATION = st.integers(0, 2), st.integers(0, GENERATIONS - 1)
KIND = st.sampled_from(("ok", "unsure", "cut", "timeout", "no_json", None))
"""Of an answer, what its checks came to: right, nothing, or a fault; of a failure, its kind."""
VERIFIED = {
    "ok": {"ok": True, "faults": [], "cer": 0.0},
    "unsure": {"ok": True, "faults": []},
    "cut": {"ok": False, "faults": ["cut", "repeats"], "cer": 0.5},
}


def counted(answered: list[tuple[Any, ...]], planned: list[tuple[Any, ...]]) -> TaskAudit:
    """answered: input, unit, request, generation, kind of failure. planned: input, unit, requests, generation."""
    asked = [(one, unit, request, since) for one, unit, number, since in planned for request in range(number)]
    latest = {one: max(since for other, *_, since in planned if other == one) for one, *_ in planned}
    there = {row[:4] for row in answered}
    wanted = {row[:3] for row in asked}
    failed = Counter("unknown" if kind is None else kind for *_, kind in answered if kind not in VERIFIED)
    states = Counter(
        {"cut": "doubtful"}.get(kind or "", kind) if kind in VERIFIED else "failed" for *_, kind in answered
    )
    doubtful = states["doubtful"]
    return TaskAudit(
        planned=len(asked),
        rows=len(answered),
        ok=sum(kind in VERIFIED for *_, kind in answered),
        states={state: states[state] for state in STATES},
        faults={"cut": doubtful, "repeats": doubtful} if doubtful else {},
        failed=dict(failed),
        messages={kind: f"no {kind}" if kind != "unknown" else "" for kind in failed},
        missing=sum(row not in there for row in asked),
        duplicate=len(answered) - len({row[:3] for row in answered}),
        unexpected=sum(row[:3] not in wanted and row[3] >= latest.get(row[0], 0) for row in answered),
    )


def table_of(answered: list[tuple[Any, ...]]) -> pa.Table:
    plain = [
        {
            "input_id": one, "unit_index": unit, "request_index": request, "generation": since,
            "status": "ok" if kind in VERIFIED else "engine_failed",
            "error": {"kind": kind, "message": f"no {kind}"} if kind not in (*VERIFIED, None) else None,
            "verified": VERIFIED.get(kind),
        }
        for one, unit, request, since, kind in answered
    ]  # fmt: skip
    return pa.Table.from_pylist(plain, schema=ROWS)


@settings(deadline=None)
@given(
    st.lists(st.tuples(UNIT, REQUEST, GENERATION, KIND), max_size=12),
    st.lists(st.tuples(UNIT, st.integers(0, 3), GENERATION), max_size=8, unique_by=lambda one: one[0]),
)
def test_a_slice_is_counted_as_row_by_row(answers: list[tuple[Any, ...]], plan: list[tuple[Any, ...]]) -> None:
    answered = [(*unit, *others) for unit, *others in answers]
    planned = [(*unit, *others) for unit, *others in plan]
    columns = list(zip(*planned, strict=True)) or [()] * len(PLANNED)
    assert compare(table_of(answered), pa.table([*map(list, columns)], schema=PLANNED)) == counted(answered, planned)


CHUNK = st.tuples(
    st.sampled_from(INPUTS),
    st.sets(st.integers(0, UNITS - 1), min_size=1),
    GENERATION,
    st.integers(1, 2),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(CHUNK, max_size=6, unique_by=lambda chunk: chunk[0:3:2]))
def test_of_a_manifest_counts_what_is_asked_for_now(chunks: list[tuple[Any, ...]]) -> None:
    """An input is in the slice of its number; of the chunks of another task nothing is planned."""
    plain = [
        {
            "chunk_id": chunk_id(INPUTS.index(one), since, sorted(units), number), "tasks": ["ocr" if mine else "look"],
            "units": [
                {"input_id": one, "unit_index": unit, "generation": since, "attempt": attempt} for unit in sorted(units)
            ],
        }
        for number, (one, units, since, attempt, mine) in enumerate(chunks)
    ]  # fmt: skip
    by_slice = audits._expected(find("ocr"), pa.Table.from_pylist(plain, schema=tables.CHUNKS))
    latest: dict[str, int] = {}
    for one, _, since, _, mine in chunks:
        latest[one] = max(latest.get(one, -1), since if mine else -1)
    wanted = Counter(
        (INPUTS.index(one), one, unit, since)
        for one, units, since, attempt, mine in chunks
        for unit in units
        if mine and attempt == 1 and latest[one] == since
    )
    names = ("input_id", "unit_index", "generation")
    assert wanted == Counter(
        (slice_, *values)
        for slice_, planned in by_slice.items()
        for values in zip(*(planned.column(name).to_pylist() for name in names), strict=True)
    )
    assert all(set(planned.column("requests").to_pylist()) == {1} for planned in by_slice.values())


def unsure(rows: int, **others: int) -> TaskAudit:
    """Of rows that nothing was checked of."""
    return TaskAudit(rows=rows, ok=rows, states=dict.fromkeys(STATES, 0) | {"unsure": rows}, **others)


def test_slices_are_audited_alone_and_added_up() -> None:
    store = store_at(f"memory://{uuid.uuid4().hex}")
    units = {slice_: [(f"{slice_}", unit) for unit in range(2)] for slice_ in range(3)}
    for slice_, some in units.items():
        chunk = chunk_id(slice_, 0, some)
        PartLog(store).write("ocr", chunk, rows(chunk, [{"input_id": one, "unit_index": unit} for one, unit in some]))
        View(store).publish("ocr", slice_)
    planned = [
        {
            "chunk_id": chunk_id(slice_, 0, some), "tasks": ["ocr"],
            "units": [{"input_id": one, "unit_index": unit, "generation": 0, "attempt": 1} for one, unit in some],
        }
        for slice_, some in units.items()
    ]  # fmt: skip
    chunks = pa.Table.from_pylist(planned, schema=tables.CHUNKS)
    assert audit(Results(store), find("ocr"), chunks) == unsure(6, planned=6)
    assert audit(Results(store), find("ocr"), chunks.slice(0, 2)) == unsure(6, planned=4, unexpected=2)
    none = PLANNED.empty_table()
    assert audit_slice(Results(store), "ocr", 1, [none]) == unsure(2, unexpected=2)
    assert audit_slice(Results(store), "ocr", 7, []) == TaskAudit()


CHECKED = st.none() | st.fixed_dictionaries(
    {
        "ok": st.none() | st.booleans(),
        "faults": st.lists(st.sampled_from(("cut", "text_layer"))),
        "cer": st.none() | st.just(0.0),
        "code_check": st.none()
        | st.fixed_dictionaries(
            {
                "outcome": st.sampled_from(("shown", "read", "no_browser", "timeout", None)),
                "missing_words": st.none() | st.just(0),
            }
        ),
    }
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("ok", "engine_failed")), CHECKED), max_size=8))
def test_a_row_has_the_same_state_alone_and_among_others(answered: list[tuple[str, Any]]) -> None:
    plain = [{"status": status, "verified": verified} for status, verified in answered]
    standard = tables.results_schema(pa.null(), [])
    schema = pa.schema([standard.field("status"), standard.field("verified")])
    found = states(pa.Table.from_pylist(plain, schema=schema)).to_pylist()
    assert found == [state_of(row) for row in plain]
    assert set(found) <= set(STATES)


def test_what_a_state_is() -> None:
    """Held to something that is known, to nothing, at fault, and without an answer."""
    for verified, state in (
        ({"ok": True, "cer": 0.01}, "ok"),
        ({"ok": True, "code_check": {"outcome": "shown", "score": 0.97}}, "unsure"),
        ({"ok": True, "code_check": {"outcome": "shown", "missing_words": 0}}, "ok"),
        ({"ok": True, "code_check": {"outcome": "no_browser"}}, "unsure"),
        ({"ok": True, "cer": None}, "unsure"),
        (None, "unsure"),
        ({"ok": False, "faults": ["cut"], "cer": 0.01}, "doubtful"),
    ):
        assert state_of({"status": "ok", "verified": verified}) == state
        assert state_of({"status": "invalid_output", "verified": verified}) == "failed"
