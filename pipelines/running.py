"""One run of a job whose rounds are known: plan, answer, check code, publish, audit. Knows no YAML, no terminal."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from operators.code_check.code_check import pending_code_checks
from operators.store.lease import LeaseGuard
from operators.store.part_log import PartLog
from operators.store.store import Store
from operators.store.view import View
from pipelines.chunking import FEW
from pipelines.cluster import Cluster
from pipelines.first_rows import FirstRows, take_out
from pipelines.folder import JobFolder
from pipelines.job import Job
from pipelines.journal import Journal
from pipelines.listing_ahead import ListingAhead
from pipelines.plan import code_check_stages, stages
from pipelines.planner import Before, Figures, Planner, inputs_in, places, planned_slices
from pipelines.progress import Progress
from pipelines.rounds import Round, floors
from pipelines.source import Source
from pipelines.summary.stored import stored
from pipelines.summary.summary import Summary, summarize
from pipelines.summary.tally import Tally
from schemas import tables
from schemas.errors import LEASE_LOST, AllFailed, EngineError, JobConflict, SightreadError, StoreLost

_log = logging.getLogger(__name__)

MOST_QUEUED = 64
"""Chunks that the driver plans by itself; more come from readers in the cluster."""


@dataclass
class Committed:
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


@dataclass
class _Here:
    """What the driver planned by itself. done: plans of pieces of which nothing is to be done. open: of others, and
    queued: their pending chunks. is_all: whether that is all there was."""

    done: list[dict[str, Any]] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)
    queued: list[pa.Table] = field(default_factory=list)
    is_all: bool = False


@dataclass
class Run:
    """committed: learns how far it came. limit: of pending rows. only: rounds whose chunks may be pending; None:
    all."""

    job: Job
    store: Store
    guard: LeaseGuard
    progress: Progress
    journal: Journal
    clock: Clock
    committed: Committed
    limit: int | None = None
    only: Sequence[int] | None = None

    def __post_init__(self) -> None:
        self.figures, self.tally = Figures(), Tally()
        self._known_rows = 0

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
            Cluster(job, self.progress) as cluster,
            again(),
        ):
            feed = self._feed(cluster, rounds, before, ahead)
            self._answer(cluster, feed, first, ahead.go_on if ahead is not None else lambda: None)
            if ahead is not None:
                ahead.check()
                self._listed(folder.read_listing(), listed_now=True)
                rounds = ahead.intake.rounds
            self.clock.stop("run")
            self._check_code(cluster, log)
            if self.tally.checked_parts:
                self.clock.stop("code check")
        self.clock.stop("publish")

        figures = self.figures
        summary = summarize(
            *(job, folder.read_listing(), inputs_in(folder, rounds), planned_slices(folder, rounds), self.store),
            tally=self.tally,
            used=self.journal.used.summary(),
            lacks=figures.lacks,
            limited=figures.planned_rows + figures.again_rows > figures.committed_rows + figures.pending_rows,
            seconds=self.clock.seconds,
        )
        summary.wall_s = self.clock.wall_s()
        try:
            folder.write_summary(stored(summary, len(rounds), folder.read_summary if self.tally.is_idle else None))
        except (OSError, StoreLost) as error:
            summary.uncommitted.append(f"the summary: {error}")
            summary.exit_code = 1
        _log_end(summary, self.tally)
        return summary

    def _listed(self, listed: Mapping[str, Any], *, listed_now: bool) -> None:
        self.progress.listed(listed.get("inputs", 0), listed.get("skipped", {}))
        if listed_now and any(listed.get(key) for key in ("new", "changed", "gone")):
            asked_again = listed["asked_again"] > 0
            self.progress.grown(listed["new"], listed["changed"], listed["gone"], asked_again=asked_again)

    def _feed(
        self, cluster: Cluster, rounds: Sequence[Round], before: Before, ahead: ListingAhead | None
    ) -> pa.Table | Source:
        """What is to be done: rows of QUEUED_CHUNKS where that is little, else what gives them."""
        if ahead is not None:
            ahead.start()
            if not rounds:
                cluster.begin()
        here = self._planned_here(cluster, rounds, before) if ahead is None or rounds else _Here()
        self.clock.stop("probe")
        if here.is_all and (ahead is None or not (here.queued or ahead.brings_any())):
            return self._table(here)
        for plan in here.done:
            self.figures.add(plan)
        if here.done:
            self._plan()
        return Source(
            *(self.job, tuple(rounds), before, ahead.run if ahead is not None else None),
            done=frozenset((plan["round"], plan["piece"]) for plan in here.done),
            open_rounds=None if self.only is None else tuple(self.only),
            limit=self.limit,
        )

    def _table(self, here: _Here) -> pa.Table:
        """All that is to be done: rows of QUEUED_CHUNKS."""
        for plan in [*here.done, *here.open]:
            self.figures.add(plan)
        self._plan()
        table = pa.concat_tables([tables.CHUNKS.empty_table(), *here.queued])
        return table.append_column(tables.PLAN, pa.nulls(table.num_rows, tables.PLAN.type))

    def _planned_here(self, cluster: Cluster, rounds: Sequence[Round], before: Before) -> _Here:
        """As much as is quickly planned; of the rest others are to, while the first of it is answered."""
        folder, here = JobFolder(self.store), _Here()
        every = list(places(folder, rounds))
        planner = Planner(
            self.job, folder, rounds, before, open_rounds=self.only, limit=self.limit, progress=self.progress
        )
        try:
            unplanned = sum(not planner.is_planned(*place) for place in every)
            if unplanned:
                cluster.begin()
            if unplanned > 1:
                return here
            for place in every:
                if (piece := planner.plan(*place)) is None:
                    continue
                if not piece.pending.num_rows:
                    here.done.append(piece.plan)
                    continue
                cluster.begin()
                here.open.append(piece.plan)
                here.queued.append(piece.pending)
                if sum(table.num_rows for table in here.queued) > MOST_QUEUED:
                    return here
            here.is_all = True
        finally:
            planner.close()
        return here

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

    def _answer(self, cluster: Cluster, feed: pa.Table | Source, first: FirstRows, started: Callable[[], None]) -> None:
        """Put the pending chunks through decoders and engines, and count the receipts as they come. started: called
        with those of answers.

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
            plan = stages(job, self._requests_per_chunk(feed), self.guard, cluster.answered)
            with contextlib.closing(cluster.execute(feed, plan)) as batches:
                for receipt in (receipt for batch in batches for receipt in batch.to_pylist()):
                    if receipt["plan"] is not None:
                        self._take(receipt["plan"])
                    if receipt["outcome"] == "planned":
                        self.journal.used.add(receipt)
                        continue
                    started()
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
                    self.tally.receipt(receipt)
        finally:
            progress.ended()

    def _check_code(self, cluster: Cluster, log: PartLog) -> None:
        """Check the code in committed parts. Raises StoreLost."""
        unchecked = list(pending_code_checks(log, self.job.tasks))
        if not unchecked:
            return
        _log.info("%d parts hold code to be checked", len(unchecked))
        self.progress.starting("to try the code out")
        parts = pa.Table.from_pylist(unchecked, schema=tables.CODE_UNCHECKED)
        with contextlib.closing(cluster.execute(parts, code_check_stages(self.job, self.guard))) as batches:
            for checked in (checked for batch in batches for checked in batch.to_pylist()):
                if checked["lost"]:
                    raise StoreLost(checked["lost"])
                if checked["refused"]:
                    raise _refused(self.job, checked["message"])
                self.progress.checked(checked)
                self.tally.checked(checked)

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


def _lost(message: str) -> str:
    return message if message == LEASE_LOST else f"inputs: {message}"


def _refused(job: Job, reason: str) -> StoreLost:
    """After the first refusal: answers that cannot be kept are not asked for."""
    return StoreLost(f"output: {job.output} takes nothing more: {reason}")


def _log_end(summary: Summary, tally: Tally) -> None:
    _log.info("ended after %.1f s: %s", summary.wall_s, dict(tally.outcomes) or "nothing to do")
    if summary.engine is not None and summary.engine.deaths:
        _log.info("engines died and were started anew %d times", summary.engine.deaths)
    for part in summary.uncommitted:
        _log.info("not committed: %s", part)
