"""How long one waits for an answer of a decoder: by its work, not by the wall.

The time that counts is that in which it could have worked: the wall's, less what the kernel kept it waiting for a
processor (run_delay, Documentation/scheduler/sched-stats.rst) or a disk, and what this process itself did not get to
look. So a machine that is full costs nobody a file.
"""

from __future__ import annotations

import time
from typing import Protocol

LEAST_SHARE = 0.1
"""Of the wall's time counts at least this: a child that takes the lowest priority is not waited for without end."""
LOOK_S = 0.5
"""How often one looks at it, about."""


class Scheduled(Protocol):
    """What the kernel gave a child (operators/processes/child.py)."""

    @property
    def ran_s(self) -> float: ...
    @property
    def waited_s(self) -> float: ...
    @property
    def state(self) -> str: ...


class Scheduling(Protocol):
    def scheduled(self) -> Scheduled: ...


class WorkClock:
    """Seconds in which a child could have worked, since it was made."""

    def __init__(self, child: Scheduling) -> None:
        self._child = child
        self._looked_s = time.monotonic()
        self._before = child.scheduled()
        self._passed_s = 0.0

    def passed_s(self) -> float:
        """Asked often: of a time in which nobody did, not much counts."""
        now, before, at_s = self._child.scheduled(), self._before, time.monotonic()
        wall_s = at_s - self._looked_s
        # one that waits now may have done so all the time, which is counted only when that is over
        waits = now.state in ("R", "D")
        worked_s = now.ran_s - before.ran_s if waits else wall_s - (now.waited_s - before.waited_s)
        self._passed_s += max(min(worked_s, 2 * LOOK_S), wall_s * LEAST_SHARE)
        self._looked_s, self._before = at_s, now
        return self._passed_s


class Patience:
    """With one answer of a child. idle_s: how long it may show no progress. whole_s: how long it may take, whatever it
    shows."""

    def __init__(self, child: Scheduling, idle_s: float, whole_s: float) -> None:
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
