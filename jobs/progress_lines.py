"""A line now and then of how far a command is, on stderr, so that its output stays its own."""

from __future__ import annotations

import sys
import time

from jobs.terminal import console_for, show_line

SHOWN_EVERY_S = 5.0


class ProgressLines:
    """what: is done to how many of all, as `files read`."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown_at = time.monotonic()
        self._console = console_for(sys.stderr)

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._shown_at > SHOWN_EVERY_S:
            self._shown_at = time.monotonic()
            show_line(self._console, f"{done} of {total} {self._what}")
