"""What a job is asked to do: its inputs as they are now, and how these are cut into chunks. Starts nothing but decoders
that look at files; knows nothing of Ray or engines.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from operators.infer.infer import to_ipc
from operators.media.probe import Probe
from operators.store.addresses import in_process
from operators.store.inputs.cache import checked_cache
from pipelines.chunking import Place, cut, with_full_inputs
from pipelines.folder import JobFolder
from pipelines.job import Job
from pipelines.listing import PIECE, Lister, Listing, check_values, together
from pipelines.progress import Progress
from schemas import tables
from schemas.address import is_remote
from schemas.errors import SpecError
from schemas.task import Task

_log = logging.getLogger(__name__)


def check_output(job: Job, folder: JobFolder) -> bool:
    """Whether a job was begun there. Raises SpecError or JobConflict for what a run refuses, as far as it shows
    without writing."""
    if in_process(job.output):
        raise SpecError(f"output: {job.output!r}: a run has many processes, and this is the memory of one")
    return folder.check()


def lister_of(job: Job, progress: Progress | None = None) -> Lister:
    """The inputs of a job as they are now."""
    texts = any("text" in task.unit_kinds for task in job.tasks)
    return Lister(
        *(job.spec.inputs, job.output),
        types=job.spec.types,
        texts=texts,
        settings=job.decode.fetch,
        progress=progress,
        wanted={
            name
            for task in job.tasks
            for name in task.required_parameters()
            if name not in {*task.parameters, *task.defaults}
        },
    )


def list_job(job: Job, progress: Progress | None = None) -> Listing:
    """The inputs of a job as they are now, all at once. Raises SpecError, also for prompts that take a value nobody
    has, and where what lies elsewhere cannot be kept here."""
    lister = lister_of(job, progress)
    listing = together(list(lister), lister.skipped)
    check_listed(job, listing.inputs)
    return listing


def check_listed(job: Job, inputs: pa.Table) -> None:
    """Raises SpecError for prompts that take a value that no input has, and where what lies elsewhere cannot be kept
    here. inputs: the first of a listing."""
    check_values(job.tasks, inputs)
    if any(is_remote(address) for address in inputs.column("input_uri").to_pylist()):
        checked_cache()


def chunk_table(
    inputs: pa.Table,
    probe: Probe,
    job: Job,
    tasks: Sequence[Task] | None = None,
    round_: int = 0,
    index: int = 0,
) -> pa.Table:
    """Probe a piece of an input manifest and cut it for some tasks (those of the job): rows of CHUNKS."""
    tasks = job.tasks if tasks is None else tasks
    units = probe(inputs.select(tables.INPUTS.names)).to_pylist()
    planned = [{**unit, "generation": round_, "attempt": 1} for unit in with_full_inputs(units, tasks)]
    return cut_table(planned, inputs, job, tasks, round_, index)


def cut_table(
    units: Iterable[dict[str, Any]], inputs: pa.Table, job: Job, tasks: Sequence[Task], round_: int, index: int = 0
) -> pa.Table:
    """Rows of CHUNKS from planned units, those of an input and of a slice beside each other. inputs: their rows of the
    manifest, whose other columns come along. index: of their piece in its round."""
    passthrough = inputs.select(inputs.schema.names[len(tables.INPUTS) :])
    ids, slices = (inputs.column(key).to_pylist() for key in ("input_id", "slice"))
    row_of = {input_id: row for row, input_id in enumerate(ids)}
    rows: list[dict[str, Any]] = []
    for slice_, group in groupby(units, key=lambda unit: slices[row_of[unit["input_id"]]] or 0):
        chunks = cut(
            group,
            tasks,
            max_units=job.spec.limits.chunk_units,
            max_bytes=job.spec.limits.chunk_mb << 20,
            place=Place(slice_, round_),
            before=index * PIECE,
        )
        for chunk in chunks:
            some = rows_at(passthrough, [row_of[unit["input_id"]] for unit in chunk["units"]])
            rows.append({**chunk, "passthrough": to_ipc(some)})
    return pa.Table.from_pylist(rows, schema=tables.CHUNKS)


def rows_at(table: pa.Table, rows: list[int]) -> pa.Table:
    return table.take(pa.array(rows, pa.int64())) if table.num_columns else table


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
