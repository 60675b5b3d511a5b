"""`sightread status OUTPUT`: show how a job stands and who runs it.

From anywhere, also while a run goes on: the output alone is read, and nothing is changed. With --json one object, whose
keys docs/status.md lists.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.table import Table

from jobs.arguments import count
from jobs.display import cell, clock, console_for, show_line, show_table, use_line, use_table
from jobs.echo import echo
from jobs.shown_rows import kinds, state_cells, why_lines
from operators.store.addresses import opened
from pipelines.status import EVENTS, RoundStatus, Status, TaskStatus, status_of
from schemas.state import STATES

LONGEST = 1500
"""Characters of an event that are shown."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument("--events", type=count, default=EVENTS, metavar="N", help="of the last ones")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> int:
    status = status_of(opened(options.output), events=options.events)
    if options.json:
        echo(json.dumps({**asdict(status), "planning": status.planning}))
        return 0
    console = console_for()
    show = partial(show_line, console)
    for line in _above(status):
        show(line)
    if status.tasks:
        show_table(console, _tasks(status.tasks))
        for name, task in status.tasks.items():
            for line in why_lines(task.faults, {}):
                show(f"{name}: {line}")
    if status.rounds:
        show_table(console, _rounds(status.rounds))
    if status.utilization is not None:
        show_table(console, use_table(status.utilization))
        show(use_line(status.utilization))
    for line in _below(status):
        show(line)
    return 0


def _above(status: Status) -> Iterator[str]:
    yield f"job      {status.job or '(nothing was asked for yet)'} -> {status.output}"
    yield from _who(status.holder, status.progress)
    listing = status.inputs["listing"]
    yield f"inputs   {status.inputs['asked']} asked about" + (f"; {_listing(listing)}" if listing else "")
    for problem in status.problems:
        yield f"broken   {problem}"
    planning = [round_ for round_ in status.rounds if round_.manifests < round_.expected]
    for round_ in planning:
        yield (
            f"planning round {round_.number}: {round_.manifests} of {round_.expected} pieces of its inputs are cut "
            "into units; the others are not counted yet"
        )


def _who(holder: Mapping[str, Any] | None, progress: Mapping[str, Any] | None) -> Iterator[str]:
    if holder is not None and holder["beats"]:
        yield f"running  by {holder['who']} since {holder['since']} ({holder['what']})"
        if progress is None or (progress.get("who"), progress.get("began")) != (holder["who"], holder["since"]):
            yield "now      it has not said yet what it does"
        else:
            yield f"now      {_now(progress)}; as of {_ago(progress['age_s'])}"
        return
    left = f"; {holder['who']} left it behind ({holder['what']}, since {holder['since']})" if holder else ""
    yield f"running  nobody{left}"
    if progress is None:
        return
    if progress.get("state") == "ended":
        code = progress.get("exit_code")
        how = f"ended early: {progress['why']}" if progress.get("why") else f"ended with exit code {code}"
    else:
        why = f" ({progress['why']})" if progress.get("why") else ""
        how = f"never came to its end{why}: {_now(progress)}"
    yield f"last run {progress.get('who')}, begun {progress.get('began')}, {how}; {_ago(progress['age_s'])}"


def _now(progress: Mapping[str, Any]) -> str:
    """What a run does."""
    parts = [str(progress.get("state"))]
    if progress.get("state") == "probing" and progress.get("to_probe"):
        parts.append(f"{progress.get('probed')} of {progress['to_probe']} inputs are cut into units")
    if progress.get("planned_rows") is not None:
        parts.append(f"{progress.get('done_rows')} of {progress['planned_rows']} rows")
    if failures := progress.get("failures"):
        parts.append(f"failed in this run: {_kinds(failures)}")
    if progress.get("new_rows"):
        parts.append(
            f"{progress.get('rows_per_s')} rows/s ({progress.get('rows_per_s_run')} over the run), "
            f"{progress.get('tokens_per_s')} tokens/s"
        )
    if isinstance(progress.get("eta_s"), (int, float)):
        parts.append(f"{clock(progress['eta_s'])} to go")
    parts += [f"bottleneck: {progress['bottleneck']}"] if progress.get("bottleneck") else []
    for key, what in (("engine_deaths", "engines died"), ("store_retries", "times stores were asked again")):
        parts += [f"{progress[key]} {what}"] if progress.get(key) else []
    return ", ".join(parts)


def _listing(listing: Mapping[str, Any]) -> str:
    again = "asked again" if listing.get("asked_again") else "--changed asks again"
    parts = [f"{listing.get('inputs')} were listed at {listing.get('at')}"]
    parts += [f"{listing['new']} new"] if listing.get("new") else []
    parts += [f"{listing['changed']} changed ({again})"] if listing.get("changed") else []
    parts += [f"{listing['gone']} gone (their rows stay)"] if listing.get("gone") else []
    skipped = listing.get("skipped")
    parts += [f"left out: {_kinds(skipped)}"] if isinstance(skipped, dict) and skipped else []
    return ", ".join(parts)


def _tasks(tasks: Mapping[str, TaskStatus]) -> Table:
    table = Table(show_edge=False)
    for column in ("task", "units", "published", "log only", "open", "rows", *STATES, "asked again", "models"):
        table.add_column(column, justify="left" if column in ("task", "models") else "right", overflow="fold")
    for name, task in tasks.items():
        again = f"{task.again.planned}" + (f", {task.again.open} open" if task.again.open else "")
        table.add_row(
            cell(name),
            *(str(number) for number in (*asdict(task.units).values(), task.rows.rows)),
            *map(cell, state_cells(task.rows.states, task.faults, task.rows.failed)),
            again,
            cell(_kinds(task.models) if len(task.models) > 1 else next(iter(task.models), "")),
        )
    return table


def _rounds(rounds: list[RoundStatus]) -> Table:
    table = Table(show_edge=False)
    for column in ("round", "kind", "began", "by", "tasks", "inputs", "units", "open", "rows", *STATES, "about"):
        right = column in ("round", "inputs", "units", "open", "rows", *STATES)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for round_ in rounds:
        about = ", ".join(f"{number} {what}" for what, number in round_.about.items() if number)
        table.add_row(
            str(round_.number),
            *(cell(text) for text in (round_.kind, round_.began, round_.by, ", ".join(round_.tasks))),
            *(str(number) for number in (round_.inputs, round_.units.planned, round_.units.open)),
            str(round_.rows.rows),
            *map(cell, state_cells(round_.rows.states, {}, round_.rows.failed)),
            cell(about),
        )
    return table


def _below(status: Status) -> Iterator[str]:
    log, view = status.log, status.view
    waiting = f", {log.unpublished} of its parts not published yet" if log.unpublished else ""
    yield f"log      {log.files} files, {_size(log.bytes)}{waiting}; results {view.files} files, {_size(view.bytes)}"
    for event in status.events:
        facts = " ".join(f"{key}={_plain(value)}" for key, value in event.items() if key not in ("at", "kind"))
        line = f"{event['at']} {event['kind']}: {facts}"
        yield line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def _kinds(counts: Any) -> str:
    """Of what others may have written."""
    return kinds(counts) if isinstance(counts, Mapping) else ""


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _ago(age_s: float | None) -> str:
    return "some time ago" if age_s is None else f"{clock(age_s)} ago"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MB" if size_bytes >= 1 << 20 else f"{size_bytes / 1024:,.0f} KB"
