"""Run a job to its end, or on from where it stopped: list, probe, run, check, audit. Knows no YAML, no terminal."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

from operators.code_check.code_check import pending_code_checks
from operators.store.addresses import store_at
from operators.store.lease import Lease, LeaseGuard
from operators.store.part_log import PartLog
from operators.store.store import Store
from operators.store.view import View
from pipelines.chunking import FEW
from pipelines.first_rows import FirstRows, take_out
from pipelines.folder import JobFolder
from pipelines.growth import Intake, begin, check_tasks
from pipelines.job import Job
from pipelines.journal import Journal
from pipelines.listing_ahead import ListingAhead
from pipelines.one_driver import one_driver
from pipelines.plan import Stage, code_check_stages, stages
from pipelines.planning import (
    Before,
    Figures,
    Planner,
    check_listed,
    check_output,
    chunks_in,
    inputs_in,
    lister_of,
    places,
)
from pipelines.progress import Progress, Several
from pipelines.rounds import Round, floors
from pipelines.source import Source
from pipelines.summary.stored import stored
from pipelines.summary.summary import Summary, summarize
from schemas import tables
from schemas.errors import LEASE_LOST, AllFailed, EngineError, JobConflict, SightreadError, StoreLost

_log = logging.getLogger(__name__)

MOST_QUEUED = 64
"""Chunks that the driver plans by itself; more come from readers in the cluster."""


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

    Raises SpecError or JobConflict, before anything is started as far as it shows by then; a SightreadError of a stage
    when no engine can be had; StoreLost when the output takes nothing more, or no input can be had any more; AllFailed.
    What is committed by then stays, but for the rows that AllFailed tells of.
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
        # before anything is listed, which may take minutes; a new output is claimed when something is, so that a spec
        # with a slip in its inputs can be corrected
        driver = only_driver() if begun else None
        rounds = folder.rounds() if begun else []
        if driver is not None:
            progress = Several(progress, driver[1])
        lister = lister_of(job, progress) if growth.new or not rounds else None
        pieces = iter(lister) if lister is not None else iter(())
        head = list(islice(pieces, 2))
        if head:
            check_listed(job, head[0])
        if driver is None:
            driver = only_driver()
            progress = Several(progress, driver[1])
            rounds = folder.rounds()
        guard, journal = driver
        redo = check_tasks(job, rounds, view, growth.redo)
        folder.write_spec(job.spec.model_dump(mode="json"))
        rounds = begin(job, folder, view, rounds, redo)
        ahead = None
        if lister is not None:
            intake = Intake(job, folder, rounds, changed=growth.changed)
            for piece in head:
                intake.take(piece)
            if len(head) < 2:
                intake.close(lister.skipped)
                rounds = intake.rounds
            else:
                ahead = ListingAhead(folder, guard.token, lister, pieces, intake)
                until_the_end.callback(ahead.stop)
        clock.stop("list")
        going = _Run(job, store, guard, progress, journal, clock, committed, limit)
        summary = going.to_its_end(rounds, ahead, listed_now=lister is not None)
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
    progress: Progress,
    clock: Clock,
    only: Sequence[int] | None = None,
) -> Summary:
    """Do what is open of the rounds. only: of these alone. committed: learns how far it came. Raises as `run` does.

    What it does and what happens stands in the output meanwhile (pipelines/journal.py).
    """
    store = store_at(job.output)
    with _journal(store, job, guard) as journal:
        going = _Run(job, store, guard, Several(progress, journal), journal, clock, committed, only=only)
        summary = going.to_its_end(list(rounds), None, listed_now=False)
        journal.finished(summary)
    return summary


def _journal(store: Store, job: Job, guard: LeaseGuard) -> Journal:
    return Journal(store, guard, name=job.spec.name, workers=job.workers)


@dataclass
class _Run:
    """committed: learns how far it came. limit: of pending rows. only: rounds whose chunks may be pending; None:
    all."""

    job: Job
    store: Store
    guard: LeaseGuard
    progress: Progress
    journal: Journal
    clock: Clock
    committed: _Committed
    limit: int | None = None
    only: Sequence[int] | None = None

    def __post_init__(self) -> None:
        self.figures = Figures()

    def to_its_end(self, rounds: list[Round], ahead: ListingAhead | None, *, listed_now: bool) -> Summary:
        """ahead: brings a round more; rounds: those before it. listed_now: whether this very run listed."""
        job, folder, view, log = self.job, JobFolder(self.store), View(self.store), PartLog(self.store)
        if ahead is None:
            self._listed(folder.read_listing(), listed_now=listed_now)
        first = FirstRows(round_.number for round_ in rounds if not round_.defines)
        before = Before.of(job, folder, rounds)
        again = partial(_asked_again, log, view, _parts(log, before), first, self.progress)
        # once as soon as it shows, and once when nobody can commit anything any more
        with (
            _published(job, view, rounds, self.progress),
            again(),
            _Cluster(job, self.progress) as cluster,
            again(),
        ):
            receipts = list(self._answer(cluster, self._feed(cluster, rounds, before, ahead), first))
            if ahead is not None:
                ahead.check()
                self._listed(folder.read_listing(), listed_now=True)
                rounds = ahead.intake.rounds
            self.clock.stop("run")
            checked_parts = list(_check_code(job, cluster, log, self.progress, self.guard))
            if checked_parts:
                self.clock.stop("code check")
        self.clock.stop("publish")

        figures = self.figures
        summary = summarize(
            *(
                job,
                folder.read_listing(),
                inputs_in(folder, rounds),
                chunks_in(folder, rounds),
                self.store,
                receipts,
                checked_parts,
            ),
            used=self.journal.used.summary(),
            lacks=figures.lacks,
            limited=figures.planned_rows + figures.again_rows > figures.committed_rows + figures.pending_rows,
            seconds=self.clock.seconds,
        )
        summary.wall_s = self.clock.wall_s()
        try:
            idle = not (receipts or checked_parts)
            folder.write_summary(stored(summary, len(rounds), folder.read_summary if idle else None))
        except (OSError, StoreLost) as error:
            summary.uncommitted.append(f"the summary: {error}")
            summary.exit_code = 1
        _log_end(summary, receipts)
        return summary

    def _listed(self, listed: Mapping[str, Any], *, listed_now: bool) -> None:
        self.progress.listed(listed.get("inputs", 0), listed.get("skipped", {}))
        if listed_now and any(listed.get(key) for key in ("new", "changed", "gone")):
            asked_again = listed["asked_again"] > 0
            self.progress.grown(listed["new"], listed["changed"], listed["gone"], asked_again=asked_again)

    def _feed(
        self, cluster: _Cluster, rounds: Sequence[Round], before: Before, ahead: ListingAhead | None
    ) -> pa.Table | Source:
        """What is to be done: rows of QUEUED_CHUNKS where that is little, else what gives them."""
        if ahead is None:
            queued = self._planned_here(cluster, rounds, before)
            self.clock.stop("probe")
            if queued is not None:
                self._plan()
                return queued
        else:
            ahead.start()
        there = rounds if ahead is None else rounds[: ahead.intake.number]
        only = None if self.only is None else tuple(self.only)
        return Source(self.job, tuple(there), before, ahead.run if ahead is not None else None, only, self.limit)

    def _planned_here(self, cluster: _Cluster, rounds: Sequence[Round], before: Before) -> pa.Table | None:
        """None where it is so much that others are to plan it, while the first of it is answered."""
        folder = JobFolder(self.store)
        every = list(places(folder, rounds))
        planner = Planner(
            self.job, folder, rounds, before, open_rounds=self.only, limit=self.limit, progress=self.progress
        )
        queued: list[pa.Table] = []
        plans: list[dict[str, Any]] = []
        try:
            unplanned = sum(not planner.is_planned(*place) for place in every)
            if unplanned:
                cluster.begin()
            if unplanned > 1:
                return None
            for place in every:
                if (piece := planner.plan(*place)) is None:
                    continue
                plans.append(piece.plan)
                if piece.pending.num_rows:
                    queued.append(piece.pending)
                if sum(table.num_rows for table in queued) > MOST_QUEUED:
                    return None
        finally:
            planner.close()
        for plan in plans:
            self.figures.add(plan)
        table = pa.concat_tables([tables.CHUNKS.empty_table(), *queued])
        return table.append_column(tables.PLAN, pa.nulls(table.num_rows, tables.PLAN.type))

    def _take(self, plan: Mapping[str, Any]) -> None:
        """What others planned. Raises JobConflict, StoreLost where they could not."""
        if plan["conflict"] is not None:
            raise JobConflict(plan["conflict"])
        if plan["lost"] is not None:
            raise StoreLost(plan["lost"])
        self.figures.add(plan)
        self._plan()
        if plan["inputs"]:
            self.progress.probed(self.figures.inputs, 0)

    def _plan(self) -> None:
        """Tell what is planned by now."""
        figures = self.figures
        self.committed.rows += figures.committed_rows - self._known_rows
        self._known_rows = figures.committed_rows
        self.committed.planned = figures.planned_rows
        # rows that are asked again are there until then, and are to be had all the same
        done = max(0, figures.committed_rows - figures.again_rows)
        self.progress.planned(figures.planned_rows, done, figures.pending_chunks)

    _known_rows = 0

    def _answer(self, cluster: _Cluster, feed: pa.Table | Source, first: FirstRows) -> Iterator[dict[str, Any]]:
        """Put the pending chunks through decoders and engines: rows of RECEIPTS, as they come.

        Raises what makes more of them useless: no engine, a store that takes or gives nothing, rows that all fail
        alike.
        """
        job, progress = self.job, self.progress
        try:
            if isinstance(feed, pa.Table) and not feed.num_rows:
                return
            cluster.connect()
            progress.starting("the engine")
            may_stop = job.spec.limits.max_failed_fraction < 1
            plan = stages(job, self._requests_per_chunk(feed), self.guard)
            with contextlib.closing(cluster.execute(feed, plan)) as batches:
                for receipt in (receipt for batch in batches for receipt in batch.to_pylist()):
                    if receipt["plan"] is not None:
                        self._take(receipt["plan"])
                    if receipt["outcome"] == "planned":
                        self.journal.used.add(receipt)
                        continue
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
                        self.committed.rows += receipt["rows"]
                    progress.receipt(receipt)
                    if may_stop:
                        first.receipt(receipt)
                    # without messages, which a long job need not keep
                    engine = receipt["engine"] and {**receipt["engine"], "death": None}
                    yield {**receipt, "failures": None, "retries": None, "engine": engine, "plan": None}
        finally:
            progress.ended()

    def _requests_per_chunk(self, feed: pa.Table | Source) -> float:
        """As far as it shows."""
        if isinstance(feed, pa.Table):
            return self.figures.pending_rows / int(feed.num_rows)
        return float(self.job.spec.limits.chunk_units or FEW)


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


def _parts(log: PartLog, before: Before) -> Callable[[], Iterator[tuple[str, str]]]:
    """Those (task, chunk_id) of the log that came since."""

    def since() -> Iterator[tuple[str, str]]:
        for name, there in before.committed.items():
            yield from ((name, chunk_id) for chunk_id in log.parts(name) if chunk_id not in there)

    return since


@contextlib.contextmanager
def _asked_again(
    log: PartLog, view: View, parts: Callable[[], Iterator[tuple[str, str]]], first: FirstRows, progress: Progress
) -> Iterator[None]:
    """The rows that AllFailed tells of are open again. parts: of this run."""
    try:
        yield
    except AllFailed:
        assert first.error is not None
        taken = take_out(log, view, parts(), first.error)
        _log.info("%d parts are taken out again", taken)
        progress.taken_out(taken)
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
        self._begun = self._connected = False

    def __enter__(self) -> _Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun:
            from pipelines import ray_data

            ray_data.disconnect()

    def begin(self) -> None:
        """Have it start, while inputs are looked into for work that is to be had."""
        if not self._begun:
            from pipelines import ray_data

            self._progress.starting("Ray")
            self._begun = True
            ray_data.begin(self._workers)

    def connect(self) -> None:
        if not self._connected:
            from pipelines import ray_data  # seconds, and not for `plan`

            self.begin()
            self._connected = True
            ray_data.connect(self._workers)

    def execute(self, feed: pa.Table | Source, plan: list[Stage]) -> Generator[pa.Table]:
        from pipelines import ray_data

        self.connect()
        yield from ray_data.execute(feed, plan)


def _log_end(summary: Summary, receipts: list[dict[str, Any]]) -> None:
    outcomes = Counter(receipt["outcome"] for receipt in receipts)
    _log.info("ended after %.1f s: %s", summary.wall_s, dict(outcomes) or "nothing to do")
    if summary.engine is not None and summary.engine.deaths:
        _log.info("engines died and were started anew %d times", summary.engine.deaths)
    for part in summary.uncommitted:
        _log.info("not committed: %s", part)
