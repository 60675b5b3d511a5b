"""Run one job spec: what `sightread run` does, and the entry point of a Ray job. Knows no options of a command line.

ray job submit --working-dir . -- python -m jobs.run SPEC
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.echo import echo
from jobs.load import load
from jobs.logs import to_file
from operators.processes import ending
from schemas.errors import JobConflict, SightreadError, SpecError

if TYPE_CHECKING:
    from jobs.display import Display
    from pipelines.job import Job
    from pipelines.summary.summary import Summary

_log = logging.getLogger(__name__)


def run_spec(
    path: Path,
    *,
    limit: int | None = None,
    new: bool = True,
    changed: bool = False,
    redo: tuple[str, ...] = (),
    as_json: bool = False,
) -> int:
    """The exit code of the run. new, changed, redo: as in pipelines.run.Growth. as_json: as in `shown`. Raises
    SpecError before anything heavy is imported."""
    spec = load(path)

    from jobs.display import Display, console_for
    from jobs.prepared import prepared
    from pipelines.run import Growth, run

    console = console_for(sys.stderr if as_json else None)
    job = prepared(spec)
    growth = Growth(new=new, changed=changed, redo=redo)
    with Display(console) as display:
        return shown(job, display, lambda: [run(job, limit=limit, progress=display, growth=growth)], as_json=as_json)


def shown(
    job: Job,
    display: Display,
    ask: Callable[[], Sequence[Summary]],
    going_on: str = "the same command again",
    *,
    as_json: bool = False,
) -> int:
    """What is asked goes to the log of the output too, and how it ended is shown: the exit code. job: any that it is
    about. going_on: what does the rows that are still open then. as_json: how it ended as a JSON object a line, on
    stdout. Raises what `ask` does."""
    from jobs.display import show_summary

    advice = ending.advising("what is answered is committed, and the same command again goes on")
    with advice, to_file(job.logs / "run.log") if job.logs is not None else nullcontext():
        try:
            summaries = ask()
        except (SpecError, JobConflict):  # nothing was begun, and the folder may be another job's
            raise
        except SightreadError as error:
            _log.info("ended early: %s", error)
            raise
        for summary in summaries:
            _log.info("%d new rows in %.1f s, exit code %d", summary.new_rows, summary.wall_s, summary.exit_code)
    display.close()
    for summary in summaries:
        if as_json:
            echo(json.dumps(asdict(summary), ensure_ascii=False))
        else:
            show_summary(summary, display.console, going_on)
    return max((summary.exit_code for summary in summaries), default=0)


if __name__ == "__main__":
    from jobs.cli import main

    sys.argv.insert(1, "run")
    sys.exit(main())
