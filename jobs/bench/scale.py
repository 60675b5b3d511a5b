"""`sightread bench scale`: what a job of many inputs costs its driver, a unit all processes, and one picture a start.

Everything is answered by an engine that needs no model. Linux; as it stands an hour or two.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from rich.markup import escape

from jobs.arguments import count
from jobs.bench.scale_report import Figures, show
from jobs.bench.scale_rounds import THIS, Checkout, Rounds
from jobs.display import console_for
from schemas.errors import SpecError

PARTS = ("inputs", "units", "one")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", type=_parts, default=",".join(PARTS), metavar="PART,…", help="which of them")
    parser.add_argument("--inputs", type=_sizes, default="100000,10000,10", metavar="N,…", help="links of one picture")
    parser.add_argument("--s3", metavar="ADDRESS", help="the same with keys, put below s3://bucket/…, where they stay")
    parser.add_argument("--keys", type=_sizes, default="20000,10", metavar="N,…", help="how many keys")
    parser.add_argument(
        "--pictures", type=count, default=5000, metavar="N", help="of 64 x 64 px, beside a fifth of them"
    )
    parser.add_argument("--pages", type=count, default=500, metavar="N", help="of text, beside a fifth of them")
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="of one picture")
    parser.add_argument(
        "--beside", type=Path, metavar="CHECKOUT", help="the same commands in another checkout, in turns"
    )
    parser.add_argument("--quick", action="store_true", help="few inputs, pictures and pages: whether it works at all")
    parser.add_argument("--json", action="store_true", help="one object on stdout; what goes on goes to stderr")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({count(number) for number in text.replace("_", "").split(",")}))


def _parts(text: str) -> tuple[str, ...]:
    if unknown := sorted(set(text.split(",")) - set(PARTS)):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    return tuple(text.split(","))


def run(options: argparse.Namespace) -> int:
    """Raises SightreadError when a run fails."""
    if options.quick:
        options.inputs, options.keys, options.pictures, options.pages, options.rounds = (2, 100), (2, 50), 100, 25, 1
    checkouts = [THIS]
    if options.beside is not None:
        if not (options.beside / "jobs" / "cli.py").is_file():
            raise SpecError(f"--beside: {options.beside} is no checkout of sightread: it has no jobs/cli.py")
        checkouts.append(Checkout.at(options.beside.absolute()))
    import sys

    console, started = console_for(sys.stderr if options.json else sys.stdout), time.monotonic()

    def report(line: str) -> None:
        console.print(escape(f"{time.monotonic() - started:7.1f} s  {line}"), highlight=False, soft_wrap=True)

    figures = Figures()
    try:
        with tempfile.TemporaryDirectory(prefix="sightread-bench-") as place:
            measure(Rounds(Path(place), checkouts, report), options, figures)
    finally:  # of hours, a run that fails leaves what there is
        if options.json:
            print(json.dumps(figures.as_json(), indent=1))
        else:
            show(figures, console)
    return 0


def measure(rounds: Rounds, options: argparse.Namespace, figures: Figures) -> None:
    """Adds to the figures as they come."""
    if "one" in options.parts:
        figures.single += rounds.single(options.rounds)
    if "units" in options.parts:
        for kind, most in (("picture", options.pictures), ("page", options.pages)):
            figures.units += rounds.unit(kind, (max(1, most // 5), most))
    if "inputs" in options.parts:
        for grown in rounds.grown(options.inputs):
            figures.grown.append(grown)
        for grown in rounds.grown_in_bucket(options.s3, options.keys) if options.s3 else ():
            figures.grown.append(grown)
