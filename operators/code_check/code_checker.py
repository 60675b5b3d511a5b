"""The parent's side of the child that checks code: orders, deadline, memory, and what a death costs: one check. Knows
nothing of rows or pages.

What hostile code starts is a browser of many processes. Their memory is looked at together, ten times a second, and
when it is too much or the time is over the child and all its descendants are killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.prompts.rgb import RGB
from operators.code_check.code_check_wire import LONGEST, answers
from operators.processes.child import Child, Limits, spawn
from operators.processes.orphan_reaper import descendants, processes
from schemas.errors import ChildDied
from schemas.task import CodeKind

DEADLINE_S = 120.0
"""Of one check, the start of a browser included, which on a busy machine takes long; seconds otherwise."""
LOAD_S = 12.0
"""How long a page may take to load, and a picture of it to be taken; its browser is closed then."""
MEMORY_MB = 1536
"""What a child and its browser may hold together."""
CHECKS_PER_CHILD = 100
LOOK_S = 0.1
_GONE_S = 5.0


@dataclass(frozen=True)
class Checked:
    """columns: of schemas.tables.CODE_CHECK's fields those that need no input to compare with. picture: what was
    seen. text: what is printed there."""

    columns: dict[str, Any] = field(default_factory=dict)
    picture: RGB | None = None
    text: str | None = None


class CodeChecker:
    """One child, started when it is needed. For one thread at a time."""

    def __init__(self, *, deadline_s: float = DEADLINE_S, load_s: float = LOAD_S, memory_mb: int = MEMORY_MB) -> None:
        self._deadline_s = deadline_s
        self._load_s = load_s
        self._memory_mb = memory_mb
        self._child: Child | None = None
        self._folder: Path | None = None
        self._checks = 0
        self._started: set[tuple[int, int]] = set()  # what descends from the child: pid and start time

    def check(self, kind: CodeKind, code: str, width_px: int, height_px: int) -> Checked:
        """Show or read one piece of code, in a window of that size. Never raises."""
        if self._checks >= CHECKS_PER_CHILD:
            self.close()
        self._checks += 1
        try:
            deadline = time.monotonic() + self._deadline_s
            child = self._running()
            order = {"kind": kind, "width_px": width_px, "height_px": height_px, "load_s": self._load_s}
            child.send(order, [code.encode("utf-8", "replace")], deadline=deadline)
            return self._checked(child, width_px, deadline)
        except ChildDied as death:
            self.close(death)
            return Checked({"outcome": death.kind, "message": str(death)[:LONGEST]})
        except OSError as error:  # no folder or no process to be had
            self.close()
            return Checked({"outcome": "crashed", "message": f"the trial cannot be started: {error}"[:LONGEST]})

    def close(self, death: ChildDied | None = None) -> None:
        """Kill the child and all that descends from it, and remove what it left on the disk. Safe to call again.

        death: of the child, for the log.
        """
        if self._child is not None:
            self._look(self._child)  # before it is gone: what it leaves behind has another parent then
            self._child.kill(death)
            self._child = None
        # where there is no PID namespace, a browser outlives the group of the child in a session of its own
        deadline = time.monotonic() + _GONE_S
        while (left := self._alive()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)  # the dying still write to the folder
        self._started.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._checks = 0

    def _alive(self) -> list[int]:
        alive = processes() if self._started else {}
        return [pid for pid, started in self._started if alive.get(pid, (0, 0))[1] == started]

    def _running(self) -> Child:
        if self._child is not None and self._child.begins(0):  # it speaks unasked, or has ended
            self.close()
        if self._child is None:
            self._folder = _new_folder()
            self._child = spawn(
                "operators.code_check.code_check_child",
                limits=Limits(),
                name="the trial",
                variables={"TMPDIR": str(self._folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._child

    def _checked(self, child: Child, width_px: int, deadline: float) -> Checked:
        """Raises ChildDied."""
        while not child.begins(LOOK_S):
            if self._look(child) > self._memory_mb << 20:
                raise ChildDied("out_of_memory", f"the page held more than {self._memory_mb} MB")
            if time.monotonic() > deadline:
                raise ChildDied("timeout", f"the trial gave no answer within {self._deadline_s:g} s")
        frame = child.receive(answers(width_px), deadline)
        columns = dict(frame.head)
        text = columns.pop("text", None)
        if columns["outcome"] != "shown":
            return Checked(columns)
        height_px, shown_px = columns.get("height_px", 0), columns.get("width_px", 0)
        if [len(payload) for payload in frame.payloads] != [height_px * shown_px * 3]:
            raise ChildDied("crashed", "the trial sent nonsense: a picture of another size")
        return Checked(columns, np.frombuffer(frame.payloads[0], np.uint8).reshape(height_px, shown_px, 3), text)

    def _look(self, child: Child) -> int:
        """Bytes that the child and its descendants hold for themselves; remembers them."""
        self._started |= descendants([child.pid], processes())
        return sum(_held(pid) for pid in (child.pid, *(pid for pid, _ in self._started)))


def _new_folder() -> Path:
    """For temporary files; those that are left of processes that were killed are removed."""
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108  mkdtemp makes the names
    place = next(filter(_serves, places), places[0])
    ours = f"sightread-trial-{zlib.crc32(socket.gethostname().encode()) & 0xFFFFFF:06x}-"
    for left in place.glob(f"{ours}*"):
        pid = left.name.removeprefix(ours).split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{ours}{os.getpid()}-", dir=place))
    folder.chmod(0o711)
    return folder


def _serves(place: Path) -> bool:
    """Whether nobody, who runs a root's browser, can reach what lies there, under a name that is not too long: the
    browser makes sockets in it, whose paths have at most 107 bytes (unix(7))."""
    here = place.resolve()
    reached = all(folder.is_dir() and folder.stat().st_mode & 0o001 for folder in (here, *here.parents))
    return len(str(place)) <= 10 and (reached or os.getuid() != 0)


def _held(pid: int) -> int:
    """Anonymous and shared memory of a process, which files that are mapped do not count to (proc(5)); 0 if gone."""
    total = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) << 10
    return total
