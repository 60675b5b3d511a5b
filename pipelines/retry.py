"""Ask rows of an output again, and nothing else: which ones, by kind of failure or by a condition in SQL; as rounds of
their own (pipelines/rounds.py), so that a killed retry is finished by whatever runs next. Knows no YAML, no terminal.

A unit is asked again as it was planned: in its generation, as one attempt more, and of several requests only those
that were chosen. An input that could not be opened is opened anew, which begins a generation of its own: nobody knows
yet how many units it has.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from operators.store.addresses import store_at
from operators.store.lease import LeaseGuard
from operators.store.results import Results
from operators.store.view import View
from pipelines.folder import JobFolder
from pipelines.job import Job
from pipelines.manifests import Manifests
from pipelines.planning import check_output
from pipelines.progress import Progress
from pipelines.retry_plan import Plan, Rows, add_rounds, plan_again
from pipelines.rounds import definitions, floors
from pipelines.run import execute, going_on, lease_of
from pipelines.running import Clock
from pipelines.summary.summary import Summary
from schemas.errors import FAILURE_KINDS, JobConflict, SpecError

CHANGED = "changed"
"""The kind of failure of an input that is another than the one that was listed: it must be listed anew."""
IN_DOUBT = "not verified.ok"
"""A condition for `where`: rows that a check found a fault in, or that have no answer."""
_COLUMNS = ("input_id", "unit_index", "request_index", "generation", "status", "error")


@dataclass(frozen=True)
class Choice:
    """Which rows. tasks: of these; none: of all. kinds: of failure; where: a condition in SQL on one row; without
    either, all that failed. limit: the first ones."""

    tasks: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    where: str | None = None
    limit: int | None = None


def retry(jobs: Sequence[Job], choice: Choice, progress: Progress) -> list[Summary]:
    """jobs: of one output (pipelines/stored_job.py). The summaries of those that were asked for anything.

    Raises SpecError for a choice that is none, JobConflict for an output that is not planned to its end; later what a
    run raises.
    """
    output, names = jobs[0].output, [name for job in jobs for name in job.definitions]
    _check_names(choice, names)
    store = store_at(output)
    folder, view = JobFolder(store), View(store)
    check_output(jobs[0], folder)
    with going_on() as committed, lease_of(store, jobs[0], "sightread retry") as lease:
        rounds = folder.rounds()
        defined = definitions(rounds)
        if any(defined.get(name) != job.definitions[name] for job in jobs for name in job.definitions):
            raise JobConflict(f"{output}: somebody has just changed its tasks; the same command again sees them")
        # what a killed run answered is in the log, and may not be shown yet
        view.publish_all(names, floors(rounds))
        manifests = Manifests.read(folder, view, rounds, names)
        results = Results(store)
        chosen, changed = choose(results, choice, names)
        plans: list[Plan] = []
        asked: list[list[int]] = []
        for job in jobs:
            mine = {name: chosen[name] for name in job.definitions if name in chosen}
            done = sum(plan.rows for plan in plans)
            plans.append(plan_again(manifests, mine, None if choice.limit is None else choice.limit - done))
            open_before, new = manifests.open_retries(rounds, job.definitions.keys()), len(rounds)
            rounds = add_rounds(job, folder, rounds, manifests, plans[-1])
            asked.append([*open_before, *range(new, len(rounds))])
        doubtful = 0
        if not any(asked) and not choice.kinds and choice.where is None:
            doubtful = sum(_rows_in_doubt(results, name) for name in choice.tasks or names)
        for line in _remarks(plans, changed, doubtful, goes_on=any(asked)):
            progress.remark(line)
        guard = LeaseGuard(output, lease.token)
        return [
            execute(job, rounds, guard, committed, progress=progress, clock=Clock(), only=only)
            for job, only in zip(jobs, asked, strict=True)
            if only
        ]


def _rows_in_doubt(results: Results, task: str) -> int:
    """Of those that have an answer."""
    conditions = ["status = 'ok'", IN_DOUBT]
    return sum(1 for _ in results.where(task, conditions, ("status",), ("status", "verified")))


def _remarks(plans: Sequence[Plan], changed: int, doubtful: int, *, goes_on: bool) -> Iterator[str]:
    """changed: rows whose input changed. doubtful: rows that were not chosen, where none was. goes_on: whether an
    earlier retry is finished."""
    rows, under_way = sum(plan.rows for plan in plans), sum(plan.under_way for plan in plans)
    if unlisted := changed + sum(plan.unlisted for plan in plans):
        yield (
            f"{unlisted} rows are of inputs that changed since they were listed, or could not be read then: `sightread "
            "run SPEC --changed` asks about those that are others by now"
        )
    if under_way:
        yield f"{under_way} rows are about to be asked for already"
    if rows:
        yield f"{rows} rows are asked for again"
    elif not goes_on:
        hint = f"; {doubtful} are doubtful: --where '{IN_DOUBT}' asks for them" if doubtful else ""
        yield f"no row is to be asked for again{hint}"


def choose(results: Results, choice: Choice, names: Sequence[str]) -> tuple[dict[str, Rows], int]:
    """By task, the rows that are to be asked for again; and how many more were chosen whose input changed. names: of
    tasks. Raises SpecError for a condition that cannot be asked, JobConflict for files that cannot be read."""
    conditions = []
    if choice.kinds:
        conditions.append(f"error.kind in {(*choice.kinds, '')}")  # a tuple of Python with two of them is one of SQL
    elif choice.where is None:
        conditions.append("status <> 'ok'")
    reads = _COLUMNS if choice.where is None else None
    if choice.where is not None:
        conditions.append(choice.where)
    chosen: dict[str, Rows] = {}
    changed = 0
    for name in choice.tasks or names:
        of_task = chosen.setdefault(name, {})
        for row in results.where(name, conditions, _COLUMNS, reads):
            if row["error"] is not None and row["error"]["kind"] == CHANGED:
                changed += 1
                continue
            unit = of_task.setdefault((row["input_id"], row["unit_index"]), {})
            unit[row["request_index"]] = row["generation"]
    return chosen, changed


def _check_names(choice: Choice, names: Collection[str]) -> None:
    """Raises SpecError."""
    for option, chosen, known in (("--task", choice.tasks, names), ("--kind", choice.kinds, FAILURE_KINDS)):
        for name in chosen:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                raise SpecError(f"{option}: there is no {name!r} here; {hint}")
