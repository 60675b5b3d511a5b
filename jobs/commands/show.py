"""`sightread show OUTPUT`: show the first rows of every task of a job."""

from __future__ import annotations

import argparse
import json

from rich.table import Table

from jobs.arguments import count
from jobs.display import cell, console_for, show_line
from operators.store.addresses import opened
from operators.store.results import Results
from pipelines.folder import JobFolder
from schemas.errors import SpecError

CELL_LINES = 12
CELL_CHARACTERS = 700

_COLUMNS = ("input_uri", "unit_index", "request_index", "page", "start_s", "end_s", "status", "error", "result")
_QUERY = """
select parse_filename(input_uri) as name, coalesce(page, unit_index + 1) as number, start_s, end_s, status,
    error.kind as kind, to_json(result) as result, count(*) over () as total
from results order by input_uri, unit_index, request_index limit $rows
"""


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
        first = list(results.query(task, _QUERY, _COLUMNS, rows=rows))
        table = Table(title=cell(task), title_justify="left", show_lines=True)
        for column in ("input", "unit", "status", "result"):
            table.add_column(column, overflow="fold")
        for row in first:
            in_time = row["start_s"] is not None
            unit = f"{row['start_s']:.1f}–{row['end_s']:.1f} s" if in_time else str(row["number"])
            shown = _begin(row["result"]) if row["status"] == "ok" else str(row["kind"])
            table.add_row(cell(row["name"]), unit, cell(row["status"]), cell(shown, lines=True))
        console.print(table)
        if first and first[0]["total"] > len(first):
            show_line(console, f"and {first[0]['total'] - len(first)} more")


def _begin(result: str) -> str:
    """What a cell shows: the text alone where there is one, and of a long one the beginning."""
    value = json.loads(result)
    text = str(value["text"]) if isinstance(value, dict) and "text" in value else result
    begin = "\n".join(text.splitlines()[:CELL_LINES])[:CELL_CHARACTERS]
    return begin + (" …" if len(begin) < len(text.rstrip()) else "")
