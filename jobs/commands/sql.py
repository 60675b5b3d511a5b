"""`sightread sql OUTPUT [QUERY]`: ask the rows of a job in SQL, or one of the questions that ship.

There is a view for each task, by its name, and `rows` over all of them; both have the columns `task` and `state`. Only
the results are read, and nothing is written.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.table import Table

from jobs.arguments import count
from jobs.echo import echo
from jobs.terminal import cell, console_for, show_line
from operators.store.addresses import opened
from operators.store.sql import asked
from pipelines.folder import JobFolder
from schemas.checkout import ROOT

QUERIES = ROOT / "jobs" / "queries"
ROWS = 50
_LONGEST = 300
"""Characters of a value in a table."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument(
        "query", nargs="?", help=f"a SELECT, or one of {', '.join(questions())}; none: what these ask, a line each"
    )
    parser.add_argument("--rows", type=count, metavar="N", help=f"at most; default {ROWS} of a table, else all")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a JSON object a row, each on its line")
    form.add_argument("--csv", action="store_true", help="comma-separated values, the names of the columns first")
    form.add_argument("--show", action="store_true", help="print the SQL of the question, and ask nothing")


def run(options: argparse.Namespace) -> int:
    shipped = questions()
    console = console_for()
    if options.query is None:
        table = Table(show_edge=False)
        for column in ("query", "asks"):
            table.add_column(column, overflow="fold")
        for name, path in shipped.items():
            table.add_row(cell(name), cell(asks(path)))
        console.print(table)
        return 0
    query = shipped[options.query].read_text(encoding="utf-8") if options.query in shipped else options.query
    if options.show:
        echo(query.strip())
        return 0
    store = opened(options.output)
    JobFolder(store).check_readable()
    with asked(store, query) as answer:
        rows = answer.rows if options.rows is None else islice(answer.rows, options.rows)
        if options.json:
            for row in rows:
                echo(json.dumps(dict(zip(answer.names, row, strict=True)), ensure_ascii=False, default=str))
        elif options.csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(answer.names)
            writer.writerows(rows)
        else:
            most = options.rows or ROWS
            first = list(islice(answer.rows, most + 1))
            console.print(_table(answer.names, first[:most]))
            if len(first) > most:
                show_line(console, "and more; --rows N shows them, --csv and --json all")
    return 0


def questions() -> dict[str, Path]:
    """By name, the files of those that ship."""
    return {path.stem: path for path in sorted(QUERIES.glob("*.sql"))}


def asks(path: Path) -> str:
    """What one asks: its first line, a comment."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("-- ")


def _table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Table:
    table = Table(show_edge=False)
    for place, name in enumerate(names):
        numbers = all(isinstance(row[place], (int, float)) or row[place] is None for row in rows)
        table.add_column(cell(name), justify="right" if numbers and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(text, lines=True) for text in map(_text, row)))
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
