"""`sightread verify OUTPUT`: read every file of an output to its end, and hold log, results and plan together.

--repair mends what is broken from what is intact, and asks again only for what neither log nor results hold.
"""

from __future__ import annotations

import argparse

from jobs.echo import echo
from jobs.progress_lines import ProgressLines
from operators.store.addresses import opened
from operators.store.store import Store
from pipelines.one_driver import one_driver
from pipelines.verify import Verified, verify
from schemas.errors import SightreadError
from schemas.printable import one_line


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument(
        "--repair", action="store_true", help="mend it, and ask again for what neither the log nor the results hold"
    )


def run(options: argparse.Namespace) -> int:
    """1 where something is wrong, or stays wrong."""
    store = opened(options.output)
    if not options.repair:
        return _show(verify(store, ProgressLines("files read")))
    with one_driver(store, "sightread verify --repair") as lease:
        return _repair(store, options.output, lease.token)


def _repair(store: Store, output: str, token: str) -> int:
    from pipelines.repair import repair

    before = verify(store, ProgressLines("files read"))
    _show(before)
    for line in repair(store, before):
        echo(one_line(line))
    after = verify(store, ProgressLines("files read"))
    if after.open_units and (before.faulty or after.less_than_before):
        _ask(store, output, token, after)
        after = verify(store, ProgressLines("files read"))
    return _show(after, only_faults=True)


def _ask(store: Store, output: str, token: str, after: Verified) -> None:
    """Answer what is open, as `sightread run` would."""
    from jobs.display import Display, console_for, show_summary
    from jobs.load import parse_stored_all
    from operators.store.lease import LeaseGuard
    from pipelines.folder import JobFolder
    from pipelines.run import execute, going_on
    from pipelines.running import Clock
    from pipelines.stored_job import stored_jobs

    console = console_for()
    folder = JobFolder(store)
    try:
        rounds = folder.rounds()
        specs = {task: spec for task, spec in folder.specs().items() if task in after.open_units}
        for job in stored_jobs(rounds, parse_stored_all(specs, output), store.address):
            with going_on() as committed, Display(console) as progress:
                guard = LeaseGuard(job.output, token)
                summary = execute(job, rounds, guard, committed, progress=progress, clock=Clock())
            show_summary(summary, console)
    except SightreadError as error:
        units = sum(after.open_units.values())
        echo(one_line(f"{units} units are open, and cannot be asked from here: {error}; `sightread run` asks them"))


def _show(verified: Verified, *, only_faults: bool = False) -> int:
    for finding in verified.findings:
        if not finding.is_note or not only_faults:
            echo(one_line(f"{finding.key}: {finding.text}"))
    open_units = sum(verified.open_units.values())
    left = f"; {open_units} units are not answered yet, which `sightread run` goes on with" if open_units else ""
    faults = verified.faults
    state = "all is sound" if not faults else f"{faults} thing{'s are' if faults > 1 else ' is'} wrong"
    echo(f"{verified.files} files, {verified.rows} rows: {state}{left}")
    return 1 if faults else 0
