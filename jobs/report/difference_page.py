"""The page of two outputs against each other: units that differ, both rows side by side. Of the make of a report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from jobs.load import stored_decoding
from jobs.report.difference import TaskDifference
from jobs.report.items import bounded, detail_of, frames_in, item_of, key_of, texts_in
from jobs.report.pictures import Look, Pictures, Wanted
from jobs.report.report import DETAILS, put_lines, sampled
from jobs.report.site import Site
from jobs.report.survey import RowKey
from operators.store.results import Results
from operators.store.store import Store
from pipelines.folder import JobFolder
from schemas.state import state_of
from schemas.version import VERSION


def write_difference(
    before: Store, after: Store, site: Site, tasks: Sequence[TaskDifference], *, pictures: bool = True
) -> str:
    """The address of the page. pictures: whether the inputs of the first output are decoded once more."""
    entries = []
    with Pictures() if pictures else nullcontext() as looking:
        for number, task in enumerate(tasks):
            lines = _write_task(before, after, site, task, number, looking)
            counts = {key: value for key, value in asdict(task).items() if key not in ("worst", "changes")}
            entries.append(
                {
                    **counts,
                    "rows": task.differ,
                    "rows_key": f"rows-{number}",
                    "files": put_lines(site, f"rows-{number}", lines),
                }
            )
    overview = {
        "job": "difference",
        "output": f"{before.address} | {after.address}",
        "diff": [before.address, after.address],
        "version": VERSION,
        "tasks": entries,
    }
    site.put("overview", bounded(overview))
    return site.finish("difference · sightread")


def _write_task(
    before: Store, after: Store, site: Site, task: TaskDifference, number: int, looking: Pictures | None
) -> list[dict[str, Any]]:
    wanted = {differing.key for differing in task.worst}
    old, new = (_rows(store, task.name, wanted) for store in (before, after))
    settings = stored_decoding(JobFolder(before), task.name) if looking is not None and wanted else None
    lines: list[dict[str, Any]] = []
    for first in range(0, len(task.worst), DETAILS):
        some = [one for one in task.worst[first : first + DETAILS] if one.key in old and one.key in new]
        looks = [Look()] * len(some)
        if looking is not None and settings is not None:
            pairs = [(old[one.key], new[one.key]) for one in some]
            looks = looking.of([Wanted(row, settings, _frames(row, other)) for row, other in pairs])
        key, details = f"detail-{number}-{first // DETAILS}", []
        for one, look in zip(some, looks, strict=True):
            for name, data in look.files.items():
                site.picture(name, data)
            rows = old[one.key], new[one.key]
            one_by_one = [{**detail_of(row, look, None), "state": state_of(row)} for row in rows]
            texts = ["\n".join(texts_in(row["result"])) for row in rows]
            detail = {**one_by_one[0], "after": one_by_one[1]}
            details.append(bounded(detail | ({"texts": texts} if texts[0] != texts[1] else {})))
            share = f"{one.distance:.1%} differs"
            changed = f"{one.states[0]} → {one.states[1]}" if one.states[0] != one.states[1] else None
            line = {**item_of(rows[1], look), "kind": None, "distance": one.distance, "detail": key}
            lines.append({**line, "faults": [changed, share] if changed else [share]})
        site.put(key, details)
    return lines


def _frames(*rows: dict[str, Any]) -> tuple[int, ...]:
    return tuple(frame for row in rows for frame in frames_in(row["result"]))


def _rows(store: Store, task: str, wanted: set[RowKey]) -> dict[RowKey, dict[str, Any]]:
    return {key_of(row): row for rows in sampled(Results(store), task, wanted) for row in rows}
