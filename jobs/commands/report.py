"""`sightread report OUTPUT`: write a page to look at: figures, failures, and a gallery of rows beside their inputs.

A folder of files that a browser opens from the disk, without a server or a network. The inputs that it shows are
decoded once more.
"""

from __future__ import annotations

import argparse
import math
import webbrowser

from jobs.arguments import count
from jobs.echo import echo
from jobs.report.report import write_report
from jobs.report.site import Folder, SingleFile
from jobs.terminal import console_for
from jobs.waiting import Waiting
from operators.store.addresses import absolute, check_writable, local_path, opened, store_at
from operators.store.store import Store
from schemas.errors import SpecError

SAMPLE = 200


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument(
        "--sample",
        type=count,
        default=SAMPLE,
        metavar="N",
        help=f"rows of each task that are shown, those in doubt and failed ones above all; default {SAMPLE}",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample; default 0")
    parser.add_argument("--task", action="append", metavar="NAME", help="of this task alone; may be repeated")
    parser.add_argument("--single", action="store_true", help="one file, with all that it shows in it")
    parser.add_argument("--into", metavar="ADDRESS", help="where it goes; default: OUTPUT/report")
    parser.add_argument("--no-pictures", action="store_true", help="decode no inputs, show no pictures")
    parser.add_argument("--price", type=_price, metavar="$", help="an hour of one engine, to say what the run cost")
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def run(options: argparse.Namespace) -> int:
    store = opened(options.output)
    kind = SingleFile if options.single else Folder
    site = kind(_target(options.into)) if options.into else kind(store, "report")
    with Waiting(console_for(), "reading") as waiting:
        page = write_report(
            store,
            site,
            sample=options.sample,
            seed=options.seed,
            tasks=options.task or (),
            pictures=not options.no_pictures,
            price=options.price,
            tell=waiting.tell,
        )
    echo(page)
    if options.open and (path := local_path(page)) is not None:
        webbrowser.open(path.absolute().as_uri())
    return 0


def _price(text: str) -> float:
    if not 0 <= (price := float(text)) < math.inf:
        raise argparse.ArgumentTypeError("must be a number, at least 0")
    return price


def _target(address: str) -> Store:
    try:
        check_writable(address)
        return store_at(absolute(address))
    except SpecError as error:
        raise SpecError(f"--into: {str(error).removeprefix('output: ')}") from error
