"""The pieces of a job's rounds, planned one at a time: cut into chunks, and held against what is committed. Starts
nothing but decoders that look at files; knows nothing of Ray or engines.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from operators.infer.infer import to_ipc
from operators.media.probe import Probe
from operators.store.chunk_id import ChunkId
from operators.store.view import View
from pipelines.folder import JobFolder
from pipelines.generations import Generations, inputs_of
from pipelines.ids import ids_of
from pipelines.job import Job
from pipelines.planning import chunk_table, rows_at
from pipelines.progress import Progress
from pipelines.requests import counts
from pipelines.rounds import Round, manifests_of
from pipelines.stored_job import stored_jobs
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import JobConflict, SpecError
from schemas.spec import JobSpec

_log = logging.getLogger(__name__)


@dataclass
class Figures:
    """Of chunks that were planned. planned_rows: that they will have. again_rows: those of the pending that take the
    place of rows. lacks: of the decoders that probed (tables.LACKS)."""

    pieces: int = 0
    inputs: int = 0
    planned_rows: int = 0
    committed_rows: int = 0
    pending_rows: int = 0
    again_rows: int = 0
    pending_chunks: int = 0
    lacks: set[str] = field(default_factory=set)

    def add(self, plan: Mapping[str, Any]) -> None:
        """plan: a value of tables.PLAN."""
        self.pieces += 1
        for key in _COUNTED:
            setattr(self, key, getattr(self, key) + plan[key])
        self.lacks |= {*(plan["lacks"] or ())}


_COUNTED = ("inputs", "planned_rows", "committed_rows", "pending_rows", "again_rows", "pending_chunks")


@dataclass(frozen=True)
class Planned:
    """A piece. chunks: rows of CHUNKS, all that were planned of it for tasks of the job. pending: those to do now, each
    with its tasks that are not committed. plan: a value of tables.PLAN."""

    chunks: pa.Table
    pending: pa.Table
    plan: dict[str, Any]

    def queued(self) -> list[pa.Table]:
        """The pending chunks, one row of QUEUED_CHUNKS each; the first brings the plan along."""
        if not self.pending.num_rows:
            return [alone(self.plan)]
        plans = [self.plan, *[None] * (self.pending.num_rows - 1)]
        return [
            self.pending.slice(row, 1).append_column(tables.PLAN, pa.array([plan], tables.PLAN.type))
            for row, plan in enumerate(plans)
        ]


def alone(plan: Mapping[str, Any]) -> pa.Table:
    """A plan without a chunk: a row of QUEUED_CHUNKS."""
    nothing = {"chunk_id": "", "tasks": [], "passthrough": to_ipc(pa.table({})), "units": [], "plan": plan}
    return pa.Table.from_pylist([nothing], schema=tables.QUEUED_CHUNKS)


@dataclass(frozen=True)
class Work:
    """All pieces of a job, as they were planned."""

    planned: Sequence[Planned]

    @property
    def chunks(self) -> pa.Table:
        return pa.concat_tables([tables.CHUNKS.empty_table(), *(piece.chunks for piece in self.planned)])

    @property
    def pending(self) -> pa.Table:
        return pa.concat_tables([tables.CHUNKS.empty_table(), *(piece.pending for piece in self.planned)])

    def of_run(self) -> pa.Table:
        """What is to be done, and what no task takes."""
        chunks = self.chunks
        is_left = [not tasks for tasks in chunks.column("tasks").to_pylist()]
        return pa.concat_tables([self.pending, chunks.filter(pa.array(is_left, pa.bool_()))])

    @property
    def figures(self) -> Figures:
        figures = Figures()
        for piece in self.planned:
            figures.add(piece.plan)
        return figures


@dataclass(frozen=True)
class Before:
    """What an output was when a run began, the same for all that plan of it. committed: by task, chunks. generations:
    which of an input's counts."""

    committed: Mapping[str, Collection[str]] = field(default_factory=dict)
    generations: Generations = field(default_factory=Generations)

    @classmethod
    def of(cls, job: Job, folder: JobFolder, rounds: Sequence[Round]) -> Before:
        """Raises JobConflict for a file that is not as it was written."""
        view, names = View(folder.store), [task.name for task in job.tasks]
        return cls({name: view.committed(name) for name in names}, Generations.of(folder, rounds, names))


class Planner:
    """Probes the pieces of rounds, cuts them into chunks and holds these against what is committed. Keeps decoders
    until it is closed; for one thread.

    Of the same output before the run it gives the same, as often as it is asked.

    open_rounds: those whose chunks may be pending; None: all. limit: pending rows from which no chunk is added.
    probers: decoders at once; default: as many as the job has.
    """

    def __init__(
        self,
        job: Job,
        folder: JobFolder,
        rounds: Sequence[Round],
        before: Before,
        *,
        open_rounds: Sequence[int] | None = None,
        limit: int | None = None,
        probers: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._job = job
        self._before = before
        self._folder = folder
        self._probers = probers or job.workers
        self._tasks = {task.name: task for task in job.tasks}
        self._open_rounds = open_rounds
        self._limit = limit
        self._progress = progress or Progress()
        self._planned = {round_.number: self._folder.planned(round_.number) for round_ in rounds}
        self._probes: list[tuple[DecodeSettings, Probe]] = []
        self._jobs: dict[int, Job] = {}
        self._pending_rows = 0

    def is_planned(self, round_: Round, index: int) -> bool:
        """Whether nothing must be looked into any more."""
        return round_.chunk_files > 0 or index in self._planned.get(round_.number, ())

    def plan(self, round_: Round, index: int) -> Planned | None:
        """A piece of a round; None for what another job's run is to finish. Writes its chunk manifest where it is not
        planned yet. Raises SpecError, StoreLost, JobConflict."""
        inputs = 0
        if self.is_planned(round_, index):
            chunks = self._folder.read_chunks(round_.number, index)
        elif not round_.defines and not _finishes(self._job, round_, self._open_rounds):
            return None
        else:
            some = inputs_of(self._folder, round_, index)
            inputs = some.num_rows
            planned = self._jobs.setdefault(round_.number, self._job_of(round_))
            tasks = [task for task in planned.tasks if task.name in round_.tasks]
            chunks = chunk_table(some, self._probe_of(planned), planned, tasks, round_.number, index)
            self._folder.write_chunks(round_.number, index, chunks)
            chunks = self._folder.read_chunks(round_.number, index)  # who was first has the say
        return self._against_committed(round_, index, chunks, inputs)

    def close(self) -> None:
        for _, probe in self._probes:
            probe.close()
        self._probes.clear()

    def _against_committed(self, round_: Round, index: int, every: pa.Table, inputs: int) -> Planned:
        chunks = _of_tasks(every, self._tasks, with_unmatched=round_.kind in ("first", "inputs"))
        is_open = self._open_rounds is None or round_.number in self._open_rounds
        pending: list[pa.Table] = []
        plan = dict.fromkeys(_COUNTED, 0) | {"inputs": inputs}
        for row in range(chunks.num_rows):
            chunk_id, names = chunks.column("chunk_id")[row].as_py(), chunks.column("tasks")[row].as_py()
            units = chunks.column("units")[row].values
            again = bool(names) and max(units.field("attempt").to_pylist()) > 1
            left: dict[str, int] = {}
            asked = [False] * len(units)
            for name in names:
                current = self._before.generations.current(name, units)
                expected = counts(self._tasks[name], chunks, row)
                rows = sum(number for number, is_current in zip(expected, current, strict=True) if is_current)
                done = chunk_id in self._before.committed.get(name, ())
                if not again:
                    plan["planned_rows"] += rows
                    plan["committed_rows"] += rows * done
                if rows and not done:
                    left[name] = rows
                    asked = [one or other for one, other in zip(asked, current, strict=True)]
            if left and is_open and (self._limit is None or self._pending_rows < self._limit):
                self._pending_rows += sum(left.values())
                plan["pending_rows"] += sum(left.values())
                plan["again_rows"] += sum(left.values()) * again
                plan["pending_chunks"] += 1
                pending.append(_of_units(_with_tasks(chunks.slice(row, 1), [list(left)]), asked))
        lacks = {lack for _, probe in self._probes for lack in probe.lacks}
        return Planned(
            chunks,
            pa.concat_tables([tables.CHUNKS.empty_table(), *pending]),
            {**plan, "round": round_.number, "piece": index, "lacks": sorted(lacks)},
        )

    def _job_of(self, round_: Round) -> Job:
        if not round_.tasks.keys() - self._job.definitions.keys():
            return self._job
        return _job_of(round_, self._job.output) if round_.defines else _retried(round_, self._job)

    def _probe_of(self, planned: Job) -> Probe:
        for decode, probe in self._probes:
            if decode == planned.decode:
                return probe
        self._probes.append((planned.decode, Probe(planned.decode, workers=self._probers, fetching=self._progress)))
        return self._probes[-1][1]


def places(folder: JobFolder, rounds: Iterable[Round]) -> Iterator[tuple[Round, int]]:
    """The pieces of rounds that are there, in order."""
    for round_ in rounds:
        for index in range(folder.chunk_files(round_)):
            yield round_, index


def planned_slices(folder: JobFolder, rounds: Iterable[Round]) -> Iterator[tuple[int, pa.Table]]:
    """By slice of the results, the rows of CHUNKS that are planned of it. Raises JobConflict."""
    places_of: dict[int, list[tuple[int, int]]] = {}
    for round_ in rounds:
        for index in sorted(folder.planned(round_.number)):
            for slice_ in {*_slices(folder.read_chunks(round_.number, index, ["chunk_id"]))}:
                places_of.setdefault(slice_, []).append((round_.number, index))
    for slice_, places_ in sorted(places_of.items()):
        pieces = [folder.read_chunks(*place) for place in places_]
        mine = [piece.filter(pa.array([one == slice_ for one in _slices(piece)], pa.bool_())) for piece in pieces]
        yield slice_, pa.concat_tables(mine)


def _slices(chunks: pa.Table) -> list[int]:
    return [ChunkId.of(chunk_id).slice for chunk_id in chunks.column("chunk_id").to_pylist()]


def inputs_in(folder: JobFolder, rounds: Iterable[Round]) -> int:
    """How many inputs were ever asked about. Raises JobConflict."""
    ids = [ids_of(folder.read_ids(manifest)) for manifest in manifests_of(rounds)]
    return sum(map(len, ids)) if len(ids) < 2 else len(np.unique(np.concatenate(ids)))


def plan_work(
    job: Job,
    folder: JobFolder,
    rounds: Sequence[Round],
    limit: int | None,
    progress: Progress,
    open_rounds: Sequence[int] | None = None,
) -> Work:
    """All of it at once, as `Planner` does it, and raises what that does."""
    planner = Planner(
        job, folder, rounds, Before.of(job, folder, rounds), open_rounds=open_rounds, limit=limit, progress=progress
    )
    try:
        pieces = [planner.plan(*place) for place in places(folder, rounds)]
    finally:
        planner.close()
    return Work([piece for piece in pieces if piece is not None])


def _of_tasks(chunks: pa.Table, tasks: Collection[str], *, with_unmatched: bool) -> pa.Table:
    """The chunks of some tasks, each with those. with_unmatched: also those that no task takes."""
    before = chunks.column("tasks").to_pylist()
    mine = [[name for name in names if name in tasks] for names in before]
    kept = [bool(now) or (with_unmatched and not names) for now, names in zip(mine, before, strict=True)]
    return _with_tasks(chunks, mine).filter(pa.array(kept, pa.bool_()))


def _of_units(chunk: pa.Table, asked: Sequence[bool]) -> pa.Table:
    """A row of CHUNKS without the units that a later generation asks for."""
    if all(asked):
        return chunk
    (row,) = chunk.to_pylist()
    units = [unit for unit, is_asked in zip(row["units"], asked, strict=True) if is_asked]
    passthrough = pa.ipc.open_stream(row["passthrough"]).read_all()
    kept = rows_at(passthrough, [index for index, is_asked in enumerate(asked) if is_asked])
    return pa.Table.from_pylist([{**row, "units": units, "passthrough": to_ipc(kept)}], schema=tables.CHUNKS)


def _job_of(round_: Round, output: str) -> Job:
    """The job that began a round, with the tasks that it asks about: it was stopped while it planned, and one with
    other tasks goes on. Raises SpecError."""
    try:
        spec = JobSpec.model_validate(round_.spec)
        (job,) = stored_jobs([round_], dict.fromkeys(round_.tasks, spec), output)
    except (ValueError, JobConflict, SpecError) as error:
        names = ", ".join(sorted(round_.tasks))
        raise SpecError(
            f"tasks: an earlier run was stopped while it planned {names}, and {output}/_job/rounds/ does not say any "
            f"more how that goes on ({error}); run its spec first"
        ) from error
    return job


def _retried(retry: Round, job: Job) -> Job:
    """The same of a retry that another engine may have been named for. Where that cannot be any more, the job: what it
    does not ask about failed before, and stays as it is."""
    try:
        spec = JobSpec.model_validate(retry.spec)
        specs = dict.fromkeys(retry.tasks, spec)
        (planned,) = stored_jobs([replace(retry, kind="inputs")], specs, job.output, spec.engine)
    except (ValueError, JobConflict, SpecError) as error:
        _log.info("a retry of %s is finished as far as this spec goes: %s", ", ".join(sorted(retry.tasks)), error)
        return job
    return planned


def _finishes(job: Job, retry: Round, open_rounds: Sequence[int] | None) -> bool:
    """Whether a run of the job plans what a retry left: one of its tasks, and not of another retry."""
    asked = open_rounds is None or retry.number in open_rounds
    return asked and not retry.tasks.keys().isdisjoint(task.name for task in job.tasks)


def _with_tasks(chunks: pa.Table, names: list[list[str]]) -> pa.Table:
    place = chunks.schema.get_field_index("tasks")
    return chunks.set_column(place, tables.CHUNKS.field("tasks"), [pa.array(names, tables.CHUNKS.field("tasks").type)])
