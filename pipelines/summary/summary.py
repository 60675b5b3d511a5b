"""How a run ended: the audit of all parts, and the figures of its receipts. Knows nothing of Ray or terminals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from operators.store.results import Results
from operators.store.store import Store
from pipelines.job import Job
from pipelines.planning import unmatched
from pipelines.summary.audit import TaskAudit, audit
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
    exit_code: int
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
    chunks: pa.Table,
    store: Store,
    receipts: Sequence[dict[str, Any]],
    checked_parts: Sequence[dict[str, Any]],
    *,
    used: UtilizationSummary | None,
    lacks: Collection[str] = (),
    limited: bool,
    seconds: dict[str, float],
) -> Summary:
    """listed: by the last listing. inputs: of the job. chunks: all that are planned. receipts, checked_parts: rows of
    RECEIPTS and CODE_CHECKED of this run. used: how busy its stages were. lacks: of the decoders that probed. limited:
    whether it left planned chunks for another. seconds: by step."""
    results = Results(store)
    audits = {task.name: audit(results, task, chunks) for task in job.tasks}
    rows = sum(task.rows for task in audits.values())
    failed = sum(task.rows - task.ok for task in audits.values())
    fraction = failed / rows if rows else 0.0
    sound = all(task.duplicate == task.unexpected == 0 for task in audits.values())
    complete = all(task.complete for task in audits.values())
    uncommitted = [
        f"{part['task']}/{part['chunk_id']}: {part['message']}"
        for part in (*(receipt for receipt in receipts if receipt["outcome"] == "failed"), *checked_parts)
        if part["message"] is not None
    ]
    if not sound or uncommitted or not (complete or limited):
        exit_code = 1
    else:
        exit_code = 3 if fraction > job.spec.limits.max_failed_fraction else 0
    return Summary(
        name=job.spec.name,
        output=job.output,
        inputs=inputs,
        grown={key: listed.get(key, 0) for key in ("new", "changed", "gone")},
        skipped=dict(listed.get("skipped", {})),
        unmatched=unmatched(chunks, job.tasks),
        tasks=audits,
        complete=complete,
        failed_fraction=fraction,
        exit_code=exit_code,
        new_rows=sum(receipt["rows"] for receipt in receipts if receipt["outcome"] == "committed"),
        seconds={**seconds, **_stage_seconds(receipts)},
        prompt_tokens=sum(receipt["prompt_tokens"] for receipt in receipts),
        output_tokens=sum(receipt["output_tokens"] for receipt in receipts),
        uncommitted=uncommitted,
        code_checks=dict(Counter(outcome for part in checked_parts for outcome in part["outcomes"])),
        engine=used,
        isolation_lacks=sorted({*lacks, *(lack for row in (*receipts, *checked_parts) for lack in row["lacks"] or ())}),
    )


def _stage_seconds(receipts: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds summed over chunks and units."""
    calls = (call for receipt in receipts for call in receipt["spent"] or ())
    decode_s = sum(call["busy_s"] for call in calls if call["stage"] == "decode")
    return {"decode": decode_s, "infer": sum(receipt["infer_s"] for receipt in receipts)}
