"""`sightread compact OUTPUT`: delete from the log of an output what its results hold.

The log is what broken results are made anew from; without it their units are asked again. `sightread verify` first.
"""

from __future__ import annotations

import argparse
import re

from jobs.echo import echo
from jobs.load import parse_stored_all
from operators.store.addresses import opened
from pipelines.compact import compact
from pipelines.folder import JobFolder
from pipelines.one_driver import one_driver
from schemas.printable import one_line

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument(
        "--older-than",
        type=age,
        default=0.0,
        metavar="AGE",
        help="parts that were written so long ago, as 7d or 12h; default: all",
    )


def run(options: argparse.Namespace) -> int:
    """1 where results cannot be read."""
    store = opened(options.output)
    specs = parse_stored_all(JobFolder(store).specs(), options.output)
    code = 0
    with one_driver(store, "sightread compact"):
        for freed in compact(store, specs, options.older_than):
            for sentence in freed.unreadable:
                echo(one_line(sentence))
                code = 1
            kept = f"; {freed.kept} stay" if freed.kept else ""
            echo(one_line(f"{freed.task}: {freed.parts} parts deleted, {freed.size_bytes / 2**20:.1f} MB{kept}"))
    return code


def age(text: str) -> float:
    """In seconds."""
    if (form := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text, re.ASCII)) is None:
        raise argparse.ArgumentTypeError("a number and s, m, h or d, as 7d")
    return float(form[1]) * _SECONDS[form[2]]
