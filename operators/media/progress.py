"""Signs of life of a decoder: a format's module calls `progress()` wherever it came further (a packet read, a frame or
a page decoded), in its loops too that yield nothing for long.

Cheap enough for every packet. Outside of a decoder child it does nothing. What shows none is bounded by
`decode.timeout_s` (operators/media/sandbox.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_S = 0.25
"""It is told no more often."""


class Progress:
    """Counts steps, and tells the count now and then. For one thread."""

    def __init__(self) -> None:
        self._tell: Callable[[int], object] | None = None
        self._steps = 0
        self._next_s = 0.0

    def tell(self, tell: Callable[[int], object]) -> None:
        """tell: takes the steps so far."""
        self._tell = tell

    def __call__(self) -> None:
        self._steps += 1
        if self._tell is not None and (now_s := time.monotonic()) >= self._next_s:
            self._next_s = now_s + EVERY_S
            self._tell(self._steps)


progress = Progress()
