"""`sightread bench WHAT`: measure how well nano reads, or how fast and how busy engines are.

What a bench takes and does stands in jobs/bench/; the first line of its file is its help.
"""

from __future__ import annotations

import argparse

from jobs.command import add_commands

BENCHES = ("nano", "engine", "long", "pipeline", "scale", "decode")


def add(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, [f"jobs.bench.{name}" for name in BENCHES], metavar="what")
