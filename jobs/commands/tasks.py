"""`sightread tasks`: list the tasks, what they take and what they give."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from typing import Any

from jobs.arguments import add_json
from jobs.echo import echo
from pipelines.catalogue import find, names
from schemas.task import Task


def add(parser: argparse.ArgumentParser) -> None:
    add_json(parser, "one JSON array")


def run(options: argparse.Namespace) -> int:
    tasks = [find(name) for name in names()]
    if options.json:
        echo(json.dumps([_described(task) for task in tasks], ensure_ascii=False))
        return 0
    for task in tasks:
        print("\n".join(_lines(task)))
    return 0


def _lines(task: Task) -> list[str]:
    """One in a file or pipe, where lines are looked for; for a terminal as many as fit it."""
    text, type_ = f"{task.name:18} {', '.join(task.unit_kinds):12} {task.summary}", f"-> {task.output.arrow_type}"
    if not sys.stdout.isatty():
        return [f"{text} {type_}"]
    width, deep = shutil.get_terminal_size().columns, " " * 7
    return [
        *textwrap.wrap(text, width, subsequent_indent=deep),
        *textwrap.wrap(type_, width, initial_indent=" " * 4, subsequent_indent=deep),
    ]


def _described(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "units": list(task.unit_kinds),
        "summary": task.summary,
        "parameters": list(task.required_parameters()),
        "type": str(task.output.arrow_type),
        "schema": task.output.schema,
    }
