"""`sightread bench decode`: how fast and how rightly videos and pages become pictures, beside other readers.

Clips whose frames carry their number, a document of text, and files that are given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from jobs.arguments import count
from jobs.bench.decode_cases import NAMES, generated, samples
from jobs.bench.decode_report import Figures, lines
from jobs.bench.decode_rounds import READERS, Rounds
from jobs.bench.processor import processor_name
from jobs.display import console_for
from jobs.terminal import show_line
from schemas.errors import SpecError

_READERS = tuple(dict.fromkeys(reader.name for reader in READERS))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", type=_names, metavar="CASE,…", help=f"{', '.join(NAMES)}, or names of samples")
    parser.add_argument("--readers", type=_names, metavar="NAME,…", help="by how their names begin; default: all")
    parser.add_argument("--samples", type=Path, metavar="FOLDER", help="videos and PDFs of yours, as cases too")
    parser.add_argument("--rounds", type=count, default=5, metavar="N")
    parser.add_argument(
        "--workers", type=count, metavar="N", help="processes of a reader at once, of one thread each; default: cores"
    )
    parser.add_argument("--folder", type=Path, help="where generated clips stay; default: they are made anew")
    parser.add_argument("--quick", action="store_true", help="tiny clips and few pages: whether it works at all")
    parser.add_argument("--json", action="store_true", help="one object on stdout; what goes on goes to stderr")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def run(options: argparse.Namespace) -> int:
    """Raises SpecError for names of cases and readers that there are not."""
    readers = [
        reader for reader in READERS if not options.readers or reader.name.lower().startswith(_lower(options.readers))
    ]
    if not readers:
        raise SpecError(f"--readers: none of {', '.join(_READERS)} begins so")
    if options.samples is not None and not options.samples.is_dir():
        raise SpecError(f"--samples: {options.samples} is no folder")
    console, started = console_for(sys.stderr), time.monotonic()

    def report(line: str) -> None:
        show_line(console, f"{time.monotonic() - started:6.1f} s  {line}")

    workers = options.workers or len(os.sched_getaffinity(0))
    figures, missing = Figures(workers), dict[str, str]()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sightread-bench-") as place,
            Rounds(readers, workers=workers, report=report) as rounds,
        ):
            missing = rounds.missing
            cases = generated(options.folder or Path(place), lambda name: _is_asked(options, name), quick=options.quick)
            for case in cases:
                figures.cases.append(case)
                figures.results += rounds.case(case, options.rounds)
            if options.samples is not None:
                for case in samples(options.samples, lambda name: _is_asked(options, name)):
                    figures.cases.append(case)
                    figures.results += rounds.case(case, options.rounds)
        if not figures.cases:
            raise SpecError(f"--only: none of {', '.join(NAMES)}, and no sample")
    finally:  # an interrupt shows what there is
        if options.json:
            print(json.dumps({**figures.as_json(), "missing": missing}, indent=1))
        elif figures.results:
            head = f"{date.today()}, {processor_name()}, {workers} workers, {options.rounds} rounds"
            print("\n".join((head, "", *lines(figures, missing))))
    return 0


def _is_asked(options: argparse.Namespace, name: str) -> bool:
    return not options.only or name in options.only


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
