"""`sightread reparse OUTPUT`: read the raw replies of a job again, without an engine.

Parsers and checks once more, from the output alone: the inputs may be gone.
"""

from __future__ import annotations

import argparse
import os

from jobs.arguments import count
from jobs.echo import echo
from jobs.load import parse_stored_all
from jobs.progress_lines import ProgressLines
from operators.store.addresses import opened
from pipelines.folder import JobFolder
from pipelines.one_driver import one_driver
from pipelines.reparse import reparse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument("--workers", type=count, metavar="N", help="processes (default: one for each CPU)")


def run(options: argparse.Namespace) -> int:
    store = opened(options.output)
    specs = parse_stored_all(JobFolder(store).specs(), options.output)
    with one_driver(store, "sightread reparse"):
        totals = reparse(store, specs, options.workers or os.cpu_count() or 1, ProgressLines("slices read again"))
    for total in totals:
        kept = f"; {total.kept} were read line by line and stay as they are" if total.kept else ""
        echo(
            f"{total.task}: {total.rows} rows, {total.changed} changed, "
            f"ok {total.ok_before} before, {total.ok_after} now{kept}"
        )
    return 0
