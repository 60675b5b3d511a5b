"""Run a job's operators in this process, without Ray and without committing: one file, answer at once.

Knows nothing of stores or terminals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from operators.infer.infer import Infer
from operators.media.decode import Decode
from operators.media.probe import Probe
from operators.processes.leave_pandas_out import leave_pandas_out
from pipelines import task_modules
from pipelines.job import Job
from pipelines.planning import chunk_table, list_job
from schemas.errors import EngineError, StoreLost


def answer(job: Job) -> Iterator[dict[str, Any]]:
    """Result rows of every task over the job's inputs, in order, each with its `task`."""
    if not any(task_modules.names_code(task.name) for task in job.spec.tasks):
        leave_pandas_out()
    inputs = list_job(job).inputs
    probe = Probe(job.decode, workers=job.workers)
    try:
        chunks = chunk_table(inputs, probe, job)
    finally:
        probe.close()
    chunks = chunks.filter(pa.array([bool(tasks) for tasks in chunks.column("tasks").to_pylist()], pa.bool_()))
    if not chunks.num_rows:
        return
    decode = Decode(job.decode)
    infer = Infer(job.infer)
    try:
        for index in range(chunks.num_rows):
            for answered in infer(decode(chunks.slice(index, 1))).to_pylist():
                if answered["fault"] is not None:
                    raise EngineError("engine_error", answered["fault"])
                if answered["lost"] is not None:
                    raise StoreLost(answered["lost"])
                for row in pa.ipc.open_stream(answered["rows"]).read_all().to_pylist():
                    yield {"task": answered["task"], **row}
    finally:
        infer.close()
        decode.close()
