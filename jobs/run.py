"""Run one job spec: what `sightread run` does, and the entry point of a Ray job. Knows no options of a command line.

ray job submit --working-dir . -- python -m jobs.run SPEC
"""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from pathlib import Path

from jobs.load import load
from jobs.logs import to_file
from operators.processes import ending
from schemas.errors import JobConflict, SightreadError, SpecError

_log = logging.getLogger(__name__)


def run_spec(
    path: Path, *, limit: int | None = None, new: bool = True, changed: bool = False, redo: tuple[str, ...] = ()
) -> int:
    """The exit code of the run. new, changed, redo: as in pipelines.run.Growth. Raises SpecError before anything heavy
    is imported."""
    spec = load(path)

    from jobs.display import Display, console_for, show_summary
    from pipelines.job import prepare
    from pipelines.run import Growth, run

    console = console_for()
    job = prepare(spec)
    advice = ending.advising("what is answered is committed, and the same command again goes on")
    with advice, to_file(job.logs / "run.log") if job.logs is not None else nullcontext():
        try:
            growth = Growth(new=new, changed=changed, redo=redo)
            summary = run(job, limit=limit, progress=Display(console), growth=growth)
        except (SpecError, JobConflict):  # nothing was begun, and the folder may be another job's
            raise
        except SightreadError as error:
            _log.info("ended early: %s", error)
            raise
        _log.info("%d new rows in %.1f s, exit code %d", summary.new_rows, summary.wall_s, summary.exit_code)
    show_summary(summary, console)
    return summary.exit_code


if __name__ == "__main__":
    from jobs.cli import main

    sys.argv.insert(1, "run")
    sys.exit(main())
