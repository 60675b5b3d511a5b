"""Run a job to its end, or on from where it stopped: list, probe, run, check, audit. Knows no YAML, no terminal."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from operators.code_check.code_check import pending_code_checks
from operators.store.addresses import in_process, store_at
from operators.store.results import Results
from pipelines.folder import JobFolder
from pipelines.job import Job
from pipelines.plan import Stage, code_check_stages, stages
from pipelines.planning import Work, list_once, plan_work
from pipelines.progress import Progress
from pipelines.summary.summary import Summary, summarize
from schemas import tables
from schemas.errors import EngineError, SpecError

_log = logging.getLogger(__name__)


def run(job: Job, *, limit: int | None = None, progress: Progress | None = None) -> Summary:
    """limit: stop after the chunks that hold the first `limit` rows still to do; the same call goes on.

    Raises SpecError or JobConflict before anything is started; a SightreadError of a stage when no engine
    can be had. What is committed by then stays.
    """
    progress = progress or Progress()
    clock = _Clock()
    store = store_at(job.output)
    if in_process(job.output):
        raise SpecError(f"output: {job.output!r}: a run has many processes, and this is the memory of one")
    folder, results = JobFolder(store), Results(store)
    folder.claim(job.identity, job.spec.model_dump(mode="json"))

    listing = list_once(job, folder)
    clock.stop("list")
    progress.listed(listing.inputs.num_rows, dict(listing.skipped))

    work = plan_work(job, folder, results, listing.inputs, limit, progress)
    clock.stop("probe")
    progress.planned(work.planned_rows, work.committed_rows, work.pending.num_rows)

    with _Cluster(job, progress) as cluster:
        receipts = list(_answer(job, cluster, work, progress))
        clock.stop("run")
        checked_parts = list(_check_code(job, cluster, results, progress))
        if checked_parts:
            clock.stop("code check")

    summary = summarize(
        *(job, listing, work.chunks, results, receipts, checked_parts),
        lacks=work.lacks,
        limited=work.planned_rows > work.committed_rows + work.pending_rows,
        seconds=clock.seconds,
    )
    summary.wall_s = clock.wall_s()
    folder.write_summary(asdict(summary))
    _log_end(summary, receipts)
    return summary


def _answer(job: Job, cluster: _Cluster, work: Work, progress: Progress) -> Iterator[dict[str, Any]]:
    """Put the pending chunks through decoders and engines: rows of RECEIPTS, as they come."""
    try:
        if not work.pending.num_rows:
            return
        cluster.connect()
        progress.starting("the engine")
        for batch in cluster.execute(work.pending, stages(job, work.pending_rows / work.pending.num_rows)):
            for receipt in batch.to_pylist():
                if receipt["outcome"] == "no_engine":
                    raise EngineError("engine_error", receipt["message"])
                _log.info("%s/%s: %d rows %s", *(receipt[key] for key in ("task", "chunk_id", "rows", "outcome")))
                progress.receipt(receipt)
                yield receipt
    finally:
        progress.ended()


def _check_code(job: Job, cluster: _Cluster, results: Results, progress: Progress) -> Iterator[dict[str, Any]]:
    """Check the code in committed parts: rows of CODE_CHECKED."""
    if unchecked := list(pending_code_checks(results, job.tasks)):
        _log.info("%d parts hold code to be checked", len(unchecked))
        progress.starting("to try the code out")
        parts = pa.Table.from_pylist(unchecked, schema=tables.CODE_UNCHECKED)
        for batch in cluster.execute(parts, code_check_stages(job)):
            yield from batch.to_pylist()


class _Clock:
    """Seconds from one stop to the next, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = self._last = time.monotonic()

    def stop(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._last = now - self._last, now

    def wall_s(self) -> float:
        return time.monotonic() - self._started


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


def _log_end(summary: Summary, receipts: list[dict[str, Any]]) -> None:
    outcomes = Counter(receipt["outcome"] for receipt in receipts)
    _log.info("ended after %.1f s: %s", summary.wall_s, dict(outcomes) or "nothing to do")
    if summary.engine is not None and summary.engine.deaths:
        _log.info("engines died and were started anew %d times", summary.engine.deaths)
    for part in summary.uncommitted:
        _log.info("not committed: %s", part)
