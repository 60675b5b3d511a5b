"""`sightread diff BEFORE AFTER`: name the units whose answers differ between two outputs, the worst first.

Of the same inputs, read by other models, prompts or versions. With --into it writes a page too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from jobs.arguments import add_json, count
from jobs.echo import echo
from jobs.report.difference import TaskDifference, differences
from jobs.report.difference_page import write_difference
from jobs.report.items import key_of, short_name
from jobs.report.report import sampled
from jobs.report.site import Folder, SingleFile
from jobs.shown_rows import unit_of
from jobs.terminal import cell, console_for
from operators.store.addresses import absolute, opened, store_at
from operators.store.results import Results
from pipelines.folder import JobFolder

SHOWN = 10
"""Units of a task on the terminal."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", help="the address of a job's output")
    parser.add_argument("after", help="the address of another one")
    parser.add_argument("--task", action="append", metavar="NAME", help="of this task alone; may be repeated")
    parser.add_argument("--rows", type=count, default=200, metavar="N", help="units of each task at most; default 200")
    add_json(parser, "a JSON object a task, each on its line")
    parser.add_argument("--into", metavar="ADDRESS", help="write a page there, of the make of `report`")
    parser.add_argument("--single", action="store_true", help="the page as one file")
    parser.add_argument("--no-pictures", action="store_true", help="decode no inputs for the page")


def run(options: argparse.Namespace) -> int:
    """0, whether they differ or not."""
    before, after = opened(options.before), opened(options.after)
    for store in (before, after):
        JobFolder(store).check_readable()
    tasks = list(differences(Results(before), Results(after), tasks=options.task or (), most=options.rows))
    if options.json:
        for task in tasks:
            changes = {" -> ".join(states): number for states, number in task.changes.items()}
            echo(json.dumps({**asdict(task), "changes": changes}))
    else:
        _show(tasks, Results(after))
    if options.into:
        kind = SingleFile if options.single else Folder
        site = kind(store_at(absolute(options.into)))
        echo(write_difference(before, after, site, tasks, pictures=not options.no_pictures))
    return 0


def _show(tasks: Sequence[TaskDifference], after: Results) -> None:
    console = console_for()
    table = Table(show_edge=False)
    for column in ("task", "alike", "differ", "only before", "only after", "better", "worse"):
        table.add_column(column, justify="left" if column == "task" else "right", overflow="fold")
    for task in tasks:
        counts = (task.same, task.differ, task.only_before, task.only_after, task.better, task.worse)
        table.add_row(cell(task.name), *map(str, counts))
    console.print(table)
    for task in tasks:
        first = task.worst[:SHOWN]
        rows = {key_of(row): row for some in sampled(after, task.name, {one.key for one in first}) for row in some}
        worst = Table(title=cell(task.name), title_justify="left", show_edge=False)
        for column in ("input", "unit", "differs by", "state"):
            worst.add_column(column, justify="right" if column == "differs by" else "left", overflow="fold")
        for one in first:
            if (row := rows.get(one.key)) is not None:
                states = " → ".join(dict.fromkeys(one.states))
                worst.add_row(cell(short_name(row["input_uri"])), unit_of(row), f"{one.distance:.1%}", cell(states))
        if first:
            console.print(worst)
