"""Count what was planned against what is there: nothing missing, nothing twice. Knows nothing of a run.

The files of results are asked, not the run's own counters: an audit that trusted those would repeat their mistakes.
They are audited one by one, and the counts added up: an input's rows are all in one slice. What lies in another than
where it was planned is unexpected there, and missing here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.store.chunk_id import ChunkId
from operators.store.results import Results
from pipelines.requests import counts
from schemas.state import STATES, faults, states
from schemas.task import Task

PLANNED = pa.schema(
    [
        ("input_id", pa.string()),
        ("unit_index", pa.int32()),
        ("requests", pa.int64()),
        ("generation", pa.int32()),
    ]
)
"""Units that a task takes, each once, as the last generation that asks for its input planned it; and how many rows are
expected of each."""
_COLUMNS = ("input_id", "unit_index", "request_index", "generation", "status", "error", "verified")
LONGEST = 300
"""Characters of a message."""
_ROW = ["input_id", "unit_index", "request_index"]


@dataclass(frozen=True)
class TaskAudit:
    """Rows of one task. ok: those with an answer; states: rows by how far they can be believed (schemas/state.py);
    faults: doubtful rows by what is wrong with them, in some by several things; failed: rows by kind; messages: of the
    first row that failed so. missing: planned units without a row, or with one of before they were planned anew;
    duplicate: rows beyond the first of their identity; unexpected: rows that no plan asked for. The last three are 0,
    or something is broken."""

    planned: int = 0
    rows: int = 0
    ok: int = 0
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    faults: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    duplicate: int = 0
    unexpected: int = 0

    @property
    def complete(self) -> bool:
        return self.missing == self.duplicate == self.unexpected == 0

    def __add__(self, other: TaskAudit) -> TaskAudit:
        """Of other slices of the same task."""
        return TaskAudit(
            *(self.planned + other.planned, self.rows + other.rows, self.ok + other.ok),
            states={state: self.states[state] + other.states[state] for state in STATES},
            faults=_most_first(Counter(self.faults) + Counter(other.faults)),
            failed=_most_first(Counter(self.failed) + Counter(other.failed)),
            messages={**other.messages, **self.messages},
            missing=self.missing + other.missing,
            duplicate=self.duplicate + other.duplicate,
            unexpected=self.unexpected + other.unexpected,
        )


def audit(results: Results, task: Task, chunks: pa.Table) -> TaskAudit:
    """Compare the chunk manifest (rows of CHUNKS) with the results of one task. Raises JobConflict for a file that
    cannot be read."""
    planned = _expected(task, chunks)
    slices = sorted({*results.slices(task.name), *planned})
    none = PLANNED.empty_table()
    return reduce(
        add, (audit_slice(results, task.name, slice_, [planned.get(slice_, none)]) for slice_ in slices), TaskAudit()
    )


def expected(task: Task, chunks: pa.Table) -> list[pa.Table]:
    """Of PLANNED, from rows of CHUNKS that are of one slice."""
    return [*_expected(task, chunks).values()]


def audit_slice(results: Results, task: str, slice_: int, planned: Iterable[pa.Table]) -> TaskAudit:
    """Of one slice of the results of a task. planned: tables of PLANNED, of all units whose rows belong there. Raises
    JobConflict for a file that cannot be read, StoreLost."""
    return compare(results.slice(task, slice_, _COLUMNS), pa.concat_tables([PLANNED.empty_table(), *planned]))


def compare(rows: pa.Table, planned: pa.Table) -> TaskAudit:
    """rows: some columns of the results; planned: of PLANNED. Pure."""
    asked = _requests(planned)
    is_ok = pc.equal(rows.column("status"), "ok")
    errors = rows.filter(pc.invert(is_ok)).column("error").combine_chunks()
    kinds = pc.struct_field(errors, "kind").fill_null("unknown")
    failed = Counter(kinds.to_pylist())
    unplanned = rows.select([*_ROW, "generation"]).join(asked.select(_ROW), _ROW, join_type="left anti")
    # a row of before its input was asked about anew stands there until the new one does
    unplanned = unplanned.join(_latest(planned), "input_id")
    is_late = pc.greater_equal(unplanned.column("generation"), unplanned.column("generation_max").fill_null(0))
    return TaskAudit(
        planned=asked.num_rows,
        rows=rows.num_rows,
        ok=pc.sum(is_ok).as_py() or 0,
        states=dict.fromkeys(STATES, 0) | Counter(states(rows).to_pylist()),
        faults=_most_first(faults(rows)),
        failed=_most_first(failed),
        messages={kind: _message(errors[kinds.index(kind).as_py()].as_py()) for kind in failed},
        missing=asked.join(rows.select(asked.column_names), asked.column_names, join_type="left anti").num_rows,
        duplicate=rows.num_rows - rows.select(_ROW).group_by(_ROW).aggregate([]).num_rows,
        unexpected=pc.sum(is_late).as_py() or 0,
    )


def _most_first(counted: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def _message(error: Mapping[str, Any] | None) -> str:
    return ((error or {}).get("message") or "")[:LONGEST]


def _expected(task: Task, chunks: pa.Table) -> dict[int, pa.Table]:
    """Of PLANNED, by slice, from rows of CHUNKS."""
    lists = chunks.column("tasks").combine_chunks()
    mine = pc.list_parent_indices(lists).filter(pc.equal(lists.flatten(), task.name))
    chunks = chunks.take(mine)
    slices = [ChunkId.of(chunk_id).slice for chunk_id in chunks.column("chunk_id").to_pylist()]
    order = np.argsort(np.array(slices, np.int64), kind="stable")
    chunks = chunks.take(order)
    units = chunks.column("units").combine_chunks()
    # what was asked again is planned once, and what was planned anew as it was planned last
    fields = {name: units.flatten().field(name) for name in ("input_id", "unit_index", "generation", "attempt")}
    planned = pa.table(fields | {"requests": _counts(task, chunks), "chunk": pc.list_parent_indices(units)})
    planned = planned.join(_latest(planned), "input_id")
    is_planned = pc.and_(pc.equal(planned["attempt"], 1), pc.equal(planned["generation"], planned["generation_max"]))
    planned = planned.filter(is_planned).sort_by("chunk")
    slice_of = np.array(slices, np.int64)[order][planned.column("chunk").to_numpy()]
    starts = np.flatnonzero(np.diff(slice_of, prepend=-1)).tolist()
    table = planned.select(PLANNED.names).cast(PLANNED)
    return {
        int(slice_of[start]): table.slice(start, end - start)
        for start, end in zip(starts, [*starts[1:], len(slice_of)], strict=bool(starts))
    }


def _counts(task: Task, chunks: pa.Table) -> pa.Array:
    """For every unit of rows of CHUNKS, in order."""
    if task.required_parameters():
        return pa.array([count for row in range(chunks.num_rows) for count in counts(task, chunks, row)], pa.int64())
    only = chunks.column("units").combine_chunks().flatten().field("requests")
    return pc.list_value_length(only).fill_null(1).cast(pa.int64())


def _latest(planned: pa.Table) -> pa.Table:
    """input_id and generation_max: the last that asks for it."""
    return planned.group_by("input_id").aggregate([("generation", "max")])


def _requests(planned: pa.Table) -> pa.Table:
    """A row for every one that is expected."""
    numbers = planned.column("requests").to_numpy()
    places = np.repeat(np.arange(planned.num_rows), numbers)
    starts = np.repeat(np.cumsum(numbers) - numbers, numbers)
    index = pa.array(np.arange(len(places)) - starts, pa.int32())
    return planned.select(["input_id", "unit_index", "generation"]).take(places).append_column("request_index", index)
