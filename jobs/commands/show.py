"""`sightread show OUTPUT`: show the first rows of every task of a job."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import duckdb
from rich.table import Table
from rich.text import Text

from jobs.arguments import count
from jobs.display import console_for
from schemas.errors import SpecError

CELL_LINES = 12
CELL_CHARACTERS = 700


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, help="the folder of a job's output")
    parser.add_argument("--rows", type=count, default=20, metavar="N", help="of each task at most")


def run(options: argparse.Namespace) -> int:
    show_rows(options.output, rows=options.rows)
    return 0


def show_rows(output: Path, *, rows: int) -> None:
    """Raises SpecError when there is nothing to show."""
    folders = sorted((output / "results").glob("task=*"))
    if not folders:
        raise SpecError(f"{output} holds no results of a job")
    console = console_for()
    for folder in folders:
        with duckdb.connect() as db:
            found = db.execute(
                """select parse_filename(input_uri), coalesce(page, unit_index + 1), start_s, end_s, status,
                       error.kind, to_json(result), count(*) over ()
                from read_parquet($parts, hive_partitioning = false)
                order by input_uri, unit_index, request_index limit $rows""",
                {"parts": str(folder / "*.parquet"), "rows": rows},
            ).fetchall()
        table = Table(title=folder.name, title_justify="left", show_lines=True)
        for column in ("input", "unit", "status", "result"):
            table.add_column(column, overflow="fold")
        for name, number, start_s, end_s, status, kind, result, _ in found:
            unit = str(number) if start_s is None else f"{start_s:.1f}–{end_s:.1f} s"
            # Text, not str: what a model wrote must not be taken for markup
            table.add_row(Text(name), unit, status, Text(_plain(result) if status == "ok" else str(kind)))
        console.print(table)
        if found and found[0][-1] > len(found):
            console.print(f"and {found[0][-1] - len(found)} more")


def _plain(result: str) -> str:
    """What a cell shows: the text alone where there is one, and of a long one the beginning."""
    value = json.loads(result)
    text = value["text"] if isinstance(value, dict) and "text" in value else result
    begin = "\n".join(text.splitlines()[:CELL_LINES])[:CELL_CHARACTERS]
    begin += " …" if len(begin) < len(text.rstrip()) else ""
    # control characters could steer the terminal
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in begin)
