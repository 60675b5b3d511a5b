"""What a child prints: read as it comes, so that the child is never held up, and the end of it kept. Knows nothing of
children."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable

KEPT_BYTES = 64 << 10
_CHUNK_BYTES = 64 << 10


class Output:
    """The reading end of a pipe. sink: takes all of it, whenever there is something; None keeps the last KEPT_BYTES.

    Whoever waits for the child polls this too and calls `take`. No thread of its own, nothing on the disk; who still
    holds the pipe once it is closed here writes into nothing. Used from any number of threads.
    """

    def __init__(self, fd: int, sink: Callable[[bytes], object] | None = None) -> None:
        os.set_blocking(fd, False)
        self._fd: int | None = fd
        self._sink = sink
        self._kept = bytearray()
        self._lock = threading.Lock()

    @property
    def fd(self) -> int | None:
        """To poll; None at its end."""
        return self._fd

    def take(self) -> bool:
        """Read what is there, a chunk at most; whether there was something."""
        with self._lock:
            if self._fd is None:
                return False
            try:
                data = os.read(self._fd, _CHUNK_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if not data:
                self._close()
                return False
            if self._sink is not None:
                self._sink(data)
            else:
                self._kept += data
                if len(self._kept) > 2 * KEPT_BYTES:
                    del self._kept[:-KEPT_BYTES]
            return True

    def wait(self, timeout_s: float) -> None:
        """Take what comes within the time, and return when something has come, or all has ended."""
        if (fd := self._fd) is None:
            threading.Event().wait(timeout_s)
            return
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if poll.poll(timeout_s * 1000):
            self.take()

    def tail(self) -> str:
        """The last KEPT_BYTES, without what a terminal would take for an order; empty where a sink took them."""
        with self._lock:
            text = self._kept[-KEPT_BYTES:].decode("utf-8", "replace")
        return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text).strip()

    def close(self) -> None:
        """What is still in the pipe is taken first, as far as pipes reach: who holds it may go on writing."""
        for _ in range(64):
            if not self.take():
                break
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.close(fd)
