"""Parts are put in the log as they come, and the results are published from it while a run goes on: at once when a
slice has its first part, then at growing intervals, so that rows are seen early and a file is not written for every
part of it. Knows nothing of Ray.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.store.addresses import store_at
from operators.store.chunk_id import ChunkId
from operators.store.part_log import PartLog
from operators.store.retries import retries_of
from operators.store.store import Store
from operators.store.view import View
from schemas.errors import JobConflict, StoreLost

FIRST_S, LONGEST_S = 2.0, 120.0
"""Between two files of one slice; each pause is twice the one before it."""
SHARE = 0.1
"""Of the time, at most, for writing files of one slice."""

_log = logging.getLogger(__name__)


@dataclass
class _Slice:
    due_s: float = 0.0
    pause_s: float = FIRST_S
    open: bool = True


class Publisher:
    """May be called by several threads."""

    @classmethod
    def at(cls, address: str) -> Publisher:
        """Raises SpecError for a scheme that no store is there for."""
        return cls(store_at(address))

    def __init__(self, store: Store) -> None:
        self._log, self._view = PartLog(store), View(store)
        self._slices: dict[tuple[str, int], _Slice] = {}
        self._publishing = threading.Lock()

    def write(self, task: str, chunk_id: str, rows: pa.Table) -> str:
        """As the log does, and raises what it does."""
        outcome = self._log.write(task, chunk_id, rows)
        self._slices.setdefault((task, ChunkId.of(chunk_id).slice), _Slice()).open = True
        return outcome

    def retries(self, stage: str) -> list[dict[str, Any]]:
        """How often the store was asked again (tables.RETRIES), since this was last called."""
        return retries_of(stage)

    def publish_due(self) -> None:
        """What cannot be published now is left to the end of the run, which says why."""
        if not self._publishing.acquire(blocking=False):
            return
        try:
            for (task, number), slice_ in list(self._slices.items()):
                started = time.monotonic()
                if not slice_.open or started < slice_.due_s:
                    continue
                slice_.open = False
                try:
                    self._view.publish(task, number)
                except (OSError, StoreLost, JobConflict, pa.ArrowException) as error:
                    _log.warning("%s: slice %d is not published yet: %s", task, number, error)
                ended = time.monotonic()
                slice_.due_s = ended + max(slice_.pause_s, (ended - started) / SHARE)
                slice_.pause_s = min(LONGEST_S, slice_.pause_s * 2)
        finally:
            self._publishing.release()
