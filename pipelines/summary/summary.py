"""How a run ended: the audit of all parts, and the figures of its receipts. Knows nothing of Ray or terminals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from operators.store.results import Results
from operators.store.store import Store
from pipelines.job import Job
from pipelines.planning import unmatched
from pipelines.summary.audit import TaskAudit, audit_slice, expected
from pipelines.summary.tally import Tally
from pipelines.summary.utilization import UtilizationSummary


@dataclass
class Summary:
    """`tasks` comes from the audit of all parts; the rest tells of this run alone."""

    name: str
    output: str
    inputs: int  # that were ever asked about
    grown: dict[str, int]  # of the last listing: new, changed and gone inputs
    skipped: dict[str, int]
    unmatched: dict[str, int]  # units by kind that no task of the job takes
    tasks: dict[str, TaskAudit]
    complete: bool  # every planned row is there (false after --limit, or when parts could not be written)
    failed_fraction: float
    doubtful_fraction: float
    exit_code: int
    limits_passed: list[str] = field(default_factory=list)  # where the exit code is 3
    wall_s: float = 0.0  # the audit included
    new_rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # list, probe, run; decode over chunks, infer over units
    prompt_tokens: int = 0
    output_tokens: int = 0
    uncommitted: list[str] = field(default_factory=list)  # what the disk refused
    code_checks: dict[str, int] = field(default_factory=dict)  # what came of code that was checked in this run
    engine: UtilizationSummary | None = None  # how busy it was; None where it was asked nothing
    isolation_lacks: list[str] = field(
        default_factory=list
    )  # what decoders ran without: operators/processes/isolation.py


def summarize(
    job: Job,
    listed: Mapping[str, Any],
    inputs: int,
    planned: Iterable[tuple[int, pa.Table]],
    store: Store,
    tally: Tally,
    *,
    used: UtilizationSummary | None,
    lacks: Collection[str] = (),
    limited: bool,
    seconds: dict[str, float],
) -> Summary:
    """listed: by the last listing. inputs: of the job. planned: by slice of the results, rows of CHUNKS. tally: of this
    run. used: how busy its stages were. lacks: of the decoders that probed. limited: whether it left planned chunks for
    another. seconds: by step."""
    results = Results(store)
    audits, left_over = _audited(results, job, planned)
    rows = sum(task.rows for task in audits.values())
    failed, doubtful = (
        sum(task.states[state] for task in audits.values()) / max(1, rows) for state in ("failed", "doubtful")
    )
    limits = job.spec.limits
    sound = all(task.duplicate == task.unexpected == 0 for task in audits.values())
    complete = all(task.complete for task in audits.values())
    fractions = {"max_failed_fraction": failed, "max_doubtful_fraction": doubtful}
    passed: list[str] = []
    if not sound or tally.uncommitted or not (complete or limited):
        exit_code = 1
    else:
        passed = [f"limits.{name}" for name, fraction in fractions.items() if fraction > getattr(limits, name)]
        exit_code = 3 if passed else 0
    return Summary(
        name=job.spec.name,
        output=job.output,
        inputs=inputs,
        grown={key: listed.get(key, 0) for key in ("new", "changed", "gone")},
        skipped=dict(listed.get("skipped", {})),
        unmatched=dict(left_over),
        tasks=audits,
        complete=complete,
        failed_fraction=failed,
        doubtful_fraction=doubtful,
        exit_code=exit_code,
        limits_passed=passed,
        new_rows=tally.new_rows,
        seconds={**seconds, "decode": tally.decode_s, "infer": tally.infer_s},
        prompt_tokens=tally.prompt_tokens,
        output_tokens=tally.output_tokens,
        uncommitted=tally.uncommitted,
        code_checks=dict(tally.code_checks),
        engine=used,
        isolation_lacks=sorted({*lacks, *tally.lacks}),
    )


def _audited(
    results: Results, job: Job, planned: Iterable[tuple[int, pa.Table]]
) -> tuple[dict[str, TaskAudit], Counter[str]]:
    """By task, a slice after the other; and the units that no task takes, by kind."""
    audits = {task.name: TaskAudit() for task in job.tasks}
    there = {task.name: {*results.slices(task.name)} for task in job.tasks}
    left_over: Counter[str] = Counter()
    for slice_, chunks in planned:
        left_over.update(unmatched(chunks, job.tasks))
        for task in job.tasks:
            audits[task.name] += audit_slice(results, task.name, slice_, expected(task, chunks))
            there[task.name].discard(slice_)
        pa.default_memory_pool().release_unused()  # what Arrow keeps of a slice for the thread that had it
    for name, slices in there.items():  # that nobody planned
        for slice_ in slices:
            audits[name] += audit_slice(results, name, slice_, [])
    return audits, left_over
