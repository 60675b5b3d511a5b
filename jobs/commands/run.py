"""`sightread run SPEC`: run a job spec, go on where it stopped, or take in what has come since.

Open work is finished and inputs are listed again: new ones are asked about too, and a task that is new about all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.arguments import add_json, count
from jobs.run import run_spec


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, help="the job spec (YAML)")
    parser.add_argument("--limit", type=count, metavar="N", help="stop after the chunks that hold the next N rows")
    parser.add_argument("--no-new", action="store_true", help="finish what is open and do not list the inputs again")
    parser.add_argument("--changed", action="store_true", help="ask again about inputs that changed since")
    parser.add_argument(
        "--redo", action="append", default=[], metavar="TASK", help="ask all of a task anew, as the spec has it now"
    )
    add_json(parser, "how it ended as one JSON object on stdout; what goes on goes to stderr")


def run(options: argparse.Namespace) -> int:
    return run_spec(
        options.spec,
        limit=options.limit,
        new=not options.no_new,
        changed=options.changed,
        redo=tuple(options.redo),
        as_json=options.json,
    )
