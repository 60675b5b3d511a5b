"""`sightread show OUTPUT`: show the first rows of every task of a job."""

from __future__ import annotations

import argparse

from rich.table import Table

from jobs.arguments import count
from jobs.shown_rows import UNIT_COLUMNS, answer_of, beginning, remarks_of, unit_of
from jobs.terminal import cell, console_for, show_line
from operators.store.addresses import opened
from operators.store.results import Results
from pipelines.folder import JobFolder
from schemas.address import name_of
from schemas.errors import SpecError

_COLUMNS = ("input_uri", "status", "error", "result", "verified", "input_notes", "damaged_frames", *UNIT_COLUMNS)


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
            shown = "\n".join(filter(None, (beginning(answer_of(row)), remarks_of(row))))
            table.add_row(cell(name_of(row["input_uri"])), unit_of(row), cell(row["status"]), cell(shown, lines=True))
        console.print(table)
        if (more := results.count(task) - len(first)) > 0:
            show_line(console, f"and {more} more")
