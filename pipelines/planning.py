"""What a job has to do: inputs listed, probed, cut into chunks, and which of them are not committed yet. Starts nothing
but decoders that look at files; knows nothing of Ray or engines.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from operators.infer.infer import to_ipc
from operators.media.probe import Probe
from operators.store.addresses import in_process, store_at
from operators.store.inputs.cache import checked_cache
from operators.store.results import Results
from pipelines.chunking import cut, with_full_inputs
from pipelines.folder import SLICE, JobFolder
from pipelines.job import Job
from pipelines.listing import Listing, check_values, list_inputs
from pipelines.progress import Progress
from pipelines.requests import counts
from schemas import tables
from schemas.address import is_remote
from schemas.errors import SpecError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """chunks: rows of CHUNKS, all that are planned. pending: those to do now, each with its tasks that are not
    committed. planned_rows: that all chunks will have. lacks: of the decoders that probed (tables.LACKS)."""

    chunks: pa.Table
    pending: pa.Table
    planned_rows: int
    committed_rows: int
    pending_rows: int
    lacks: frozenset[str] = frozenset()

    def parts(self) -> Iterator[tuple[str, str]]:
        """(task, chunk_id) of all that is pending."""
        for chunk_id, names in zip(
            *(self.pending.column(key).to_pylist() for key in ("chunk_id", "tasks")), strict=True
        ):
            yield from ((name, chunk_id) for name in names)


def check_output(job: Job, folder: JobFolder) -> bool:
    """Whether the job was begun there. Raises SpecError or JobConflict for what a run refuses, as far as it shows
    without writing."""
    if in_process(job.output):
        raise SpecError(f"output: {job.output!r}: a run has many processes, and this is the memory of one")
    return folder.check(job.identity)


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


def list_once(job: Job, folder: JobFolder, progress: Progress | None = None, listing: Listing | None = None) -> Listing:
    """The input manifest: written once, then what the job is about, whatever its inputs' folders hold by then. listing:
    of just now, where there is one."""
    if not folder.has_inputs():
        listing = listing or list_job(job, progress)
        folder.write_inputs(listing.inputs, dict(listing.skipped))
    inputs, skipped = folder.read_inputs()
    _log.info("%d inputs are listed, left out: %s", inputs.num_rows, skipped or "none")
    return Listing(inputs, Counter(skipped))


def plan_work(
    job: Job, folder: JobFolder, results: Results, inputs: pa.Table, limit: int | None, progress: Progress
) -> Work:
    """Complete the chunk manifest and hold it against the parts. limit: pending rows from which no chunk is added."""
    committed = {(chunk_id, task.name) for task in job.tasks for chunk_id in results.parts(task.name)}
    slices: list[pa.Table] = []
    pending: list[pa.Table] = []
    lacks: set[str] = set()
    planned_rows = committed_rows = pending_rows = 0
    for chunks in _chunk_slices(job, folder, inputs, progress, lacks):
        slices.append(chunks)
        for row in range(chunks.num_rows):
            chunk_id, names = chunks.column("chunk_id")[row].as_py(), chunks.column("tasks")[row].as_py()
            expected = {task.name: sum(counts(task, chunks, row)) for task in job.tasks if task.name in names}
            left = [name for name in names if (chunk_id, name) not in committed]
            planned_rows += sum(expected.values())
            committed_rows += sum(expected[name] for name in names if name not in left)
            if left and (limit is None or pending_rows < limit):
                pending_rows += sum(expected[name] for name in left)
                pending.append(_with_tasks(chunks.slice(row, 1), left))
    empty = tables.CHUNKS.empty_table()
    work = Work(
        pa.concat_tables([empty, *slices]),
        pa.concat_tables([empty, *pending]),
        planned_rows=planned_rows,
        committed_rows=committed_rows,
        pending_rows=pending_rows,
        lacks=frozenset(lacks),
    )
    _log.info(
        "%d chunks of %d rows are planned, %d rows are committed; %d chunks to do",
        *(work.chunks.num_rows, planned_rows, committed_rows, work.pending.num_rows),
    )
    return work


def _chunk_slices(
    job: Job, folder: JobFolder, inputs: pa.Table, progress: Progress, lacks: set[str]
) -> Iterator[pa.Table]:
    """The chunk manifest, slice by slice; what is not in it yet is probed and written first. lacks: takes those of the
    decoders."""
    probe: Probe | None = None
    try:
        for index in range(math.ceil(inputs.num_rows / SLICE)):
            if not folder.has_chunks(index):
                probe = probe or Probe(job.decode, workers=job.workers, fetching=progress)
                folder.write_chunks(index, chunk_table(inputs.slice(index * SLICE, SLICE), probe, job))
            progress.probed(min((index + 1) * SLICE, inputs.num_rows), inputs.num_rows)
            yield folder.read_chunks(index)
    finally:
        if probe is not None:
            lacks |= probe.lacks
            probe.close()


def outlook(job: Job) -> tuple[Listing, pa.Table]:
    """What a run would list and cut: the listing and rows of CHUNKS. Writes nothing. Raises what a run would."""
    folder = JobFolder(store_at(job.output))
    check_output(job, folder)
    listing = list_once(job, folder) if folder.has_inputs() else list_job(job)
    probe = Probe(job.decode, workers=job.workers)
    try:
        slices = [
            chunk_table(listing.inputs.slice(start, SLICE), probe, job)
            for start in range(0, listing.inputs.num_rows, SLICE)
        ]
    finally:
        probe.close()
    return listing, pa.concat_tables([tables.CHUNKS.empty_table(), *slices])


def chunk_table(inputs: pa.Table, probe: Probe, job: Job) -> pa.Table:
    """Probe a slice of the input manifest and cut it: rows of CHUNKS."""
    units = probe(inputs.select(tables.INPUTS.names))
    passthrough = inputs.select(inputs.schema.names[len(tables.INPUTS) :])
    place = {input_id: row for row, input_id in enumerate(inputs.column("input_id").to_pylist())}
    rows = [
        {**chunk, "passthrough": to_ipc(_take(passthrough, [place[unit["input_id"]] for unit in chunk["units"]]))}
        for chunk in cut(
            with_full_inputs(units.to_pylist(), job.tasks),
            job.tasks,
            max_units=job.spec.limits.chunk_units,
            max_bytes=job.spec.limits.chunk_mb << 20,
        )
    ]
    return pa.Table.from_pylist(rows, schema=tables.CHUNKS)


def _take(table: pa.Table, rows: list[int]) -> pa.Table:
    return table.take(pa.array(rows, pa.int64())) if table.num_columns else table


def _with_tasks(chunk: pa.Table, names: list[str]) -> pa.Table:
    place = chunk.schema.get_field_index("tasks")
    return chunk.set_column(place, tables.CHUNKS.field("tasks"), [pa.array([names], tables.CHUNKS.field("tasks").type)])


def unmatched(chunks: pa.Table) -> dict[str, int]:
    """Units by kind that no task of the job takes: their chunks name no task."""
    kinds = Counter(
        unit["unit_kind"]
        for tasks, units in zip(chunks.column("tasks").to_pylist(), chunks.column("units"), strict=True)
        if not tasks
        for unit in units.as_py()
    )
    return dict(kinds)
