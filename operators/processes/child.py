"""Child processes: started clean, bounded, ended with all that they started, and how one ended in words.

Knows nothing of decoders or engines; those are modules that a child runs (`python -m operators.…`).

Everything that may crash, hang or eat memory runs in such a child. A child is our own interpreter, spawned
(never a fork of a Ray worker, whose threads and locks would come along), in a session of its own, so that
killing its process group also ends what it started. One thread that lives as long as the process does all the
spawning: a child is killed when the thread that spawned it goes (operators/processes/startup.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from operators.processes.channel import Channel
from operators.processes.channel import Frame as Frame  # what is received
from operators.processes.environment import environment_of_child
from operators.processes.messages import Messages as Messages  # what may be
from operators.processes.output import Output
from schemas.checkout import ROOT
from schemas.errors import ChildDied

_log = logging.getLogger(__name__)

_LOOK_S = 0.02
_LOGGED_CHARS = 4_000
_EXIT_S = 5.0


@dataclass(frozen=True)
class Limits:
    """What the kernel holds a child to. None leaves a limit as it is.

    memory_mb is address space (RLIMIT_AS): past it malloc fails, which the child sees as a MemoryError or
    dies of.
    """

    memory_mb: int | None = None


@dataclass(frozen=True)
class Scheduled:
    """What the kernel gave a child's first thread since it started; zeros where it does not count. ran_s: on a
    processor. waited_s: ready, and without one; a wait that goes on is not in it. state: the letter of now, R for both
    of these and D for what waits for a disk."""

    ran_s: float = 0.0
    waited_s: float = 0.0
    state: str = "S"


class Child:
    """A running child, the channel to it, and what it prints. Make one with `spawn`."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, output: Output, name: str) -> None:
        self._process = process
        self._output = output
        self._scheduled = Scheduled()
        self.channel = channel
        self.name = name

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def address_space_mb(self) -> int:
        """What RLIMIT_AS would count; 0 when the child is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return 0
        return pages * resource.getpagesize() >> 20

    def scheduled(self) -> Scheduled:
        """The last that is known when it is gone."""
        # proc_pid_schedstat(5), proc_pid_stat(5)
        with contextlib.suppress(OSError, IndexError, ValueError):
            ran_ns, waited_ns, _ = Path(f"/proc/{self.pid}/schedstat").read_text().split()
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0]
            self._scheduled = Scheduled(int(ran_ns) / 1e9, int(waited_ns) / 1e9, state)
        return self._scheduled

    def send(
        self,
        head: dict[str, Any],
        payloads: Sequence[bytes | memoryview] = (),
        fds: Sequence[int] = (),
        *,
        deadline: float,
    ) -> None:
        """deadline: of time.monotonic(). Raises ChildDied, for a child that takes nothing in time too; it has to go
        then."""
        try:
            self.channel.send(head, payloads, fds, deadline=deadline)
        except TimeoutError:
            raise ChildDied("timeout", f"{self.name} took no order in time") from None
        except OSError:
            raise self.exit_reason(deadline) from None

    def receive(self, messages: Messages, deadline: float | None = None) -> Frame:
        """The next frame, one of these messages. deadline: of time.monotonic(), for all of it.

        Raises ChildDied and nothing else: timeout, crashed for what is no such message, or how it ended. The child has
        to go then.
        """
        try:
            frame = self.channel.receive(messages, deadline)
        except ChildDied as death:
            raise ChildDied(death.kind, f"{self.name} {death}") from death
        if frame is None:
            raise self.exit_reason(deadline)
        return frame

    def begins(self, within_s: float) -> bool:
        """Whether a frame begins within the time, or the child is gone."""
        try:
            return self.channel.begins(within_s)
        except OSError:
            return True

    def wait(self, timeout_s: float) -> bool:
        """Whether the child has ended by itself within the time."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() >= deadline:
                return False
            self._output.wait(_LOOK_S)
        return True

    def kill(self, death: ChildDied | None = None) -> None:
        """Kill the child's whole process group and reap it. Safe to call again. death: why; then the log says so, and
        what it had printed."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # what the child itself had started outlives it in the group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.channel.close()
        self._output.close()
        if death is not None and (tail := self._output.tail()):
            _log.info("%s; it had printed:\n%s", death, tail[-_LOGGED_CHARS:])

    def exit_reason(self, deadline: float | None = None) -> ChildDied:
        """How the child ended that closed its channel; waits a moment for its exit status, not beyond the deadline."""
        left_s = _EXIT_S if deadline is None else min(_EXIT_S, deadline - time.monotonic())
        if not self.wait(left_s):
            return ChildDied("crashed", f"{self.name} closed its channel and did not exit")
        code = self._process.returncode
        if code == EXIT_OUT_OF_MEMORY:
            return ChildDied("out_of_memory", f"{self.name} ran out of memory")
        if code == EXIT_CHILD_DIED:
            return ChildDied("crashed", f"{self.name} lost a process of its own")
        if code < 0:
            return ChildDied("crashed", f"{self.name} died by {_signal_name(-code)}")
        return ChildDied("crashed", f"{self.name} exited with code {code}")


EXIT_OUT_OF_MEMORY = 77
"""The exit code of a child that met a MemoryError it could not go on from."""
EXIT_CHILD_DIED = 78
"""The exit code of a child whose own child died, without which it cannot go on."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def spawn(
    module: str,
    *,
    limits: Limits,
    name: str,
    printed: Callable[[bytes], object] | None = None,
    variables: dict[str, str] | None = None,
    of_engine: bool = False,
    keys: Sequence[str] = (),
    python: str | None = None,
) -> Child:
    """Start `python -P -m module` as a child, in the folder of this checkout and with little of our environment. The
    module calls `parent_channel()` first thing.

    printed: takes what it writes to stdout and stderr; None keeps the end of that, for the log if it dies.
    variables: added to its environment. of_engine, keys: what it gets of ours (operators/processes/environment.py).
    python: another interpreter than ours.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    reads, writes = os.pipe()
    arguments = [
        os.path.abspath(python) if python and os.sep in python else python or sys.executable,  # noqa: PTH100
        "-P",  # nothing is imported from the current folder
        "-m",
        module,
        str(theirs.fileno()),
        str(os.getpid()),
        json.dumps(asdict(limits)),
    ]
    try:
        process = _spawner.popen(
            arguments,
            env=environment_of_child(of_engine=of_engine, keys=keys) | (variables or {}),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=writes,
            stderr=writes,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        os.close(reads)
        raise
    finally:
        theirs.close()
        os.close(writes)
    output = Output(reads, printed)
    return Child(process, Channel(ours, output), output, name)


class _Spawner:
    """One daemon thread that does all the spawning of this process; see the module's docstring."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._orders: queue.SimpleQueue[tuple[list[str], dict[str, Any], Future[subprocess.Popen[bytes]]]]

    def popen(self, arguments: list[str], **options: Any) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._thread is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._orders = queue.SimpleQueue()
                self._thread = threading.Thread(target=self._work, name="spawner", daemon=True)
                self._thread.start()
        order: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((arguments, options, order))
        return order.result()

    def _work(self) -> None:
        while True:
            arguments, options, order = self._orders.get()
            try:
                order.set_result(subprocess.Popen(arguments, **options))
            except BaseException as error:  # noqa: BLE001  handed to the caller, whatever it is
                order.set_exception(error)


_spawner = _Spawner()
