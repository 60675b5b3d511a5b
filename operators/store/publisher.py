"""When the results are published from the log while a run goes on: at once when a slice has its first part, then at
growing intervals, so that rows are seen early and a file is not written for every part of it. Knows nothing of Ray.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

import pyarrow as pa

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
    """Told of parts as they are put. May be called by several threads."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._slices: dict[tuple[str, int], _Slice] = {}
        self._publishing = threading.Lock()

    def put(self, task: str, slice_: int) -> None:
        self._slices.setdefault((task, slice_), _Slice()).open = True

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
