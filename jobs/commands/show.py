"""`sightread show OUTPUT`: show the first rows of every task of a job."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.table import Table
from rich.text import Text

from jobs.arguments import count
from jobs.display import cell, console_for, show_line
from operators.store.addresses import opened
from operators.store.results import Results
from pipelines.folder import JobFolder
from schemas.errors import SpecError

CELL_LINES = 12
CELL_CHARACTERS = 700

_COLUMNS = ("input_uri", "unit_index", "request_index", "page", "start_s", "end_s", "status", "error", "result")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument("--rows", type=count, default=20, metavar="N", help="of each task at most")


def run(options: argparse.Namespace) -> int:
    show_rows(options.output, rows=options.rows)
    return 0


def show_rows(output: str, *, rows: int) -> None:
    """output: an address. Raises SpecError when there is nothing to show."""
    store = opened(output)
    JobFolder(store).check_readable()
    results = Results(store)
    if not (tasks := results.tasks()):
        raise SpecError(f"{output} holds no results of a job")
    console = console_for()
    for task in tasks:
        table = Table(title=cell(task), title_justify="left", show_lines=True)
        for column in ("input", "unit", "status", "result"):
            table.add_column(column, overflow="fold")
        first = [row for batch in results.batches(task, _COLUMNS, first=rows) for row in batch.to_pylist()]
        for row in first:
            table.add_row(cell(row["input_uri"].rpartition("/")[2]), *_cells(row))
        console.print(table)
        if (more := results.count(task) - len(first)) > 0:
            show_line(console, f"and {more} more")


def _cells(row: dict[str, Any]) -> tuple[str | Text, ...]:
    in_time = row["start_s"] is not None
    number = row["unit_index"] + 1 if row["page"] is None else row["page"]
    unit = f"{row['start_s']:.1f}–{row['end_s']:.1f} s" if in_time else f"{number}"
    shown = _begin(row["result"]) if row["status"] == "ok" else str((row["error"] or {}).get("kind"))
    return unit, cell(row["status"]), cell(shown, lines=True)


def _begin(value: Any) -> str:
    """What a cell shows: the text alone where there is one, and of a long one the beginning."""
    if isinstance(value, dict) and "text" in value:
        text = str(value["text"])
    else:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    begin = "\n".join(text.splitlines()[:CELL_LINES])[:CELL_CHARACTERS]
    return begin + (" …" if len(begin) < len(text.rstrip()) else "")
