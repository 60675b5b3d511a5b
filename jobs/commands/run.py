"""`sightread run SPEC`: run a job spec, or go on where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs.arguments import count
from jobs.run import run_spec


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, help="the job spec (YAML)")
    parser.add_argument("--limit", type=count, metavar="N", help="stop after the chunks that hold the next N rows")


def run(options: argparse.Namespace) -> int:
    return run_spec(options.spec, limit=options.limit)
