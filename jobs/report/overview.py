"""What a report says of a job as a whole: how complete it is, what was counted over all rows, what its last run did.
Plain values; read from the output alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from jobs.report.survey import Survey
from operators.store.addresses import local_path
from operators.store.part_log import PARTS
from operators.store.store import Store
from pipelines.event_log import MOST_LINES
from pipelines.folder import JobFolder, sha256_of
from pipelines.status import Status, TaskStatus, status_of
from pipelines.summary.utilization import UtilizationSummary
from schemas.errors import SpecError
from schemas.state import STATES
from schemas.task import FAULTS
from schemas.unit import INPUT_NOTES
from schemas.version import VERSION

MOST_PARTS = 20_000
"""Parts whose times are looked at."""
MOST_EVENTS = 1_000
_COMMIT_BINS = 120


def job_status(store: Store) -> Status:
    """Raises SpecError where no job is, JobConflict, StoreLost."""
    return status_of(store, events=MOST_LINES)


def overview_of(store: Store, status: Status, surveys: Mapping[str, Survey], price: float | None) -> dict[str, Any]:
    """price: of an hour of one engine; None where nobody knows."""
    folder = JobFolder(store)
    summary = _summary(folder)
    return {
        "job": status.job,
        "output": status.output,
        "version": VERSION,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "notices": notices(status),
        "inputs": status.inputs,
        "problems": status.problems,
        "tasks": [_task(name, task, surveys[name], summary) for name, task in status.tasks.items() if name in surveys],
        "rounds": [asdict(round_) for round_ in status.rounds],
        "run": {
            "utilization": status.utilization.as_json() if status.utilization is not None else None,
            "progress": status.progress,
            "summary": {
                key: summary.get(key)
                for key in ("wall_s", "new_rows", "seconds", "prompt_tokens", "output_tokens", "isolation_lacks")
            },
            "events": status.events[-MOST_EVENTS:],
            "commits": commits(store),
            "cost": cost(status.utilization, price, (status.progress or summary).get("new_rows")),
        },
        "prompts": prompts(folder),
        "meanings": {"states": STATES, "faults": FAULTS, "notes": INPUT_NOTES},
    }


def notices(status: Status) -> list[str]:
    """Why what is seen is not all of it; none for a job that is whole."""
    sentences = []
    holder, progress = status.holder, status.progress or {}
    is_running = holder is not None and bool(holder["beats"])
    if is_running and holder is not None:
        sentences.append(f"A run is going on ({holder['who']}, since {holder['since']}): rows are still coming.")
    elif progress and progress.get("state") != "ended":
        sentences.append(
            f"The last run never came to its end: it was {progress.get('state')} as of {progress.get('at')}, with "
            f"{progress.get('done_rows')} of {progress.get('planned_rows')} rows."
        )
    elif progress.get("why"):
        sentences.append(f"The last run ended early: {progress['why']}")
    units = [units for task in status.tasks.values() for units in (task.units, task.again)]
    waiting, left = sum(unit.open for unit in units), sum(unit.unpublished for unit in units)
    if status.planning:
        sentences.append("Not all inputs are cut into units yet: there are more than are counted here.")
    if waiting:
        planned = sum(unit.planned for unit in units)
        sentences.append(f"{waiting} of {planned} units are not answered yet.")
    if left:
        sentences.append(f"{left} units are answered and not published yet, so their rows are not here.")
    if sentences and not is_running and (waiting or left):
        sentences.append("`sightread run` with the job's spec goes on where it stopped.")
    return sentences


def _task(name: str, status: TaskStatus, surveyed: Survey, summary: Mapping[str, Any]) -> dict[str, Any]:
    audits = summary.get("tasks")
    audit = audits.get(name) if isinstance(audits, dict) else None
    return {
        "name": name,
        "rows": asdict(status.rows),
        "units": asdict(status.units),
        "again": asdict(status.again),
        "faults": status.faults,
        "messages": surveyed.messages,
        "retried_rows": status.retried_rows,
        "models": status.models,
        "audit": {key: audit.get(key) for key in ("planned", "rows", "missing", "duplicate", "unexpected")}
        if isinstance(audit, dict)
        else None,
        "totals": surveyed.totals,
        "histograms": surveyed.histograms(),
        "shown": len(surveyed.sample),
    }


def commits(store: Store) -> dict[str, Any] | None:
    """How many parts were committed when, by the times of their files; None where a store does not say, or is asked for
    each. began_s: since the epoch."""
    if local_path(store.address) is None:
        return None
    stats = (store.stat(key) for key in store.list(PARTS)[:MOST_PARTS])
    times_s = sorted(stat.modified_s for stat in stats if stat is not None and stat.modified_s is not None)
    if not times_s:
        return None
    step_s = max(1.0, (times_s[-1] - times_s[0]) / _COMMIT_BINS)
    counts = [0] * (int((times_s[-1] - times_s[0]) / step_s) + 1)
    for time_s in times_s:
        counts[int((time_s - times_s[0]) / step_s)] += 1
    return {"began_s": times_s[0], "step_s": step_s, "parts": counts}


def cost(use: UtilizationSummary | None, price: float | None, rows: Any) -> dict[str, Any] | None:
    """Of the last run that asked something, from its first request to its last answer."""
    if use is None:
        return None
    engines = next((stage.workers for stage in use.stages if stage.stage == "parse"), 1)
    hours = engines * use.span_s / 3600
    money = None if price is None else price * hours
    per_1000 = 1000 * money / rows if money is not None and isinstance(rows, int) and rows > 0 else None
    return {"engines": engines, "engine_hours": hours, "price": price, "money": money, "per_1000_rows": per_1000}


def prompts(folder: JobFolder) -> dict[str, dict[str, Any]]:
    """By the `prompt_sha256` of rows: the prompt, and those of other kinds of units."""
    known = {}
    for round_ in folder.rounds():
        for definition in round_.tasks.values():
            prompt, others = definition.get("prompt"), definition.get("prompts")
            if isinstance(prompt, str) and isinstance(others, dict):
                known[sha256_of({"prompt": prompt, "prompts": others})] = {"prompt": prompt, "prompts": others}
    return known


def _summary(folder: JobFolder) -> dict[str, Any]:
    try:
        return folder.read_summary()
    except SpecError:  # somebody else wrote there
        return {}
