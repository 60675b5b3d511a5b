"""Which units, requests and inputs a retry is about, and the rounds that it becomes: rows that were chosen are held
against what was planned. Starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from operators.store.chunk_id import ChunkId
from pipelines.folder import JobFolder
from pipelines.job import Job
from pipelines.listing import LARGEST_PIECE, PIECE
from pipelines.manifests import Manifests
from pipelines.planning import cut_table
from pipelines.rounds import Round, now, who
from schemas import tables

Unit: TypeAlias = tuple[str, int]
"""input_id, unit_index."""
Rows: TypeAlias = dict[Unit, dict[int, int]]
"""Of a task, in order: request_index -> generation, by unit."""


@dataclass(frozen=True)
class Again:
    """A unit that is asked again, and where it was planned: a row of the manifests, and an index in it."""

    chunk: int
    index: int
    attempt: int
    requests: tuple[int, ...]


@dataclass
class Plan:
    """units, inputs: by the tasks that ask for them. inputs: (generation, input_id) of those that are opened anew.
    rows: of both that were chosen. unlisted: rows of inputs that must be listed anew. under_way: rows that another
    round asks for."""

    units: dict[frozenset[str], list[Again]] = field(default_factory=dict)
    inputs: dict[frozenset[str], list[tuple[int, str]]] = field(default_factory=dict)
    rows: int = 0
    unlisted: int = 0
    under_way: int = 0


@dataclass
class _Planned:
    """chunk, index: as in Again; pending: request_index that an earlier retry is still to ask."""

    chunk: int = -1
    index: int = -1
    attempts: int = 1
    generation: int = -1
    pending: set[int] = field(default_factory=set)


def plan_again(manifests: Manifests, chosen: Mapping[str, Rows], limit: int | None = None) -> Plan:
    """chosen: by task. limit: of rows."""
    plan = Plan()
    units: dict[Again, set[str]] = {}
    inputs: dict[tuple[int, str], set[str]] = {}
    for task, rows in chosen.items():
        planned = _planned(manifests, task, rows)
        for unit, requests in rows.items():
            there = planned.get(unit)
            if there is None or (task, unit[0]) in manifests.opened:
                plan.under_way += len(requests)
                continue
            wanted = sorted(
                request
                for request, asked in requests.items()
                if asked == there.generation and request not in there.pending
            )
            plan.under_way += len(requests) - len(wanted)
            wanted = wanted if limit is None else wanted[: max(0, limit - plan.rows)]
            if not wanted:
                continue
            values = manifests.chunks.column("units")[there.chunk].values
            error = values.field("error")[there.index].as_py()
            if error is None:
                again = Again(there.chunk, there.index, there.attempts + 1, tuple(wanted))
                units.setdefault(again, set()).add(task)
            elif error["stage"] == "probe" and values.field("unit_count")[there.index].as_py() == 1:
                inputs.setdefault((there.generation, unit[0]), set()).add(task)
            else:  # it was no input when it was listed, or is the part of a file that is not there
                plan.unlisted += len(wanted)
                continue
            plan.rows += len(wanted)
    plan.units, plan.inputs = _by_tasks(units), _by_tasks(inputs)
    return plan


def _by_tasks(tasks_of: Mapping[Any, Iterable[str]]) -> dict[frozenset[str], list[Any]]:
    by_tasks: dict[frozenset[str], list[Any]] = {}
    for thing, tasks in tasks_of.items():
        by_tasks.setdefault(frozenset(tasks), []).append(thing)
    return by_tasks


def _planned(manifests: Manifests, task: str, rows: Rows) -> dict[Unit, _Planned]:
    """Where the units of rows were planned, in the generation that is asked for now."""
    planned: dict[Unit, _Planned] = {}
    chunks = manifests.chunks
    for chunk, (chunk_id, names) in enumerate(
        zip(chunks.column("chunk_id").to_pylist(), chunks.column("tasks").to_pylist(), strict=True)
    ):
        if task not in names:
            continue
        units = chunks.column("units")[chunk].values
        keys = ("input_id", "unit_index", "generation", "attempt")
        plain = zip(*(units.field(key).to_pylist() for key in keys), strict=True)
        current = manifests.generations.current(task, units)
        for index, (input_id, unit_index, generation, attempt) in enumerate(plain):
            unit = input_id, unit_index
            if unit not in rows or not current[index]:
                continue
            there = planned.setdefault(unit, _Planned(generation=generation))
            there.attempts = max(there.attempts, attempt)
            if attempt == 1:
                there.chunk, there.index = chunk, index
            elif (task, chunk_id) not in manifests.committed:
                there.pending |= set(units.field("requests")[index].as_py() or ())
    return {unit: there for unit, there in planned.items() if there.chunk >= 0}


def add_rounds(job: Job, folder: JobFolder, rounds: Sequence[Round], manifests: Manifests, plan: Plan) -> list[Round]:
    """The rounds with those that the plan becomes, which are written: their manifests first. Raises StoreLost,
    JobConflict."""
    grown = list(rounds)
    spec = job.spec.model_dump(mode="json")

    def add(tasks: Iterable[str], manifests: tuple[int, ...] = (), chunk_files: int = 0, **counts: int) -> None:
        defined = {name: job.definitions[name] for name in sorted(tasks)}
        round_ = Round(len(grown), "retry", manifests, defined, now(), who(), spec, counts, chunk_files)
        folder.add_round(round_)
        grown.append(round_)

    for names, inputs in plan.inputs.items():
        folder.drop(len(grown))
        table = _manifest(folder, rounds, inputs)
        for piece, start in enumerate(range(0, table.num_rows, LARGEST_PIECE)):
            folder.write_piece(len(grown), piece, table.slice(start, LARGEST_PIECE))
        add(names, manifests=(len(grown),), inputs=len(inputs))
    for names, units in plan.units.items():
        folder.drop(len(grown))
        files = 0
        for files, table in enumerate(_cut(job, manifests, names, units, len(grown)), start=1):
            folder.write_chunks(len(grown), files - 1, table)
        add(names, chunk_files=files, rows=sum(len(unit.requests) for unit in units) * len(names))
    return grown


def _manifest(folder: JobFolder, rounds: Sequence[Round], inputs: Sequence[tuple[int, str]]) -> pa.Table:
    """Rows of the input manifests of these rounds."""
    pieces = []
    for generation, group in groupby(sorted(inputs), key=lambda pair: pair[0]):
        there = folder.read_inputs(rounds[generation].manifests)
        ids = pa.array([input_id for _, input_id in group], pa.string())
        pieces.append(there.filter(pc.is_in(there.column("input_id"), ids)))
    return pa.concat_tables(pieces, promote_options="default")


def _cut(
    job: Job, manifests: Manifests, names: frozenset[str], units: Sequence[Again], round_: int
) -> Iterator[pa.Table]:
    """Rows of CHUNKS, for PIECE inputs at a time."""
    tasks = [task for task in job.tasks if task.name in names]
    by_input: dict[str, list[tuple[Again, dict[str, Any]]]] = {}
    slice_of: dict[str, int] = {}
    for unit in units:
        planned = manifests.chunks.column("units")[unit.chunk].values[unit.index].as_py()
        place = ChunkId.of(manifests.chunks.column("chunk_id")[unit.chunk].as_py())
        slice_of[planned["input_id"]] = place.slice
        again = planned | {"attempt": unit.attempt, "requests": list(unit.requests)}
        by_input.setdefault(planned["input_id"], []).append((unit, again))
    ids = sorted(by_input, key=lambda input_id: slice_of[input_id])
    for index, start in enumerate(range(0, len(ids), PIECE)):
        some = [pair for input_id in ids[start : start + PIECE] for pair in by_input[input_id]]
        yield cut_table((again for _, again in some), _inputs(manifests, some, slice_of), job, tasks, round_, index)


def _inputs(
    manifests: Manifests, units: Sequence[tuple[Again, dict[str, Any]]], slice_of: Mapping[str, int]
) -> pa.Table:
    """Rows as of an input manifest, with what came along when the units were planned."""
    first = {planned["input_id"]: (unit, planned) for unit, planned in reversed(units)}
    pieces = []
    for chunk, group in groupby(sorted(first.values(), key=lambda pair: pair[0].chunk), key=lambda pair: pair[0].chunk):
        some = list(group)
        columns = pa.ipc.open_stream(manifests.chunks.column("passthrough")[chunk].as_buffer()).read_all()
        same = [
            {key: planned.get(key) for key in ("input_id", "input_uri")} | {"slice": slice_of[planned["input_id"]]}
            for _, planned in some
        ]
        inputs = pa.Table.from_pylist(same, schema=tables.INPUTS)
        if columns.num_columns:
            columns = columns.take(pa.array([unit.index for unit, _ in some], pa.int64()))
        for name in columns.schema.names:
            inputs = inputs.append_column(columns.schema.field(name), columns.column(name))
        pieces.append(inputs)
    return pa.concat_tables(pieces, promote_options="default")
