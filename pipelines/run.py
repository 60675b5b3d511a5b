"""Run a job to its end, or on from where it stopped: list, probe, run, check, audit. Knows no YAML, no terminal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from operators.store.addresses import store_at
from operators.store.lease import Lease, LeaseGuard
from operators.store.store import Store
from operators.store.view import View
from pipelines.folder import JobFolder
from pipelines.growth import Intake, begin, check_tasks
from pipelines.job import Job
from pipelines.journal import Journal
from pipelines.listing_ahead import ListingAhead
from pipelines.one_driver import one_driver
from pipelines.planning import (
    check_listed,
    check_output,
    lister_of,
)
from pipelines.progress import Progress, Several
from pipelines.rounds import Round
from pipelines.running import Clock, Committed, Run
from pipelines.summary.summary import Summary
from schemas.errors import StoreLost

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
        going = Run(job, store, guard, progress, journal, clock, committed, limit)
        summary = going.to_its_end(rounds, ahead, listed_now=lister is not None)
        journal.finished(summary)
        return summary


@contextlib.contextmanager
def going_on() -> Iterator[Committed]:
    """What is raised of a store that is lost says how much is committed by then."""
    committed = Committed()
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
    committed: Committed,
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
        going = Run(job, store, guard, Several(progress, journal), journal, clock, committed, only=only)
        summary = going.to_its_end(list(rounds), None, listed_now=False)
        journal.finished(summary)
    return summary


def _journal(store: Store, job: Job, guard: LeaseGuard) -> Journal:
    return Journal(store, guard, name=job.spec.name, workers=job.workers)
