"""Ends what an embedded Ray leaves behind when its driver is gone, however that went. Knows nothing of Ray.

Ray's own processes go within seconds of their driver, if they can; what only waits (the agents that are none,
pipelines/ray_head.py), or is stopped, does not. So a driver that
starts a Ray of its own also starts an orphan reaper, in a session of its own. It remembers the driver's descendants
and what the driver writes down for it (sessions of processes, folders), waits for the driver's end of a pipe to close,
gives them a moment to end by themselves, kills the rest and removes the folders. (A mark in the environment would be
simpler, but Ray's agents write their title over it.)
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from operators.processes.environment import environment_of_child
from schemas.checkout import ROOT

LOOK_S = 1.0
GRACE_S = 1.5

_writes: int | None = None


class Process(NamedTuple):
    """started: ticks since boot."""

    parent: int
    started: int
    session: int


def start() -> None:
    """Have an orphan reaper for this process and what it starts; once is enough, more is harmless."""
    global _writes
    if _writes is not None or not Path("/proc/self/stat").exists():
        return
    reads, _writes = os.pipe()  # not inherited: the write end is this process's alone, and closes with it
    try:
        subprocess.Popen(
            [sys.executable, "-P", "-m", "operators.processes.orphan_reaper", str(reads), str(os.getpid())],
            cwd=ROOT,
            env=environment_of_child(),
            pass_fds=[reads],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    finally:
        os.close(reads)


def leave(*, session: int | None = None, folder: Path | None = None, word: str | None = None) -> None:
    """What is to be gone with this process: all processes of a session, a folder. word: what is said on stderr if it
    goes without `word=""` first: it was killed, or native code ended it. Does nothing without a reaper."""
    if _writes is None:
        return
    lines = [b"%d\n" % session] if session is not None else []
    lines += [b"%b\n" % os.fsencode(folder)] if folder is not None else []
    lines += [b"!%b\n" % word.encode()] if word is not None else []
    with contextlib.suppress(BrokenPipeError):
        os.write(_writes, b"".join(lines))


def kill_session(session: int) -> None:
    """All its processes at once, those too that lead a group of their own; returns when none is left."""
    deadline = time.monotonic() + GRACE_S
    while alive := [pid for pid, process in processes().items() if process.session == session]:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)


def processes() -> dict[int, Process]:
    """Every process but the dead that wait to be reaped (proc(5))."""
    alive = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    alive[int(entry.name)] = Process(
                        parent=int(fields[1]), started=int(fields[19]), session=int(fields[3])
                    )
    return alive


def descendants(roots: Iterable[int], alive: dict[int, Process]) -> set[tuple[int, int]]:
    """(pid, start time) of what descends from the roots, without the roots."""
    children: dict[int, list[int]] = {}
    for pid, process in alive.items():
        children.setdefault(process.parent, []).append(pid)
    descending: set[tuple[int, int]] = set()
    waiting = list(roots)
    while waiting:
        for pid in children.pop(waiting.pop(), ()):
            descending.add((pid, alive[pid].started))
            waiting.append(pid)
    return descending


class _Ledger:
    """What is to be gone with the driver."""

    def __init__(self, driver: int) -> None:
        self._driver = driver
        self._known: set[tuple[int, int]] = set()
        self._leaders: set[tuple[int, int]] = set()
        self.folders: list[Path] = []
        self.word = b""

    def note(self, line: bytes) -> None:
        if line.startswith(b"!"):
            self.word = line[1:]
        elif not line.isdigit():
            self.folders.append(Path(os.fsdecode(line)))
        elif leader := processes().get(int(line)):
            self._leaders.add((int(line), leader.started))

    def look(self) -> None:
        self._known |= {pair for pair in descendants([self._driver], processes()) if pair[0] != os.getpid()}

    def left(self) -> set[tuple[int, int]]:
        """Those known, and what they have started since; a number that was given anew is another process."""
        alive = processes()
        started = {(pid, process.started) for pid, process in alive.items()}
        sessions = {pid for pid, at in self._leaders if pid not in alive or alive[pid].started == at}
        self._known |= {(pid, process.started) for pid, process in alive.items() if process.session in sessions}
        self._known |= descendants((pid for pid, _ in self._known & started), alive)
        return self._known & started


def main() -> None:
    reads, driver = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ledger = _Ledger(driver)
    text = b""
    while True:
        if not select.select([reads], [], [], LOOK_S)[0]:
            ledger.look()
            continue
        piece = os.read(reads, 4096)
        if not piece:  # the driver is gone
            break
        *lines, text = (text + piece).split(b"\n")
        for line in lines:
            ledger.note(line)
    if ledger.word:
        with contextlib.suppress(OSError):
            os.write(2, ledger.word + b"\n")
    deadline = time.monotonic() + GRACE_S
    while ledger.left() and time.monotonic() < deadline:
        time.sleep(0.1)
    deadline = time.monotonic() + GRACE_S
    while (left := ledger.left()) and time.monotonic() < deadline:  # the dying may have started more, and still write
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for folder in ledger.folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
