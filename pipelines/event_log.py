"""The files that say what a run does and what happened, as they lie in the store of a job. Knows no run.

    _job/progress.json    one object, put anew every few seconds
    _job/events.jsonl     one object a line, {"at", "kind", ...}: the last of them, whatever runs they are of

Lines are appended where the store is a folder of this machine, and the file put anew with what was there elsewhere:
object stores append nothing. Whoever reads takes what is no line of ours for nothing.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from operators.store.addresses import local_path
from operators.store.store import Store, overwrite

PROGRESS, EVENTS = "_job/progress.json", "_job/events.jsonl"
MOST_LINES, MOST_BYTES = 10_000, 2 << 20
"""Of the events that are kept. Beyond that the older half goes."""
MOST_TEXT = 2000
"""Characters of one text in them."""


class EventLog:
    """For one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        folder = local_path(store.address)
        self._path = folder / EVENTS if folder is not None else None
        self._lines: deque[bytes] | None = None  # of a store that appends nothing
        self._number: int | None = None  # of the lines of a file

    def add(self, events: Sequence[dict[str, Any]]) -> None:
        """Raises OSError, StoreLost; then it may be added again."""
        lines = [_as_json(event) + b"\n" for event in events]
        if self._path is not None:
            self._append(self._path, lines)
            return
        if self._lines is None:
            self._lines = deque(_tail(_read(self._store)).splitlines(keepends=True))
        kept = _shortened([*self._lines, *lines])
        overwrite(self._store, EVENTS, b"".join(kept))
        self._lines = deque(kept)

    def _append(self, path: Path, lines: list[bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_RDWR: or a pipe that somebody put there would keep us
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(f"{path} is no file")
            size = file.seek(0, os.SEEK_END)
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"  # by a kill
            data = b"\n" * torn + b"".join(lines)
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            if self._number is None and size + len(data) <= MOST_BYTES:
                self._number = os.pread(handle, MOST_BYTES, 0).count(b"\n")
            elif self._number is not None:
                self._number += len(lines)
            if self._number is None or self._number > MOST_LINES or size + len(data) > MOST_BYTES:
                start = max(0, size + len(data) - MOST_BYTES)
                there = os.pread(handle, MOST_BYTES, start)
                kept = _shortened(_tail(there, cut=start > 0).splitlines(keepends=True), always=True)
                overwrite(self._store, EVENTS, b"".join(kept))
                self._number = len(kept)


def read_events(store: Store, most: int = MOST_LINES) -> list[dict[str, Any]]:
    """The last of them, in order; none where there is no file. Raises OSError, StoreLost."""
    events: deque[dict[str, Any]] = deque(maxlen=most)
    for line in _tail(_read(store)).splitlines():
        event = _of_json(line)
        if event is not None and isinstance(event.get("at"), str) and isinstance(event.get("kind"), str):
            events.append(event)
    return list(events)


def write_progress(store: Store, progress: dict[str, Any]) -> None:
    """Raises OSError, StoreLost."""
    overwrite(store, PROGRESS, _as_json(progress) + b"\n")


def read_progress(store: Store) -> dict[str, Any] | None:
    """None where no run left one that can be read. Raises OSError, StoreLost."""
    try:
        with store.open(PROGRESS) as file:
            return _of_json(file.read(MOST_BYTES + 1))
    except FileNotFoundError:
        return None


def shortened(text: str) -> str:
    """Of a message the beginning and the end."""
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT // 2]} … {text[-MOST_TEXT // 2 :]}"


def _read(store: Store) -> bytes:
    """The last 2 * MOST_BYTES of the file."""
    try:
        with store.open(EVENTS) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2 * MOST_BYTES))
            return file.read(2 * MOST_BYTES)
    except FileNotFoundError:
        return b""


def _tail(data: bytes, *, cut: bool | None = None) -> bytes:
    """From a beginning of a line on to the last end of one, MOST_BYTES at most."""
    cut = len(data) > MOST_BYTES if cut is None else cut
    data = data[-MOST_BYTES:]
    start = data.find(b"\n") + 1 if cut else 0
    return data[start : data.rfind(b"\n") + 1]


def _shortened(lines: list[bytes], *, always: bool = False) -> list[bytes]:
    """The last of them: half of what is kept, once there are more, or always."""
    size = sum(map(len, lines))
    if not always and len(lines) <= MOST_LINES and size <= MOST_BYTES:
        return lines
    kept = deque(lines, maxlen=MOST_LINES // 2)
    size = sum(map(len, kept))
    while size > MOST_BYTES // 2:
        size -= len(kept.popleft())
    return list(kept)


def _as_json(value: dict[str, Any]) -> bytes:
    """In ASCII: names of files may hold what is no text."""
    return json.dumps(value, default=str).encode()


def _of_json(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
