"""From a spec to a job, with a word first on what that waits for: a checkpoint that lies elsewhere."""

from __future__ import annotations

import sys

from jobs.terminal import console_for, show_line
from model.engines.kinds import engine_kind
from pipelines.job import Job, prepare
from schemas.spec import JobSpec


def prepared(spec: JobSpec, *, fetch: bool = True) -> Job:
    """As pipelines.job.prepare, and raises what that does."""
    engine = engine_kind(spec.engine)
    if engine.is_absent:
        doing = "it is fetched first" if fetch else "its config is asked for, no weights are fetched"
        show_line(console_for(sys.stderr), f"{engine.model} is not on this machine; {doing}")
    return prepare(spec, fetch=fetch)
