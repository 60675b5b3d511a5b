"""What a job has to do: rounds for what is new, inputs probed and cut into chunks, and which of these are not committed
yet. Starts nothing but decoders that look at files; knows nothing of Ray or engines.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from operators.infer.infer import to_ipc
from operators.media.probe import Probe
from operators.store.addresses import in_process, store_at
from operators.store.chunk_id import ChunkId
from operators.store.inputs.cache import checked_cache
from operators.store.view import View
from pipelines.chunking import Place, cut, with_full_inputs
from pipelines.folder import SLICE, JobFolder
from pipelines.growth import check_tasks, compare
from pipelines.job import Job
from pipelines.listing import Listing, check_values, list_inputs
from pipelines.progress import Progress
from pipelines.requests import counts
from pipelines.rounds import Round, manifests_of
from pipelines.slices import Slices
from pipelines.stored_job import stored_jobs
from schemas import tables
from schemas.address import is_remote
from schemas.decode import DecodeSettings
from schemas.errors import JobConflict, SpecError
from schemas.spec import JobSpec
from schemas.task import Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """chunks: rows of CHUNKS, all that were ever planned for tasks of the job. pending: those to do now, each with its
    tasks that are not committed. planned_rows: that all chunks will have. again_rows: those of the pending that take
    the place of rows. lacks: of the decoders that probed (tables.LACKS)."""

    chunks: pa.Table
    pending: pa.Table
    planned_rows: int
    committed_rows: int
    pending_rows: int
    again_rows: int = 0
    lacks: frozenset[str] = frozenset()

    def parts(self) -> Iterator[tuple[str, str]]:
        """(task, chunk_id) of all that is pending."""
        for chunk_id, names in zip(
            *(self.pending.column(key).to_pylist() for key in ("chunk_id", "tasks")), strict=True
        ):
            yield from ((name, chunk_id) for name in names)


def check_output(job: Job, folder: JobFolder) -> bool:
    """Whether a job was begun there. Raises SpecError or JobConflict for what a run refuses, as far as it shows
    without writing."""
    if in_process(job.output):
        raise SpecError(f"output: {job.output!r}: a run has many processes, and this is the memory of one")
    return folder.check()


def list_job(job: Job, progress: Progress | None = None) -> Listing:
    """The inputs of a job as they are now. Raises SpecError, also for prompts that take a value nobody has, and where
    what lies elsewhere cannot be kept here."""
    texts = any("text" in task.unit_kinds for task in job.tasks)
    listing = list_inputs(
        job.spec.inputs, job.output, types=job.spec.types, texts=texts, settings=job.decode.fetch, progress=progress
    )
    check_values(job.tasks, listing.inputs)
    if any(is_remote(address) for address in listing.inputs.column("input_uri").to_pylist()):
        checked_cache()
    return listing


def plan_work(
    job: Job,
    folder: JobFolder,
    view: View,
    rounds: Sequence[Round],
    limit: int | None,
    progress: Progress,
    open_rounds: Sequence[int] | None = None,
) -> Work:
    """Complete the chunk manifests of the rounds and hold them against what is committed.

    limit: pending rows from which no chunk is added. open_rounds: those whose chunks may be pending; None: all.
    """
    tasks = {task.name: task for task in job.tasks}
    committed = {(name, chunk_id) for name in tasks for chunk_id in view.committed(name)}
    pieces: list[pa.Table] = []
    lacks: set[str] = set()
    for round_, chunks in _chunk_slices(job, folder, rounds, progress, lacks, open_rounds):
        pieces.append(_of_tasks(chunks, tasks, with_unmatched=round_.kind in ("first", "inputs")))
    everything = pa.concat_tables([tables.CHUNKS.empty_table(), *pieces])
    latest = latest_generations(everything)
    pending: list[pa.Table] = []
    planned_rows = committed_rows = pending_rows = again_rows = 0
    for row in range(everything.num_rows):
        chunk_id, names = everything.column("chunk_id")[row].as_py(), everything.column("tasks")[row].as_py()
        units = everything.column("units")[row].values
        again = bool(names) and max(units.field("attempt").to_pylist()) > 1
        left: dict[str, int] = {}
        asked = [False] * len(units)
        for name in names:
            current = _current(name, units, latest)
            expected = counts(tasks[name], everything, row)
            rows = sum(number for number, is_current in zip(expected, current, strict=True) if is_current)
            done = (name, chunk_id) in committed
            if not again:
                planned_rows += rows
                committed_rows += rows * done
            if rows and not done:
                left[name] = rows
                asked = [one or other for one, other in zip(asked, current, strict=True)]
        is_open = open_rounds is None or ChunkId.of(chunk_id).round in open_rounds
        if left and is_open and (limit is None or pending_rows < limit):
            pending_rows += sum(left.values())
            again_rows += sum(left.values()) * again
            pending.append(_of_units(_with_tasks(everything.slice(row, 1), [list(left)]), asked))
    work = Work(
        everything,
        pa.concat_tables([tables.CHUNKS.empty_table(), *pending]),
        planned_rows=planned_rows,
        committed_rows=committed_rows,
        pending_rows=pending_rows,
        again_rows=again_rows,
        lacks=frozenset(lacks),
    )
    _log.info(
        "%d chunks of %d rows are planned, %d rows are committed; %d chunks to do",
        *(work.chunks.num_rows, planned_rows, committed_rows, work.pending.num_rows),
    )
    return work


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
    kept = _take(passthrough, [index for index, is_asked in enumerate(asked) if is_asked])
    return pa.Table.from_pylist([{**row, "units": units, "passthrough": to_ipc(kept)}], schema=tables.CHUNKS)


def latest_generations(chunks: pa.Table) -> dict[tuple[str, str], int]:
    """(task, input_id) -> the last generation that asks for its units; what an earlier one planned gives way."""
    latest: dict[tuple[str, str], int] = {}
    for names, units in zip(chunks.column("tasks").to_pylist(), chunks.column("units"), strict=True):
        if not names:
            continue
        some = set(zip(*(units.values.field(key).to_pylist() for key in ("input_id", "generation")), strict=True))
        for name in names:
            for input_id, generation in some:
                latest[name, input_id] = max(latest.get((name, input_id), -1), generation)
    return latest


def _current(task: str, units: pa.StructArray, latest: Mapping[tuple[str, str], int]) -> list[bool]:
    ids, generations = (units.field(key).to_pylist() for key in ("input_id", "generation"))
    return [latest[task, input_id] == generation for input_id, generation in zip(ids, generations, strict=True)]


def _chunk_slices(
    job: Job,
    folder: JobFolder,
    rounds: Sequence[Round],
    progress: Progress,
    lacks: set[str],
    open_rounds: Sequence[int] | None,
) -> Iterator[tuple[Round, pa.Table]]:
    """The chunk manifests, in order; what is not in them yet is probed and written first, but for retries that others
    are to finish. lacks: takes those of the decoders."""
    probes: list[tuple[DecodeSettings, Probe]] = []
    slices = Slices()

    def probe_of(planned: Job) -> Probe:
        for decode, probe in probes:
            if decode == planned.decode:
                return probe
        probes.append((planned.decode, Probe(planned.decode, workers=job.workers, fetching=progress)))
        return probes[-1][1]

    try:
        for round_ in rounds:
            planned = job
            inputs = folder.read_inputs(round_.manifests)
            for index in range(round_.chunk_files or math.ceil(inputs.num_rows / SLICE)):
                if round_.chunk_files == 0 and not folder.has_chunks(round_.number, index):
                    if not round_.defines and not _finishes(job, round_, open_rounds):
                        continue
                    if planned is job and round_.tasks.keys() - job.definitions.keys():
                        planned = _job_of(round_, job.output) if round_.defines else _retried(round_, job)
                    tasks = [task for task in planned.tasks if task.name in round_.tasks]
                    some = inputs.slice(index * SLICE, SLICE)
                    chunks = chunk_table(some, probe_of(planned), planned, tasks, slices, round_.number)
                    folder.write_chunks(round_.number, index, chunks)
                    chunks = folder.read_chunks(round_.number, index)  # who was first has the say
                else:
                    chunks = folder.read_chunks(round_.number, index)
                    _learn(slices, chunks)
                if round_.manifests:
                    progress.probed(min((index + 1) * SLICE, inputs.num_rows), inputs.num_rows)
                yield round_, chunks
    finally:
        for _, probe in probes:
            lacks |= probe.lacks
            probe.close()


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


def _learn(slices: Slices, chunks: pa.Table) -> None:
    for chunk_id, units in zip(chunks.column("chunk_id").to_pylist(), chunks.column("units"), strict=True):
        place = ChunkId.of(chunk_id)
        for input_id, kind in zip(
            *(units.values.field(key).to_pylist() for key in ("input_id", "unit_kind")), strict=True
        ):
            slices.cut(input_id, place.slice, kind, place.round)


def outlook(job: Job) -> tuple[Listing, pa.Table]:
    """What a run would list and cut of all that is there: the listing and rows of CHUNKS. Writes nothing. Raises what a
    run would."""
    store = store_at(job.output)
    folder = JobFolder(store)
    rounds = folder.rounds() if check_output(job, folder) else []
    check_tasks(job, rounds, View(store), redo=())
    listing = list_job(job)
    compare([folder.read_inputs([number]) for number in manifests_of(rounds)], listing.inputs)
    probe = Probe(job.decode, workers=job.workers)
    slices = Slices()
    try:
        pieces = [
            chunk_table(listing.inputs.slice(start, SLICE), probe, job, job.tasks, slices)
            for start in range(0, listing.inputs.num_rows, SLICE)
        ]
    finally:
        probe.close()
    return listing, pa.concat_tables([tables.CHUNKS.empty_table(), *pieces])


def chunk_table(
    inputs: pa.Table,
    probe: Probe,
    job: Job,
    tasks: Sequence[Task] | None = None,
    slices: Slices | None = None,
    round_: int = 0,
) -> pa.Table:
    """Probe a slice of an input manifest and cut it for some tasks (those of the job): rows of CHUNKS."""
    tasks, slices = job.tasks if tasks is None else tasks, slices or Slices()
    units = probe(inputs.select(tables.INPUTS.names)).to_pylist()
    planned = [{**unit, "generation": round_, "attempt": 1} for unit in with_full_inputs(units, tasks)]
    return cut_table(planned, inputs, job, tasks, slices, round_)


def cut_table(
    units: Iterable[dict[str, Any]],
    inputs: pa.Table,
    job: Job,
    tasks: Sequence[Task],
    slices: Slices,
    round_: int,
) -> pa.Table:
    """Rows of CHUNKS from planned units, those of an input beside each other. inputs: their rows of the manifest, whose
    other columns come along."""
    passthrough = inputs.select(inputs.schema.names[len(tables.INPUTS) :])
    place = {input_id: row for row, input_id in enumerate(inputs.column("input_id").to_pylist())}
    grouped = [(input_id, list(group)) for input_id, group in groupby(units, _input_id)]
    by_input = [(slices.of(input_id, (unit["unit_kind"] for unit in some), round_), some) for input_id, some in grouped]
    rows = [
        {**chunk, "passthrough": to_ipc(_take(passthrough, [place[unit["input_id"]] for unit in chunk["units"]]))}
        for slice_, group in groupby(by_input, lambda pair: pair[0])
        for chunk in cut(
            (unit for _, some in group for unit in some),
            tasks,
            max_units=job.spec.limits.chunk_units,
            max_bytes=job.spec.limits.chunk_mb << 20,
            place=Place(slice_, round_),
        )
    ]
    return pa.Table.from_pylist(rows, schema=tables.CHUNKS)


def _input_id(unit: Mapping[str, Any]) -> str:
    return str(unit["input_id"])


def _take(table: pa.Table, rows: list[int]) -> pa.Table:
    return table.take(pa.array(rows, pa.int64())) if table.num_columns else table


def _with_tasks(chunks: pa.Table, names: list[list[str]]) -> pa.Table:
    place = chunks.schema.get_field_index("tasks")
    return chunks.set_column(place, tables.CHUNKS.field("tasks"), [pa.array(names, tables.CHUNKS.field("tasks").type)])


def unmatched(chunks: pa.Table, tasks: Sequence[Task]) -> dict[str, int]:
    """Units by kind that no task of the job takes: their chunks name no task."""
    taken = {kind for task in tasks for kind in task.unit_kinds}
    kinds = Counter(
        unit["unit_kind"]
        for tasks, units in zip(chunks.column("tasks").to_pylist(), chunks.column("units"), strict=True)
        if not tasks
        for unit in units.as_py()
        if unit["unit_kind"] not in taken
    )
    return dict(kinds)
