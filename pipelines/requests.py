"""How many rows are expected of a task for each unit of a chunk: one, or one for every value that its prompt takes in
turn. Knows nothing of engines.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from schemas.task import Task


def counts(task: Task, chunks: pa.Table, row: int) -> list[int]:
    """For every unit of a row of CHUNKS, in order."""
    units = len(chunks.column("units")[row])
    unset = [name for name in task.required_parameters() if name not in task.parameters and name not in task.defaults]
    if not task.required_parameters():
        return [1] * units
    passthrough = pa.ipc.open_stream(chunks.column("passthrough")[row].as_buffer()).read_all()
    columns = [name for name in unset if name in passthrough.schema.names]
    rows = passthrough.select(columns).to_pylist() if columns else [{}] * units
    return [len(task.requests(values)) for values in rows]


def expected_rows(tasks: Sequence[Task], chunks: pa.Table) -> int:
    """By all tasks for all units of these chunks that they take."""
    return sum(
        sum(counts(task, chunks, row))
        for row in range(chunks.num_rows)
        for task in tasks
        if task.name in chunks.column("tasks")[row].as_py()
    )
