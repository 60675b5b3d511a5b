"""`sightread tasks`: list the tasks, what they take and what they give."""

from __future__ import annotations

import argparse

from pipelines.catalogue import find, names


def add(parser: argparse.ArgumentParser) -> None:
    """It takes no arguments."""


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    for name in names():
        task = find(name)
        print(f"{name:18} {', '.join(task.unit_kinds):12} {task.summary} -> {task.output.arrow_type}")
    return 0
