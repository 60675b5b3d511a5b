"""How long one waits for an answer of a decoder: by its work, not by the wall.

The time that counts is that in which it could have worked: the wall's, less what the kernel kept it waiting for a
processor (run_delay, Documentation/scheduler/sched-stats.rst). So a machine that is full costs nobody a file.
"""

from __future__ import annotations

import time
from typing import Protocol

LEAST_SHARE = 0.1
"""Of the wall's time counts at least this: a child that takes the lowest priority is not waited for without end."""


class Waiting(Protocol):
    """A child (operators/processes/child.py)."""

    @property
    def kept_waiting_s(self) -> float:
        """For a processor, since it started; it never falls."""


class WorkClock:
    """Seconds in which a child could have worked, since it was made."""

    def __init__(self, child: Waiting) -> None:
        self._child = child
        self._began_s = time.monotonic()
        self._waited_s = child.kept_waiting_s

    def passed_s(self) -> float:
        wall_s = time.monotonic() - self._began_s
        return max(wall_s - (self._child.kept_waiting_s - self._waited_s), wall_s * LEAST_SHARE)


class Patience:
    """With one answer of a child. idle_s: how long it may show no progress. whole_s: how long it may take, whatever it
    shows."""

    def __init__(self, child: Waiting, idle_s: float, whole_s: float) -> None:
        self._child = child
        self.idle_s = idle_s
        self.whole_s = whole_s
        self._since_start = WorkClock(child)
        self._since_progress = WorkClock(child)

    def restart_idle(self) -> None:
        """It showed progress."""
        self._since_progress = WorkClock(self._child)

    def left_s(self) -> float:
        """Until it is too late, if the child has a processor to itself; not below 0."""
        return max(0.0, min(self.idle_s - self._since_progress.passed_s(), self.whole_s - self._since_start.passed_s()))

    def spent_s(self) -> float:
        return self._since_start.passed_s()

    @property
    def is_over(self) -> bool:
        """Though it still showed progress."""
        return self._since_start.passed_s() >= self.whole_s
