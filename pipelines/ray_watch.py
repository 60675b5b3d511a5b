"""Notices that a cluster is gone on which a run waits: its GCS no longer answers, or the raylet beside the driver died.
Ray itself waits for ever, or ends the process without a word. Knows no Ray: sockets and processes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

EVERY_S = 5.0
PATIENCE_S = 40.0
"""A GCS that is restarted with its state is back before that (its clients wait a minute for it)."""
_ANSWER_S = 5.0


def watch(gcs: str, raylet: Path | None, gone: Callable[[str], None]) -> None:
    """In a thread of its own. gcs: host:port. raylet: its socket on this machine. gone: told what is, once."""
    threading.Thread(target=_watch, args=(gcs, raylet, gone), name="ray watch", daemon=True).start()


def answers_within(gcs: str, seconds: float) -> bool:
    """Whether somebody listens at host:port, or begins to within the time."""
    deadline = time.monotonic() + seconds
    while not _answers(gcs):
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _watch(gcs: str, raylet: Path | None, gone: Callable[[str], None]) -> None:
    pid = _listener(raylet) if raylet is not None else 0
    answered = time.monotonic()
    while True:
        time.sleep(EVERY_S)
        if _answers(gcs):
            answered = time.monotonic()
        if time.monotonic() - answered > PATIENCE_S:
            return gone(f"its GCS at {gcs} does not answer")
        if pid and not Path(f"/proc/{pid}").exists():
            return gone("the raylet of this node ended")


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S):
        return True
    return False


def _listener(path: Path) -> int:
    """The process that listens on a unix socket; 0 where that cannot be told."""
    with contextlib.suppress(OSError, AttributeError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_S)
        connection.connect(str(path))
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)
    return 0
