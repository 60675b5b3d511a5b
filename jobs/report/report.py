"""Write the report of a job: figures over all rows, and a gallery of some of them, in one pass over each.

Rows are read a batch at a time; what is held is the lines of those that are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.load import stored_decoding
from jobs.report.items import bounded, detail_of, frames_in, item_of, key_of
from jobs.report.overview import job_status, overview_of
from jobs.report.pictures import Look, Pictures, Wanted
from jobs.report.site import Site
from jobs.report.survey import RowKey, Survey, survey
from operators.store.results import Results
from operators.store.store import Store
from pipelines.folder import JobFolder
from schemas.decode import DecodeSettings
from schemas.errors import SpecError

DETAILS = 12
"""Rows whose whole values are one file: what a page loads to show one of them."""
LINES = 2_000
"""Of a list, in one file."""
_AT_ONCE = 48
"""Rows that are looked at together."""
_WORST_FIRST = ("failed", "doubtful", "unsure", "ok")

Tell = Callable[[str], None]


def write_report(
    store: Store,
    site: Site,
    *,
    sample: int,
    seed: int,
    tasks: Sequence[str] = (),
    pictures: bool = True,
    price: float | None = None,
    tell: Tell,
) -> str:
    """The address of the page. sample: rows of each task that are shown. tasks: that are shown; all, where none is
    named. pictures: whether inputs are decoded once more. price: of an hour of one engine. tell: is told what it does.

    Raises SpecError where no job is or it has no such task, JobConflict, StoreLost, OSError.
    """
    tell("counting")
    status = job_status(store)
    results = Results(store)
    there = results.tasks()
    if unknown := sorted({*tasks} - status.tasks.keys()):
        raise SpecError(f"{store.address} has no task {unknown[0]!r}; it has {', '.join(sorted(status.tasks))}")
    surveys = {
        name: survey(results, name, most=sample, seed=seed) if name in there else Survey()
        for name in status.tasks
        if not tasks or name in tasks
    }
    overview = overview_of(store, status, surveys, price)
    overview["sample"] = {"rows": sample, "seed": seed}
    with Pictures() if pictures else nullcontext() as looking:
        for number, entry in enumerate(overview["tasks"]):
            name = entry["name"]
            lines = _write_rows(store, site, name, number, surveys[name], looking, tell)
            lines.sort(key=lambda line: (_WORST_FIRST.index(line["state"]), -(line.get("cer") or 0.0), line["name"]))
            entry |= {"rows_key": f"rows-{number}", "files": put_lines(site, f"rows-{number}", lines)}
    site.put("overview", bounded(overview))
    return site.finish(f"{status.job or 'job'} · sightread")


def put_lines(site: Site, key: str, lines: Sequence[dict[str, Any]]) -> int:
    """How many files it takes."""
    files = range(0, len(lines), LINES)
    for part, first in enumerate(files):
        site.put(f"{key}-{part}", lines[first : first + LINES])
    return len(files)


def _write_rows(
    store: Store, site: Site, task: str, number: int, surveyed: Survey, looking: Pictures | None, tell: Tell
) -> list[dict[str, Any]]:
    """The lines of the rows that are shown; their details and pictures are put. number: of the task."""
    lines: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    parts = 0
    settings = stored_decoding(JobFolder(store), task) if looking is not None and surveyed.sample else None
    for rows in sampled(Results(store), task, surveyed.sample):
        tell(f"{task}: {len(lines)} of {len(surveyed.sample)} rows")
        for row, look in zip(rows, _looks(looking, settings, rows), strict=True):
            screenshot = _screenshot(looking, store, row)
            for name, data in [*look.files.items(), *(screenshot.files.items() if screenshot else ())]:
                site.picture(name, data)
            lines.append({**item_of(row, look), "detail": f"detail-{number}-{parts}"})
            details.append(detail_of(row, look, screenshot))
            if len(details) == DETAILS:
                site.put(f"detail-{number}-{parts}", details)
                parts, details = parts + 1, []
    if details:
        site.put(f"detail-{number}-{parts}", details)
    return lines


def sampled(results: Results, task: str, sample: set[RowKey]) -> Iterator[list[dict[str, Any]]]:
    """All columns of these rows, a few at once, in the order of the files."""
    if not sample:
        return
    ids = pa.array(sorted({key[0] for key in sample}), pa.string())
    for batch in results.batches(task):
        some = pa.Table.from_batches([batch.filter(pc.is_in(batch.column("input_id"), ids))])
        for few in some.to_batches(max_chunksize=_AT_ONCE):
            rows = [row for row in few.to_pylist() if key_of(row) in sample]
            if rows:
                yield rows


def _looks(looking: Pictures | None, settings: DecodeSettings | None, rows: Sequence[dict[str, Any]]) -> list[Look]:
    if looking is None or settings is None:
        return [Look()] * len(rows)
    return looking.of([Wanted(row, settings, tuple(frames_in(row["result"]))) for row in rows])


def _screenshot(looking: Pictures | None, store: Store, row: dict[str, Any]) -> Look | None:
    """What the code of a row looked like."""
    key = ((row["verified"] or {}).get("code_check") or {}).get("screenshot")
    return looking.screenshot(f"{store.address}/{key}") if looking is not None and key else None
