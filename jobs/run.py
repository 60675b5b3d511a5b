"""Run one job spec: what `sightread run` does, and the entry point of a Ray job. Knows no options of a command line.

ray job submit --working-dir . -- python -m jobs.run SPEC
"""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.load import load


def run_spec(path: Path, *, limit: int | None = None) -> int:
    """The exit code of the run. Raises SpecError before anything heavy is imported."""
    spec = load(path)

    from jobs.display import Display, console_for, show_summary
    from pipelines.job import prepare
    from pipelines.run import run

    console = console_for()
    summary = run(prepare(spec), limit=limit, progress=Display(console))
    show_summary(summary, console)
    return summary.exit_code


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["run", *sys.argv[1:]]))
