"""`sightread show OUTPUT`: show the first rows of every task of a job."""

from __future__ import annotations

import argparse
import json

from rich.table import Table

from jobs.arguments import add_json, count
from jobs.echo import echo
from jobs.shown_rows import UNIT_COLUMNS, answer_of, beginning, remarks_of, shown_state, unit_of
from jobs.terminal import cell, console_for, show_line
from operators.store.addresses import opened
from operators.store.results import Results
from pipelines.folder import JobFolder
from schemas.address import name_of
from schemas.state import state_of

_COLUMNS = ("input_uri", "status", "error", "result", "verified", "input_notes", "damaged_frames", *UNIT_COLUMNS)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument("--rows", type=count, default=20, metavar="N", help="of each task at most")
    add_json(parser, "a JSON object a row, each on its line")


def run(options: argparse.Namespace) -> int:
    show_rows(options.output, rows=options.rows, as_json=options.json)
    return 0


def show_rows(output: str, *, rows: int, as_json: bool = False) -> None:
    """output: an address. Raises SpecError when there is nothing to show."""
    store = opened(output)
    folder = JobFolder(store)
    folder.check_readable()
    results = Results(store)
    if not (tasks := results.tasks()):
        raise folder.without_results(output)
    console = console_for()
    for task in tasks:
        first = [row for batch in results.batches(task, _COLUMNS, first=rows) for row in batch.to_pylist()]
        if as_json:
            for row in first:
                echo(json.dumps({"task": task, "state": state_of(row), **row}, ensure_ascii=False, default=str))
            continue
        table = Table(title=cell(task), title_justify="left", show_lines=True)
        for column in ("input", "unit", "state", "result"):
            table.add_column(column, overflow="fold")
        for row in first:
            shown = "\n".join(filter(None, (beginning(answer_of(row)), remarks_of(row))))
            table.add_row(
                cell(name_of(row["input_uri"])), unit_of(row), cell(shown_state(row)), cell(shown, lines=True)
            )
        console.print(table)
        if (more := results.count(task) - len(first)) > 0:
            show_line(console, f"and {more} more")
