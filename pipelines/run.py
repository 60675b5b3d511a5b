"""Run a job to its end, or on from where it stopped: list, probe, run, check, audit. Knows no YAML, no terminal."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from operators.code_check.code_check import pending_code_checks
from operators.store.addresses import store_at
from operators.store.lease import Lease, LeaseGuard
from operators.store.part_log import PartLog
from operators.store.store import Store
from operators.store.view import View
from pipelines.first_rows import FirstRows, take_out
from pipelines.folder import JobFolder
from pipelines.growth import check_tasks, grow
from pipelines.job import Job
from pipelines.journal import Journal
from pipelines.one_driver import one_driver
from pipelines.plan import Stage, code_check_stages, stages
from pipelines.planning import Work, check_output, list_job, plan_work
from pipelines.progress import Progress, Several
from pipelines.rounds import Round, floors, manifests_of
from pipelines.summary.stored import stored
from pipelines.summary.summary import Summary, summarize
from schemas import tables
from schemas.errors import LEASE_LOST, AllFailed, EngineError, SightreadError, StoreLost

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Growth:
    """What a run may take in beside what is open. new: inputs that the job has not yet. changed: those that are other
    than they were. redo: tasks that are asked anew."""

    new: bool = True
    changed: bool = False
    redo: tuple[str, ...] = ()


def run(
    job: Job, *, limit: int | None = None, progress: Progress | None = None, growth: Growth | None = None
) -> Summary:
    """limit: stop after the chunks that hold the first `limit` rows still to do; the same call goes on.

    Raises SpecError or JobConflict before anything is started; a SightreadError of a stage when no engine can be had;
    StoreLost when the output takes nothing more, or no input can be had any more; AllFailed. What is committed by then
    stays, but for the rows that AllFailed tells of.
    """
    progress, growth = progress or Progress(), growth or Growth()
    store = store_at(job.output)
    folder, view = JobFolder(store), View(store)
    clock = Clock()
    with going_on() as committed, contextlib.ExitStack() as until_the_end:

        def only_driver() -> tuple[LeaseGuard, Journal]:
            folder.claim()
            lease = until_the_end.enter_context(lease_of(store, job, "sightread run"))
            guard = LeaseGuard(job.output, lease.token)
            return guard, until_the_end.enter_context(_journal(store, job, guard))

        begun = check_output(job, folder)
        if begun:
            check_tasks(job, folder.rounds(), view, growth.redo)
        # before anything is listed, which may take minutes; a new output is claimed after it, so that a spec with a
        # slip in its inputs can be corrected
        driver = only_driver() if begun else None
        rounds = folder.rounds() if begun else []
        if driver is not None:
            progress = Several(progress, driver[1])
        listing = list_job(job, progress) if growth.new or not rounds else None
        if driver is None:
            driver = only_driver()
            progress = Several(progress, driver[1])
            rounds = folder.rounds()
        guard, journal = driver
        redo = check_tasks(job, rounds, view, growth.redo)
        folder.write_spec(job.spec.model_dump(mode="json"))
        rounds = grow(job, folder, view, rounds, redo, listing, changed=growth.changed)
        clock.stop("list")
        summary = _execute(
            *(job, rounds, guard, committed, store, limit, progress, clock, None, journal),
            listed_now=listing is not None,
        )
        journal.finished(summary)
        return summary


@contextlib.contextmanager
def going_on() -> Iterator[_Committed]:
    """What is raised of a store that is lost says how much is committed by then."""
    committed = _Committed()
    try:
        yield committed
    except StoreLost as error:
        raise StoreLost(f"{error}; {committed}, and the same command again goes on") from None


def lease_of(store: Store, job: Job, what: str) -> Lease:
    """what: the command. The process ends when the lease is lost."""
    return one_driver(store, f"{what}, {job.spec.name}")


def execute(
    job: Job,
    rounds: Sequence[Round],
    guard: LeaseGuard,
    committed: _Committed,
    *,
    limit: int | None = None,
    progress: Progress,
    clock: Clock,
    only: Sequence[int] | None = None,
) -> Summary:
    """Do what is open of the rounds. only: of these alone. committed: learns how far it came. Raises as `run` does.

    What it does and what happens stands in the output meanwhile (pipelines/journal.py).
    """
    store = store_at(job.output)
    with _journal(store, job, guard) as journal:
        both = Several(progress, journal)
        summary = _execute(job, rounds, guard, committed, store, limit, both, clock, only, journal)
        journal.finished(summary)
    return summary


def _journal(store: Store, job: Job, guard: LeaseGuard) -> Journal:
    return Journal(store, guard, name=job.spec.name, workers=job.workers)


def _execute(
    job: Job,
    rounds: Sequence[Round],
    guard: LeaseGuard,
    committed: _Committed,
    store: Store,
    limit: int | None,
    progress: Progress,
    clock: Clock,
    only: Sequence[int] | None,
    journal: Journal,
    *,
    listed_now: bool = False,
) -> Summary:
    """listed_now: whether this very run listed."""
    folder, view, log = JobFolder(store), View(store), PartLog(store)
    listed = folder.read_listing()
    progress.listed(listed.get("inputs", 0), listed.get("skipped", {}))
    if listed_now and any(listed.get(key) for key in ("new", "changed", "gone")):
        progress.grown(listed["new"], listed["changed"], listed["gone"], asked_again=listed["asked_again"] > 0)

    work = plan_work(job, folder, view, rounds, limit, progress, only)
    committed.rows, committed.planned = work.committed_rows, work.planned_rows
    clock.stop("probe")
    # rows that are asked again are there until then, and are to be had all the same
    progress.planned(work.planned_rows, max(0, work.committed_rows - work.again_rows), work.pending.num_rows)

    first = FirstRows(round_.number for round_ in rounds if not round_.defines)
    again = partial(_asked_again, log, view, work, first, progress)
    # once as soon as it shows, and once when nobody can commit anything any more
    with _published(job, view, rounds, progress), again(), _Cluster(job, progress) as cluster, again():
        receipts = list(_answer(job, cluster, work, progress, first, committed, guard))
        clock.stop("run")
        checked_parts = list(_check_code(job, cluster, log, progress, guard))
        if checked_parts:
            clock.stop("code check")
    clock.stop("publish")

    summary = summarize(
        *(job, listed, folder.read_inputs(manifests_of(rounds)).num_rows, work.chunks, store, receipts, checked_parts),
        used=journal.used.summary(),
        lacks=work.lacks,
        limited=work.planned_rows + work.again_rows > work.committed_rows + work.pending_rows,
        seconds=clock.seconds,
    )
    summary.wall_s = clock.wall_s()
    try:
        idle = not (receipts or checked_parts)
        folder.write_summary(stored(summary, len(rounds), folder.read_summary if idle else None))
    except (OSError, StoreLost) as error:
        summary.uncommitted.append(f"the summary: {error}")
        summary.exit_code = 1
    _log_end(summary, receipts)
    return summary


def _answer(
    job: Job,
    cluster: _Cluster,
    work: Work,
    progress: Progress,
    first: FirstRows,
    committed: _Committed,
    guard: LeaseGuard,
) -> Iterator[dict[str, Any]]:
    """Put the pending chunks through decoders and engines: rows of RECEIPTS, as they come.

    Raises what makes more of them useless: no engine, a store that takes or gives nothing, rows that all fail alike.
    """
    try:
        if not work.pending.num_rows:
            return
        cluster.connect()
        progress.starting("the engine")
        may_stop = job.spec.limits.max_failed_fraction < 1
        plan = stages(job, work.pending_rows / work.pending.num_rows, guard)
        with contextlib.closing(cluster.execute(work.pending, plan)) as batches:
            for receipt in (receipt for batch in batches for receipt in batch.to_pylist()):
                if receipt["outcome"] in ("no_engine", "lost", "refused"):
                    progress.halted(receipt)
                if receipt["outcome"] == "no_engine":
                    raise EngineError("engine_error", receipt["message"])
                if receipt["outcome"] == "lost":
                    raise StoreLost(_lost(receipt["message"]))
                if receipt["outcome"] == "refused":
                    raise _refused(job, receipt["message"])
                _log.info("%s/%s: %d rows %s", *(receipt[key] for key in ("task", "chunk_id", "rows", "outcome")))
                if receipt["outcome"] != "failed":
                    committed.rows += receipt["rows"]
                progress.receipt(receipt)
                if may_stop:
                    first.receipt(receipt)
                # without messages, which a long job need not keep
                engine = receipt["engine"] and {**receipt["engine"], "death": None}
                yield {**receipt, "failures": None, "retries": None, "engine": engine}
    finally:
        progress.ended()


@contextlib.contextmanager
def _published(job: Job, view: View, rounds: Sequence[Round], progress: Progress) -> Iterator[None]:
    """What is committed is shown at the end, also of a run that gives up. Raises StoreLost."""
    names, since = [task.name for task in job.tasks], floors(rounds)
    try:
        yield
    except StoreLost:  # it takes nothing more
        raise
    except SightreadError:
        with contextlib.suppress(OSError, SightreadError):
            view.publish_all(names, since)
        raise
    progress.publishing()
    try:
        progress.published(view.publish_all(names, since))
    except OSError as error:
        raise _refused(job, str(error)) from error


@contextlib.contextmanager
def _asked_again(log: PartLog, view: View, work: Work, first: FirstRows, progress: Progress) -> Iterator[None]:
    """The rows that AllFailed tells of are open again."""
    try:
        yield
    except AllFailed:
        assert first.error is not None
        parts = take_out(log, view, work.parts(), first.error)
        _log.info("%d parts are taken out again", parts)
        progress.taken_out(parts)
        raise


def _check_code(
    job: Job, cluster: _Cluster, log: PartLog, progress: Progress, guard: LeaseGuard
) -> Iterator[dict[str, Any]]:
    """Check the code in committed parts: rows of CODE_CHECKED. Raises StoreLost."""
    if unchecked := list(pending_code_checks(log, job.tasks)):
        _log.info("%d parts hold code to be checked", len(unchecked))
        progress.starting("to try the code out")
        parts = pa.Table.from_pylist(unchecked, schema=tables.CODE_UNCHECKED)
        with contextlib.closing(cluster.execute(parts, code_check_stages(job, guard))) as batches:
            for checked in (checked for batch in batches for checked in batch.to_pylist()):
                if checked["lost"]:
                    raise StoreLost(checked["lost"])
                if checked["refused"]:
                    raise _refused(job, checked["message"])
                progress.checked(checked)
                yield checked


def _lost(message: str) -> str:
    return message if message == LEASE_LOST else f"inputs: {message}"


def _refused(job: Job, reason: str) -> StoreLost:
    """After the first refusal: answers that cannot be kept are not asked for."""
    return StoreLost(f"output: {job.output} takes nothing more: {reason}")


@dataclass
class _Committed:
    """Rows that are in their place, of those planned; None until that is known."""

    rows: int = 0
    planned: int | None = None

    def __str__(self) -> str:
        return (
            "what is committed stays" if self.planned is None else f"{self.rows} of {self.planned} rows are committed"
        )


class Clock:
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

    def execute(self, table: pa.Table, plan: list[Stage]) -> Generator[pa.Table]:
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
