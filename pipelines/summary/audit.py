"""Count what was planned against what is there: nothing missing, nothing twice. Knows nothing of a run.

The parts are asked, not the run's own counters: an audit that trusted those would repeat their mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from operators.store.results import Results
from pipelines.generations import Generations
from pipelines.requests import counts
from schemas.task import Task


@dataclass(frozen=True)
class TaskAudit:
    """Rows of one task. missing: planned units without a row, or with one of before they were planned anew; duplicate:
    rows beyond the first of their identity; unexpected: rows that no plan asked for. The last three are 0, or something
    is broken."""

    planned: int
    rows: int
    ok: int
    failed: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    duplicate: int = 0
    unexpected: int = 0

    @property
    def complete(self) -> bool:
        return self.missing == self.duplicate == self.unexpected == 0


def audit(results: Results, task: Task, chunks: pa.Table) -> TaskAudit:
    """Compare the chunk manifest (rows of CHUNKS) with the parts of one task. Raises JobConflict for a part that cannot
    be read."""
    with duckdb.connect() as db:
        db.register("expected", _expected(task, chunks))
        db.execute(
            """create temp table planned as
            select input_id, unit_index, unnest(range(requests))::int as request_index, generation from expected"""
        )
        names = ("input_id", "unit_index", "request_index", "generation", "status", "error")
        db.register("parts", results.rows(task.name, names))
        try:  # the parts are read once
            db.execute(
                """create temp table committed as
                select input_id, unit_index, request_index, generation, status, error.kind as kind from parts"""
            )
        except duckdb.InvalidInputException as error:
            raise results.unreadable(task.name, error) from error
        planned, rows, ok, missing, duplicate, unexpected = (
            _one(db, query)
            for query in (
                "select count(*) from planned",
                "select count(*) from committed",
                "select count(*) from committed where status = 'ok'",
                # a row of before its input was asked about anew stands there until the new one does
                """select count(*) from planned anti join committed
                   using (input_id, unit_index, request_index, generation)""",
                """select coalesce(sum(n - 1), 0)::bigint from
                   (select count(*) as n from committed group by input_id, unit_index, request_index)""",
                """select count(*) from committed anti join planned using (input_id, unit_index, request_index)
                   where generation >= coalesce((select max(generation) from planned
                                                 where planned.input_id = committed.input_id), 0)""",
            )
        )
        failed = dict(
            db.execute(
                """select coalesce(kind, 'unknown'), count(*) from committed where status <> 'ok'
                group by 1 order by 2 desc, 1"""
            ).fetchall()
        )
    return TaskAudit(planned, rows, ok, failed, missing, duplicate, unexpected)


def _expected(task: Task, chunks: pa.Table) -> pa.Table:
    """The units that the task takes, each with its number of requests."""
    generations = Generations.in_chunks(chunks)
    columns: dict[str, list[Any]] = {"input_id": [], "unit_index": [], "requests": [], "generation": []}
    for row in range(chunks.num_rows):
        if task.name not in chunks.column("tasks")[row].as_py():
            continue
        units = chunks.column("units")[row].values
        names = ("input_id", "unit_index", "generation", "attempt")
        plain_columns = (units.field(name).to_pylist() for name in names)
        plain = zip(*plain_columns, counts(task, chunks, row), generations.current(task.name, units), strict=True)
        for input_id, unit_index, generation, attempt, requests, is_current in plain:
            # what was asked again is planned once, and what was planned anew as it was planned last
            if attempt == 1 and is_current:
                columns["input_id"].append(input_id)
                columns["unit_index"].append(unit_index)
                columns["requests"].append(requests)
                columns["generation"].append(generation)
    types = {"input_id": pa.string(), "unit_index": pa.int32(), "requests": pa.int64(), "generation": pa.int32()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def _one(db: duckdb.DuckDBPyConnection, query: str) -> int:
    row = db.execute(query).fetchone()
    assert row is not None
    return int(row[0])
