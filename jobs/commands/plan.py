"""`sightread plan SPEC`: show stages, chunks and units of a job, and start nothing.

Inputs are listed and probed; nothing is written, no Ray and no engine is started, and no weights are fetched. What a
run here would refuse is refused, as far as it shows without.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from jobs import machine
from jobs.arguments import add_json
from jobs.echo import echo
from jobs.load import load
from jobs.prepared import prepared
from jobs.terminal import console_for, show_line
from pipelines.outlook import outlook
from pipelines.plan import Stage, check_resources, code_check_stages, stages
from pipelines.requests import expected_rows
from pipelines.task_modules import names_code, source_of


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, help="the job spec (YAML)")
    add_json(parser, "one JSON object")


def run(options: argparse.Namespace) -> int:
    job = prepared(load(options.spec), fetch=False)
    ahead = outlook(job)
    listing, chunks = ahead.listing, ahead.work.of_run()
    show = partial(show_line, Console(quiet=True) if options.json else console_for())
    units: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    unreadable: Counter[str] = Counter()
    messages: dict[str, str] = {}
    for tasks, row in zip(chunks.column("tasks").to_pylist(), chunks.column("units"), strict=True):
        for unit in row.as_py():
            kind = unit["unit_kind"] or "unknown"
            units[kind] += 1
            if unit["error"]:
                unreadable[unit["error"]["kind"]] += 1
                messages.setdefault(unit["error"]["kind"], f"{unit['input_uri']}: {unit['error']['message']}")
            if not tasks:
                rows[f"(no task takes a {kind})"] += 1
    for task in job.tasks:
        if expected := expected_rows([task], chunks):
            rows[task.name] = expected
    show(f"job      {job.spec.name} -> {job.output}")
    for task_spec in job.spec.tasks:
        if task_spec.output is None and names_code(task_spec.name):
            show(f"code     runs {task_spec.name} of {source_of(task_spec.name)}")
    if taken := getattr(job.spec.engine, "options", {}):
        show(f"code     runs what engine.options name, where they name code: {', '.join(map(str, taken))}")
    skipped = ", ".join(f"{number} {reason}" for reason, number in sorted(listing.skipped.items()))
    show(f"inputs   {listing.inputs.num_rows}" + (f"; left out: {skipped}" if skipped else ""))
    if ahead.begun:
        figures = ahead.work.figures
        differ = ", ".join(f"{number} {what}" for what, number in ahead.grown.items() if number)
        show(
            f"output   {figures.committed_rows} of {figures.planned_rows} rows are there"
            + f"; inputs: {differ}" * bool(differ)
        )
    show(f"units    {', '.join(f'{number} {kind}' for kind, number in sorted(units.items())) or 'none'}")
    if unreadable:
        show(f"failing  {', '.join(f'{number} {kind}' for kind, number in sorted(unreadable.items()))}")
        for kind, message in sorted(messages.items()):
            show(f"         {kind}, as: {message}")
    asked = chunks.filter(pa.array([bool(tasks) for tasks in chunks.column("tasks").to_pylist()], pa.bool_()))
    show(f"chunks   {asked.num_rows}")
    for name, number in sorted(rows.items()):
        show(f"rows     {name}: {number}")
    code_checks = code_check_stages(job) if any(task.code_check for task in job.tasks) else []
    plan = stages(job, sum(rows.values()) / max(1, asked.num_rows))
    if options.json:
        echo(
            json.dumps(
                {
                    "job": job.spec.name,
                    "output": job.output,
                    "inputs": listing.inputs.num_rows,
                    "skipped": dict(sorted(listing.skipped.items())),
                    "grown": ahead.grown if ahead.begun else None,
                    "committed_rows": ahead.work.figures.committed_rows,
                    "planned_rows": ahead.work.figures.planned_rows,
                    "units": dict(sorted(units.items())),
                    "failing": dict(sorted(unreadable.items())),
                    "chunks": asked.num_rows,
                    "rows": dict(sorted(rows.items())),
                    "stages": [_described(stage) for stage in (*plan, *code_checks)],
                    "left_open": list(job.left_open),
                },
                ensure_ascii=False,
            )
        )
    for stage in (*plan, *code_checks):
        show(
            f"stage    {stage.name}: {stage.actors} actors x {stage.calls} calls, "
            f"{stage.cpus:g} CPUs and {stage.gpus:g} GPUs each"
        )
    for sentence in job.left_open:
        show(f"open     {sentence}")
    if not os.environ.get("RAY_ADDRESS"):  # a cluster has what it has
        check_resources(plan, cpus=math.inf, gpus=_visible_gpus())
    return 0


def _described(stage: Stage) -> dict[str, Any]:
    return {key: getattr(stage, key) for key in ("name", "actors", "calls", "cpus", "gpus")}


def _visible_gpus() -> int:
    """Of this machine, as Ray counts them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = len(machine.gpus())
    return gpus if visible is None else min(gpus, len([name for name in visible.split(",") if name.strip()]))
