"""Child processes: started clean, bounded, spoken to in frames of JSON and bytes, and never left behind.

Knows nothing of decoders or engines; those are modules that a child runs (`python -m operators.…`).

Everything that may crash, hang or eat memory runs in such a child. A child is our own interpreter, spawned
(never a fork of a Ray worker, whose threads and locks would come along), in a session of its own, so that
killing its process group also ends what it started. It asks the kernel to be killed when its parent goes.
PR_SET_PDEATHSIG follows the *thread* that spawned, not the process (prctl(2)), so one thread that lives as
long as the process does all the spawning.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import queue
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ChildDied

ROOT = Path(__file__).resolve().parent.parent

_HEAD = struct.Struct("!II")  # bytes of JSON, number of payloads
_SIZE = struct.Struct("!Q")
_MAX_JSON = 64 << 20
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Limits:
    """What the kernel holds a child to. None leaves a limit as it is.

    memory_mb is address space (RLIMIT_AS): past it malloc fails, which the child sees as a MemoryError or
    dies of.
    cpu_s is CPU time over the child's whole life; past it the kernel sends SIGXCPU, a second later SIGKILL.
    """

    memory_mb: int | None = None
    cpu_s: int | None = None


@dataclass(frozen=True)
class Frame:
    """One message: a JSON object, any number of payloads, and file descriptors that came along (now ours)."""

    head: dict[str, Any]
    payloads: tuple[bytes, ...] = ()
    fds: tuple[int, ...] = ()


class Channel:
    """Frames over a connected Unix socket. `send` may be called from several threads, `recv` from one."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, head: dict[str, Any], payloads: Sequence[bytes | memoryview] = (), fds: Sequence[int] = ()) -> None:
        """Raises OSError (BrokenPipeError) when the other side is gone."""
        text = json.dumps(head).encode()
        with self._lock:
            lead = _HEAD.pack(len(text), len(payloads))
            if fds:
                socket.send_fds(self._sock, [lead], list(fds))
            else:
                self._sock.sendall(lead)
            self._sock.sendall(text)
            for payload in payloads:
                view = memoryview(payload).cast("B")
                self._sock.sendall(_SIZE.pack(len(view)))
                self._sock.sendall(view)

    def recv(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame, or None when the other side closed.

        Raises TimeoutError when timeout_s pass without a byte.
        """
        try:
            lead, fds = self._recv_head(timeout_s)
            if not lead:
                return None
            text_bytes, payload_count = _HEAD.unpack(lead)
            if text_bytes > _MAX_JSON:
                raise OSError(f"frame of {text_bytes} bytes of JSON")
            head = json.loads(self._recv_exact(text_bytes, timeout_s))
            payloads = tuple(
                bytes(self._recv_exact(_SIZE.unpack(self._recv_exact(_SIZE.size, timeout_s))[0], timeout_s))
                for _ in range(payload_count)
            )
        except (ConnectionResetError, EOFError):
            return None
        return Frame(head, payloads, fds)

    def _recv_head(self, timeout_s: float | None) -> tuple[bytes, tuple[int, ...]]:
        ancillary_bytes = socket.CMSG_LEN(16 * array.array("i").itemsize)
        self._wait_readable(timeout_s)
        data, ancillary, _, _ = self._sock.recvmsg(_HEAD.size, ancillary_bytes)
        fds = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if data and len(data) < _HEAD.size:
            data += bytes(self._recv_exact(_HEAD.size - len(data), timeout_s))
        return data, tuple(fds)

    def _wait_readable(self, timeout_s: float | None) -> None:
        # poll, not settimeout: that would also bound the sends of other threads on the same socket
        if timeout_s is not None:
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            if not poll.poll(max(0.0, timeout_s) * 1000):
                raise TimeoutError

    def _recv_exact(self, size: int, timeout_s: float | None) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            self._wait_readable(timeout_s)
            got = self._sock.recv_into(view)
            if got == 0:
                raise EOFError
            view = view[got:]
        return data

    def close(self) -> None:
        # shutdown first: it wakes a thread of ours that sits in recv, which close alone does not
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class Child:
    """A running child and the channel to it. Make one with `spawn`."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, name: str) -> None:
        self._process = process
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

    def wait(self, timeout_s: float) -> bool:
        """Whether the child has ended by itself within the time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill the child's whole process group and reap it. Safe to call again."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # what the child itself had started outlives it in the group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.channel.close()

    def obituary(self, waited_s: float = 5.0) -> ChildDied:
        """How the child ended, as an error; waits a moment for its exit status, then kills it."""
        try:
            code = self._process.wait(waited_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return ChildDied("crashed", f"{self.name} closed its channel and did not exit")
        self.kill()
        if code == EXIT_OUT_OF_MEMORY:
            return ChildDied("out_of_memory", f"{self.name} ran out of memory")
        if code == EXIT_CHILD_DIED:
            return ChildDied("crashed", f"{self.name} lost a process of its own")
        if code == -signal.SIGXCPU:
            return ChildDied("timeout", f"{self.name} used up its CPU time")
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
    stderr: int | None = None,
    variables: dict[str, str] | None = None,
    python: str | None = None,
) -> Child:
    """Start `python -m module` as a child. The module calls `parent_channel()` first thing.

    stderr: a file descriptor for the child's stdout and stderr; None inherits the parent's stderr.
    variables: added to its environment. python: another interpreter than ours.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    environment = {**os.environ, **(variables or {})}
    # the checkout root first: a Ray worker may run from elsewhere
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
    arguments = [
        python or sys.executable,
        "-m",
        module,
        str(theirs.fileno()),
        str(os.getpid()),
        json.dumps(asdict(limits)),
    ]
    try:
        process = _spawner.popen(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=2 if stderr is None else stderr,
            stderr=stderr,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Child(process, Channel(ours), name)


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


def parent_channel() -> Channel:
    """Called first in a child's main: take up the limits, tie our life to the parent's, open the channel."""
    fd, parent_pid, limits_json = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # the parent went before the tie was made
        os._exit(1)
    limits = Limits(**json.loads(limits_json))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.memory_mb is not None:
        size = limits.memory_mb << 20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    if limits.cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    return Channel(socket.socket(fileno=fd))
