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
from pipelines.reparse import Reparsed, reparse


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
        echo(f"{total.task}: {total.rows} rows, {total.changed} changed; {_states(total)}{kept}")
    return 0


def _states(total: Reparsed) -> str:
    """How many rows are in each state now; where it is another number than before, that too."""
    return ", ".join(
        f"{state} {now}" + (f" (before: {before})" if now != (before := total.before[state]) else "")
        for state, now in total.after.items()
    )
