"""`sightread retry OUTPUT`: ask failed or doubtful rows of an output again, and nothing else.

Without an option all rows that failed; --kind and --task choose among them, --where chooses any rows by a condition in
SQL on their columns (`not verified.ok`, `status = 'ok' and output_tokens > 4000`). What was answered stays until there
is another answer: a failure never takes its place. With --engine another engine answers, and the rows bear its model;
the tasks stay what they are. No spec is needed: each task is asked as the output says that it was defined.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from jobs.arguments import add_json, count
from jobs.load import load_engine, parse_stored_all
from operators.store.addresses import opened


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument(
        "--kind", action="append", default=[], help="rows that failed so (error.kind: timeout, unreachable, …)"
    )
    parser.add_argument("--task", action="append", default=[], help="rows of this task")
    parser.add_argument("--where", metavar="SQL", help="rows for which this holds, failed or not")
    parser.add_argument("--engine", type=Path, metavar="YAML", help="a spec, or an engine section alone: who answers")
    parser.add_argument("--limit", type=count, metavar="N", help="the first N of these rows")
    add_json(parser, "how it ended as a JSON object a line on stdout; what goes on goes to stderr")


def run(options: argparse.Namespace) -> int:
    engine = load_engine(options.engine) if options.engine is not None else None
    store = opened(options.output)

    from jobs.display import Display, console_for
    from jobs.run import shown
    from pipelines.folder import JobFolder
    from pipelines.retry import Choice, retry
    from pipelines.stored_job import stored_jobs

    folder = JobFolder(store)
    specs = parse_stored_all(folder.specs(), options.output)
    jobs = stored_jobs(folder.rounds(), specs, options.output, engine)
    choice = Choice(tuple(options.task), tuple(options.kind), options.where, options.limit)
    with Display(console_for(sys.stderr if options.json else None)) as display:
        ask = partial(retry, jobs, choice, display)
        return shown(jobs[0], display, ask, "`sightread run` with its spec", as_json=options.json)
