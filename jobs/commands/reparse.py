"""`sightread reparse OUTPUT`: read the raw replies of a job again, without an engine.

Parsers and checks once more, from the output alone: the inputs may be gone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.load import load_stored
from pipelines.reparse import reparse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, help="the folder of a job's output")


def run(options: argparse.Namespace) -> int:
    output: Path = options.output
    spec = load_stored(output / "_job" / "spec.yaml")
    for total in reparse(output, spec):
        kept = f"; {total.kept} were read line by line and stay as they are" if total.kept else ""
        print(
            f"{total.task}: {total.rows} rows, {total.changed} changed, "
            f"ok {total.ok_before} before, {total.ok_after} now{kept}"
        )
    return 0
