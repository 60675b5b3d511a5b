"""Run a job to its end, or on from where it stopped: list, probe, run, audit. Knows no YAML, no terminal."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from operators.infer.infer import to_ipc
from operators.media.probe import Probe
from operators.render.code_check import pending_code_checks
from pipelines.audit import TaskAudit, audit
from pipelines.chunking import cut, with_full_inputs
from pipelines.folder import SLICE, JobFolder
from pipelines.job import Job
from pipelines.listing import Listing, check_values, list_inputs
from pipelines.plan import Stage, code_check_stages, stages
from pipelines.progress import Progress
from pipelines.requests import counts, expected_rows
from pipelines.utilization import UtilizationSummary, summarize_utilization
from schemas import tables
from schemas.errors import EngineError


@dataclass
class Summary:
    """How a run ended. `tasks` comes from the audit of all parts; the rest tells of this run alone."""

    name: str
    output: str
    inputs: int
    skipped: dict[str, int]
    unmatched: dict[str, int]  # units by kind that no task of the job takes
    tasks: dict[str, TaskAudit]
    complete: bool  # every planned row is there (false after --limit, or when parts could not be written)
    failed_fraction: float
    exit_code: int
    wall_s: float
    new_rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # list, probe, run; decode and infer summed over units
    prompt_tokens: int = 0
    output_tokens: int = 0
    uncommitted: list[str] = field(default_factory=list)  # what the disk refused
    code_checks: dict[str, int] = field(default_factory=dict)  # what came of code that was checked in this run
    engine: UtilizationSummary | None = None  # how busy it was; None where it was asked nothing


def run(job: Job, *, limit: int | None = None, progress: Progress | None = None) -> Summary:
    """limit: stop after the chunks that hold the first `limit` rows still to do; the same call goes on.

    Raises SpecError or JobConflict before anything is started; a SightreadError of a stage when no engine
    can be had. What is committed by then stays.
    """
    progress = progress or Progress()
    started = time.monotonic()
    folder = JobFolder(job.output)
    seconds: dict[str, float] = {}
    folder.claim(job.identity, job.spec.model_dump(mode="json"))

    listing = _list(job, folder)
    seconds["list"] = time.monotonic() - started
    progress.listed(listing.inputs.num_rows, dict(listing.skipped))

    mark = time.monotonic()
    chunks, pending, committed = _pending(job, folder, listing, limit, progress)
    seconds["probe"] = time.monotonic() - mark
    planned, open_rows = expected_rows(job.tasks, chunks), expected_rows(job.tasks, pending)
    progress.planned(planned, committed, pending.num_rows)

    mark = time.monotonic()
    receipts: list[dict[str, Any]] = []
    checked_parts: list[dict[str, Any]] = []
    with _Cluster(job, progress) as cluster:
        try:
            if pending.num_rows:
                for receipt in _execute(job, cluster, pending, open_rows / pending.num_rows, progress):
                    receipts.append(receipt)
                    progress.receipt(receipt)
        finally:
            progress.ended()
        seconds["run"] = time.monotonic() - mark

        mark = time.monotonic()
        if unchecked := list(pending_code_checks(job.output, job.tasks)):
            progress.starting("to try the code out")
            parts = pa.Table.from_pylist(unchecked, schema=tables.CODE_UNCHECKED)
            for batch in cluster.execute(parts, code_check_stages(job)):
                checked_parts += batch.to_pylist()
            seconds["code check"] = time.monotonic() - mark

    summary = _summarise(job, chunks, listing, receipts, checked_parts, limited=planned > committed + open_rows)
    summary.seconds = {**seconds, **_stage_seconds(receipts)}
    summary.wall_s = time.monotonic() - started
    folder.write_summary(asdict(summary))
    return summary


def listed(job: Job) -> Listing:
    """The inputs of a job as they are now. Raises SpecError, also for prompts that take a value nobody has."""
    texts = any("text" in task.unit_kinds for task in job.tasks)
    listing = list_inputs(job.spec.inputs, job.output, texts=texts)
    check_values(job.tasks, listing.inputs)
    return listing


def _list(job: Job, folder: JobFolder) -> Listing:
    """The input manifest: written once, then what the job is about, whatever the folders hold by then."""
    if not folder.has_inputs():
        listing = listed(job)
        folder.write_inputs(listing.inputs, dict(listing.skipped))
    inputs, skipped = folder.read_inputs()
    return Listing(inputs, Counter(skipped))


def _pending(
    job: Job, folder: JobFolder, listing: Listing, limit: int | None, progress: Progress
) -> tuple[pa.Table, pa.Table, int]:
    """All chunks planned so far, those of them to do now, and the number of rows committed before."""
    done = folder.committed([task.name for task in job.tasks])
    slices = math.ceil(listing.inputs.num_rows / SLICE)
    known: list[pa.Table] = []
    todo: list[pa.Table] = []
    open_rows = committed = 0
    probe: Probe | None = None
    try:
        for index in range(slices):
            if not folder.chunk_file(index).exists():
                probe = probe or Probe(job.decode, workers=job.workers)
                inputs = listing.inputs.slice(index * SLICE, SLICE)
                folder.write_chunks(index, chunk_table(inputs, probe, job))
            chunks = folder.read_chunks(index)
            known.append(chunks)
            progress.probed(min((index + 1) * SLICE, listing.inputs.num_rows), listing.inputs.num_rows)
            for row in range(chunks.num_rows):
                chunk_id, tasks = chunks.column("chunk_id")[row].as_py(), chunks.column("tasks")[row].as_py()
                owed = {task.name: sum(counts(task, chunks, row)) for task in job.tasks if task.name in tasks}
                left = [task for task in tasks if (chunk_id, task) not in done]
                committed += sum(owed[task] for task in tasks if task not in left)
                if left and (limit is None or open_rows < limit):
                    open_rows += sum(owed[task] for task in left)
                    todo.append(_with_tasks(chunks.slice(row, 1), left))
    finally:
        if probe is not None:
            probe.close()
    empty = tables.CHUNKS.empty_table()
    return pa.concat_tables([empty, *known]), pa.concat_tables([empty, *todo]), committed


def outlook(job: Job) -> tuple[Listing, pa.Table]:
    """What a run would list and cut: the listing and rows of CHUNKS. Writes nothing."""
    folder = JobFolder(job.output)
    listing = _list(job, folder) if folder.has_inputs() else listed(job)
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
    passthrough_names = inputs.schema.names[len(tables.INPUTS) :]
    place = {input_id: row for row, input_id in enumerate(inputs.column("input_id").to_pylist())}
    passthrough = inputs.select(passthrough_names)
    rows = [
        {
            **chunk,
            "passthrough": to_ipc(_passthrough(passthrough, [place[unit["input_id"]] for unit in chunk["units"]])),
        }
        for chunk in cut(
            with_full_inputs(units.to_pylist(), job.tasks),
            job.tasks,
            max_units=job.spec.limits.chunk_units,
            max_bytes=job.spec.limits.chunk_mb << 20,
        )
    ]
    return pa.Table.from_pylist(rows, schema=tables.CHUNKS)


def _passthrough(passthrough: pa.Table, rows: list[int]) -> pa.Table:
    return passthrough.take(pa.array(rows, pa.int64())) if passthrough.num_columns else passthrough


def _with_tasks(chunk: pa.Table, tasks: list[str]) -> pa.Table:
    place = chunk.schema.get_field_index("tasks")
    return chunk.set_column(place, tables.CHUNKS.field("tasks"), [pa.array([tasks], tables.CHUNKS.field("tasks").type)])


def unmatched(chunks: pa.Table) -> dict[str, int]:
    """Units by kind that no task of the job takes: their chunks name no task."""
    kinds = Counter(
        unit["unit_kind"]
        for tasks, units in zip(chunks.column("tasks").to_pylist(), chunks.column("units"), strict=True)
        if not tasks
        for unit in units.as_py()
    )
    return dict(kinds)


class _Cluster:
    """Ray, from the first plan that is run until the end of the block; not at all where none is."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._workers = job.workers
        self._progress = progress
        self._connected = False

    def __enter__(self) -> _Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connected:
            from pipelines import ray_data

            ray_data.disconnect()

    def connect(self) -> None:
        if not self._connected:
            from pipelines import ray_data  # seconds, and not for `plan`

            self._progress.starting("Ray")
            self._connected = True
            ray_data.connect(self._workers)

    def execute(self, table: pa.Table, plan: list[Stage]) -> Iterator[pa.Table]:
        from pipelines import ray_data

        self.connect()
        yield from ray_data.execute(table, plan)


def _execute(
    job: Job, cluster: _Cluster, pending: pa.Table, requests_per_chunk: float, progress: Progress
) -> Iterator[dict[str, Any]]:
    cluster.connect()
    progress.starting("the engine")
    for batch in cluster.execute(pending, stages(job, requests_per_chunk)):
        for receipt in batch.to_pylist():
            if receipt["outcome"] == "no_engine":
                raise EngineError("engine_error", receipt["message"])
            yield receipt


def _summarise(
    job: Job,
    chunks: pa.Table,
    listing: Listing,
    receipts: list[dict[str, Any]],
    checked_parts: list[dict[str, Any]],
    *,
    limited: bool,
) -> Summary:
    audits = {task.name: audit(job.output, task, chunks) for task in job.tasks}
    rows = sum(each.rows for each in audits.values())
    failed = sum(each.rows - each.ok for each in audits.values())
    fraction = failed / rows if rows else 0.0
    sound = all(each.duplicate == each.unexpected == 0 for each in audits.values())
    complete = all(each.complete for each in audits.values())
    uncommitted = [
        f"{each['task']}/{each['chunk_id']}: {each['message']}"
        for each in (*(each for each in receipts if each["outcome"] == "failed"), *checked_parts)
        if each["message"] is not None
    ]
    if not sound or uncommitted or not (complete or limited):
        exit_code = 1
    else:
        exit_code = 3 if fraction > job.spec.limits.max_failed_fraction else 0
    return Summary(
        name=job.spec.name,
        output=str(job.output),
        inputs=listing.inputs.num_rows,
        skipped=dict(listing.skipped),
        unmatched=unmatched(chunks),
        tasks=audits,
        complete=complete,
        failed_fraction=fraction,
        exit_code=exit_code,
        wall_s=0.0,
        new_rows=sum(each["rows"] for each in receipts if each["outcome"] == "committed"),
        prompt_tokens=sum(each["prompt_tokens"] for each in receipts),
        output_tokens=sum(each["output_tokens"] for each in receipts),
        uncommitted=uncommitted,
        code_checks=dict(Counter(outcome for each in checked_parts for outcome in each["outcomes"])),
        engine=summarize_utilization(receipts, workers=job.workers),
    )


def _stage_seconds(receipts: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds summed over units. A chunk is decoded once for all its tasks."""
    decode = {each["chunk_id"]: each["decode_s"] for each in receipts}
    return {"decode": sum(decode.values()), "infer": sum(each["infer_s"] for each in receipts)}
