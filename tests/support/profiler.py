"""What processes of others did, by the kernel's clocks: an outside measure to hold ours against. Linux."""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path
from typing import Self

EVERY_S = 0.5


class Profiler:
    """Within `with`: looks at processes every EVERY_S. living: those to look at, pid -> command line."""

    def __init__(self, living: Callable[[], dict[int, str]]) -> None:
        self._living = living
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._threads: dict[tuple[int, int], tuple[float, float]] = {}  # by process and thread, as last seen
        self._moments: list[float] = []
        # by process: which moment, seconds on a CPU by then, and waiting for one
        self._looks: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
        self.lines: dict[int, set[str]] = defaultdict(set)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def shares(self, named: Collection[str], since_s: float, until_s: float) -> tuple[float, float]:
        """Of the time between two moments (since the epoch): that in which processes had a CPU, and that in which they
        had or wanted one; 1 at most. named: what a command line that one of them had contains."""
        pids = [pid for pid, lines in self.lines.items() if any(name in line for name in named for line in lines)]
        moments = [since_s, *(at_s for at_s in self._moments if since_s < at_s < until_s), until_s]
        ran = [sum(self._until(pid, moment_s, 0) for pid in pids) for moment_s in moments]
        waited = [sum(self._until(pid, moment_s, 1) for pid in pids) for moment_s in moments]
        had_s = wanted_s = 0.0
        for place, (before_s, after_s) in enumerate(pairwise(moments)):
            run_s = ran[place + 1] - ran[place]
            had_s += min(after_s - before_s, run_s)
            wanted_s += min(after_s - before_s, run_s + waited[place + 1] - waited[place])
        return had_s / (until_s - since_s), wanted_s / (until_s - since_s)

    def _until(self, pid: int, moment_s: float, which: int) -> float:
        """Seconds on a CPU (0) or waiting for one (1) by a moment, between the looks before and after it."""
        looks = [(self._moments[pid_look[0]], pid_look[1 + which]) for pid_look in self._looks[pid]]
        place = bisect_left(looks, (moment_s, 0.0))
        if place == 0:  # it had not begun
            return looks[0][1] if looks[0][0] - moment_s < EVERY_S else 0.0
        if place == len(looks):
            return looks[-1][1]
        (before_s, before), (after_s, after) = looks[place - 1 : place + 1]
        return before + (after - before) * (moment_s - before_s) / (after_s - before_s)

    def _work(self) -> None:
        while not self._over.wait(EVERY_S):
            living = self._living()
            self._moments.append(time.time())
            for pid, line in living.items():
                self.lines[pid].add(line)
                for task in self._tasks(pid):
                    with contextlib.suppress(OSError, ValueError):
                        ran_ns, waited_ns, _ = (task / "schedstat").read_text().split()
                        self._threads[pid, int(task.name)] = int(ran_ns) / 1e9, int(waited_ns) / 1e9
                spent = [seconds for (of, _), seconds in self._threads.items() if of == pid]
                sums = (sum(seconds) for seconds in zip(*spent, strict=True)) if spent else (0.0, 0.0)
                self._looks[pid].append((len(self._moments) - 1, *sums))

    def _tasks(self, pid: int) -> list[Path]:
        try:
            return list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            return []
