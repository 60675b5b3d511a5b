"""How many rows are expected of a task for each unit of a chunk: one, or one for every value that its prompt takes in
turn. Knows nothing of engines.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from schemas.task import Task


def counts(task: Task, chunks: pa.Table, row: int) -> list[int]:
    """For every unit of a row of CHUNKS, in order."""
    wanted = chunks.column("units")[row].values.field("requests").to_pylist()
    if not task.required_parameters():
        return [1 if only is None else len(only) for only in wanted]
    unset = [name for name in task.required_parameters() if name not in task.parameters and name not in task.defaults]
    passthrough = pa.ipc.open_stream(chunks.column("passthrough")[row].as_buffer()).read_all()
    columns = [name for name in unset if name in passthrough.schema.names]
    rows = passthrough.select(columns).to_pylist() if columns else [{}] * len(wanted)
    return [
        len(task.requests(values)) if only is None else len(only) for values, only in zip(rows, wanted, strict=True)
    ]


def expected_rows(tasks: Sequence[Task], chunks: pa.Table) -> int:
    """By all tasks for all units of these chunks that they take."""
    return sum(
        sum(counts(task, chunks, row))
        for row in range(chunks.num_rows)
        for task in tasks
        if task.name in chunks.column("tasks")[row].as_py()
    )
