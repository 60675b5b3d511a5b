"""Types of arguments that several commands take. Knows nothing of any command."""

from __future__ import annotations

import argparse


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """what: is printed."""
    parser.add_argument("--json", action="store_true", help=what)


def count(text: str) -> int:
    """A number of things, at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
