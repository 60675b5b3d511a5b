"""A job that lies in a store without having run: a round, and rows as readers see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from operators.store.part_log import PartLog
from operators.store.store import Store
from operators.store.view import View
from pipelines.folder import JobFolder
from pipelines.rounds import Round, now

CHUNK = "00000-0000-0123456789abcdef"


def begin(store: Store, definitions: Mapping[str, dict[str, Any]], spec: dict[str, Any] | None = None) -> None:
    """definitions: of its tasks, by name."""
    folder = JobFolder(store)
    folder.claim()
    folder.add_round(Round(0, "first", (), dict(definitions), now(), "a test", spec or {}))


def put_rows(store: Store, task: str, rows: pa.Table) -> None:
    """As a part of the log, and in the view. Columns that a view tells rows apart by may be missing."""
    units = pa.array([rows.num_rows] * rows.num_rows, pa.int32())
    for name, values in {
        "unit_count": units,
        "generation": pa.array([0] * rows.num_rows, pa.int32()),
        "attempt": pa.array([1] * rows.num_rows, pa.int32()),
        "chunk_id": pa.array([CHUNK] * rows.num_rows, pa.string()),
    }.items():
        if name not in rows.schema.names:
            rows = rows.append_column(name, values)
    PartLog(store).write(task, CHUNK, rows)
    View(store).publish(task, 0)
