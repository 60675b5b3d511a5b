"""Run a command and measure it: CPU seconds of it and of all that it starts by part, the most memory of the process
itself, and when something that it does first showed. Linux: all of it is read from /proc (proc(5)).

CPU is comparable on a loaded machine, seconds are not. Knows nothing of what is run but for the names of our processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import SightreadError

DRIVER, SOURCE, DECODE, DECODER, PROBE = "driver", "source", "decode actor", "decoder child", "probing child"
INFER, ENGINE, COMMIT, RAY, OTHERS = "infer actor", "engine child", "commit actor", "Ray's own", "others"
ALL_STAGES = "one actor for all"
PARTS = (DRIVER, SOURCE, PROBE, DECODE, DECODER, INFER, ENGINE, COMMIT, ALL_STAGES, RAY, OTHERS)
_MARKS = (
    # what stands in a command line, or in the title that Ray gives a worker -> the part; the first that fits
    ("decoder_child", DECODER),
    ("engine_child", ENGINE),
    ("(Decode", DECODE),
    ("(Infer", INFER),
    ("(Ask", INFER),  # as it was called in older versions
    ("(Commit", COMMIT),
    ("(AllStages", ALL_STAGES),  # of a job of one chunk
    ("ray::Read", SOURCE),
    ("ray::", RAY),
    ("/ray/", RAY),
    ("ray_head", RAY),
)
_LOOK_S, _SAMPLE_S, _LEAVE_S = 0.05, 0.25, 20.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Ran:
    """seconds: until it ended. seen: sign -> seconds until it first showed. cpu_s: by part, of the whole tree of
    processes. driver_mb: the most that was resident of the process itself (VmHWM)."""

    seconds: float
    seen: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    driver_mb: float = 0.0

    @property
    def driver_s(self) -> float:
        return self.cpu_s.get(DRIVER, 0.0)

    @property
    def all_s(self) -> float:
        return sum(self.cpu_s.values())

    @property
    def around_engine_s(self) -> float:
        """CPU of all but the engine."""
        return self.all_s - self.cpu_s.get(ENGINE, 0.0)


Sign = Callable[[], float | None]
"""When something showed, seconds since the epoch; None as long as it has not."""


def written(path: Path) -> Sign:
    """There is something in the file."""
    return lambda: time.time() if path.exists() and path.stat().st_size else None


def measured(
    command: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    signs: Mapping[str, Sign] | None = None,
    environment: Mapping[str, str] | None = None,
    limit_s: float = 7200.0,
) -> Ran:
    """Run it to its end; stdout and stderr go to `log`. Raises SightreadError when it fails or takes longer than
    limit_s; then its group is killed."""
    with log.open("wb") as out:
        began, started = time.time(), time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment) if environment is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tree, seen, open_signs = Tree(process.pid), dict[str, float](), dict(signs or {})
    try:
        sampled = 0.0
        while not (ended := _ended(process.pid)) or open_signs:
            for name in list(open_signs):
                if (at := open_signs[name]()) is not None:
                    seen[name] = at - began
                    del open_signs[name]
            if ended:
                break
            if time.monotonic() - sampled >= _SAMPLE_S:
                sampled = time.monotonic()
                tree.sample()
            if sampled - started > limit_s:
                raise SightreadError(f"{' '.join(command)} had not ended after {limit_s:g} s")
            time.sleep(_LOOK_S)
        seconds = time.monotonic() - started
        tree.sample()  # the process itself is a zombie now, and its times are whole
    finally:
        _end(process)
    if process.returncode:
        last = log.read_text(errors="replace").strip()[-1000:]
        raise SightreadError(f"{' '.join(command)} ended with {process.returncode}: {last}")
    return Ran(seconds, seen, tree.cpu_s(), tree.peak_mb)


def _end(process: subprocess.Popen[bytes]) -> None:
    """With its group; what it started for itself may need the time to go in order."""
    with contextlib.suppress(ProcessLookupError):
        if not _ended(process.pid):
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LEAVE_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(pid: int) -> bool:
    """Whether a child of ours has; it stays a zombie."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


@dataclass
class _Process:
    """used, waited: CPU ticks of it, and of the children that it has waited for, as they were last seen."""

    part: str
    parent: tuple[int, int] | None
    used: int = 0
    waited: int = 0
    last: int = 0


class Tree:
    """A process and all that it ever started, as often as `sample` is called."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._processes: dict[tuple[int, int], _Process] = {}
        self._samples = 0
        self.peak_mb = 0.0

    def sample(self) -> None:
        self._samples += 1
        self.peak_mb = max(self.peak_mb, _peak_mb(self._root))
        members: dict[int, tuple[int, int]] = {}
        for start, pid, parent, used, waited in sorted(filter(None, map(_stat, _pids()))):
            key = pid, start  # numbers of processes come again
            process = self._processes.get(key)
            if process is None:
                if pid != self._root and parent not in members:
                    continue
                process = self._processes[key] = _Process(OTHERS, members.get(parent))
            members[pid] = key
            process.used, process.waited, process.last = used, waited, self._samples
            # again each time: a child has its parent's title until it becomes its program, an idle worker none
            if (part := self._part(pid, process)) not in (OTHERS, RAY) or process.part == OTHERS:
                process.part = part

    def _part(self, pid: int, process: _Process) -> str:
        if pid == self._root:
            return DRIVER
        title = _title(pid)
        part = next((part for mark, part in _MARKS if mark in title), process.part)
        above = self._processes[process.parent].part if process.parent is not None else OTHERS
        return PROBE if part == DECODER and above in (DRIVER, SOURCE) else part

    def cpu_s(self) -> dict[str, float]:
        """Seconds by part. What a child used since it was last seen stands in its parent's times once that has waited
        for it: that goes to the part of the ended child of that parent which used most."""
        ticks: dict[str, float] = defaultdict(float)
        children: dict[tuple[int, int], list[_Process]] = defaultdict(list)
        for process in self._processes.values():
            ticks[process.part] += process.used
            if process.parent is not None:
                children[process.parent].append(process)
        for key, process in self._processes.items():
            ended = [child for child in children[key] if child.last < process.last]
            unseen = process.waited - sum(child.used + child.waited for child in ended)
            if unseen > 0:
                most = max(ended or children[key] or [process], key=lambda child: child.used + child.waited)
                ticks[most.part if most.part != DRIVER else OTHERS] += unseen
        return {part: ticks[part] * _TICK_S for part in PARTS if ticks[part]}


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  a thousand times a minute


def _stat(pid: int) -> tuple[int, int, int, int, int] | None:
    """Start, pid, parent, CPU ticks of it, and of the children that it waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system, user_waited, system_waited = map(int, fields[11:15])
    return int(fields[19]), pid, int(fields[1]), user + system, user_waited + system_waited


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _peak_mb(pid: int) -> float:
    """0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")), 0.0)
