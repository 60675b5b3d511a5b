"""Say that one waits, and how long: on a terminal all the time, elsewhere a line to stderr every ten seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

from jobs.terminal import cell, console_for, show_line

_PLAIN_EVERY_S = 10.0


class Waiting:
    """console: that other things are printed to meanwhile. what: one waits for."""

    def __init__(self, console: Console, what: str) -> None:
        self._stderr = console_for(sys.stderr)
        terminal = next((place for place in (console, self._stderr) if place.is_terminal), None)
        self._status = None if terminal is None else Status("", console=terminal)
        self._what = what
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Waiting:
        if self._status is not None:
            self._status.start()
        self.tell()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, what: str | None = None) -> None:
        """Called every second or so. what: one waits for from now on; None: the same."""
        self._what = what or self._what
        now = time.monotonic()
        text = f"{self._what} ({now - self._began:.0f} s)"
        if self._status is not None:
            self._status.update(cell(text))
        elif now - self._last > _PLAIN_EVERY_S:
            self._last = now
            show_line(self._stderr, text)
