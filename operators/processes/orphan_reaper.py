"""Ends what an embedded Ray leaves behind when its driver is killed. Knows nothing of Ray.

Ray's own processes go within seconds of their driver, but for two of its agents, which first wait a minute for a
server that is dead already (`publish_error_to_driver`, ray/_private/utils.py: a time-out of 60 s). So a driver that
starts a Ray of its own also starts an orphan reaper, in a session of its own. It remembers the driver's descendants,
waits for the driver's end of a pipe to close, gives them a moment to end by themselves, and kills the rest. (A mark in
the environment would be simpler, but Ray's agents write their title over it.)
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from operators.processes.environment import environment_of_child
from schemas.checkout import ROOT

LOOK_S = 1.0
GRACE_S = 5.0

_started = False


def start() -> None:
    """Have an orphan reaper for this process and what it starts; once is enough, more is harmless."""
    global _started
    if _started or not Path("/proc/self/stat").exists():
        return
    _started = True
    reads, _ = os.pipe()  # not inherited: the write end is this process's alone, and closes with it
    try:
        subprocess.Popen(
            [sys.executable, "-P", "-m", "operators.processes.orphan_reaper", str(reads), str(os.getpid())],
            cwd=ROOT,
            env=environment_of_child(),
            pass_fds=[reads],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        os.close(reads)


def processes() -> dict[int, tuple[int, int]]:
    """Parent and start time (ticks since boot) of every process but the dead that wait to be reaped (proc(5))."""
    alive = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    alive[int(entry.name)] = int(fields[1]), int(fields[19])
    return alive


def descendants(roots: Iterable[int], alive: dict[int, tuple[int, int]]) -> set[tuple[int, int]]:
    """(pid, start time) of what descends from the roots, without the roots."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in alive.items():
        children.setdefault(parent, []).append(pid)
    descending: set[tuple[int, int]] = set()
    waiting = list(roots)
    while waiting:
        for pid in children.pop(waiting.pop(), ()):
            descending.add((pid, alive[pid][1]))
            waiting.append(pid)
    return descending


def main() -> None:
    reads, driver = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    known: set[tuple[int, int]] = set()

    def left() -> set[tuple[int, int]]:
        """Those known, and what they have started since; a number that was given anew is another process."""
        alive = processes()
        still = {(pid, started) for pid, started in known if alive.get(pid, (0, 0))[1] == started}
        known.update(still | descendants((pid for pid, _ in still), alive))
        return {(pid, started) for pid, started in known if alive.get(pid, (0, 0))[1] == started}

    # nothing is ever written: it turns readable when the driver is gone
    me = (os.getpid(), processes()[os.getpid()][1])
    while not select.select([reads], [], [], LOOK_S)[0]:
        known.update(descendants([driver], processes()) - {me})
    deadline = time.monotonic() + GRACE_S
    while left() and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid, _ in left():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
