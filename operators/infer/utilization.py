"""How busy an engine and the process that asks it are: seconds in which they worked, by clocks of their own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


class Busy:
    """Seconds in which something worked: `with busy:` around the work, in any number of threads or tasks at once.

    most: how many can work at once; those beyond it wait, and count for nothing. With the default it is the time in
    which anybody worked.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._running = 0
        self._noted_s = 0.0
        self._busy_s = 0.0

    def __enter__(self) -> None:
        self._note(1)

    def __exit__(self, *_: object) -> None:
        self._note(-1)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within `with busy:`, around what is a wait for others."""
        self._note(-1)
        try:
            yield
        finally:
            self._note(1)

    @property
    def seconds(self) -> float:
        self._note(0)
        return self._busy_s

    def start_anew(self) -> None:
        """What was counted so far is no matter."""
        self._note(0)
        self._busy_s = 0.0

    def _note(self, more: int) -> None:
        with self._lock:
            now_s = time.monotonic()
            self._busy_s += min(self._running, self._most) * (now_s - self._noted_s)
            self._running += more
            self._noted_s = now_s


@dataclass
class Utilization:
    """Of one engine, from its first request on. slots: requests that it works on at once. since_s, until_s: when the
    first request went to a loaded engine, and when the last answer came (since the epoch). parse: of the process that
    asks, which makes requests and reads replies; opening: of the same, while it opens whole inputs.

    A slot is in use while a request is in the engine. The engine's process counts that (`used_s` of its answers): here
    a request is also under way while it is packed, sent and waits for its turn to be read.
    """

    slots: int
    since_s: float | None = None
    until_s: float = 0.0
    parse: Busy = field(default_factory=Busy, repr=False)
    opening: Busy = field(default_factory=Busy, repr=False)
    _used_s: float = field(default=0.0, repr=False)
    _used_before_s: float = field(default=0.0, repr=False)  # by engines that died

    def asked(self, now_s: float) -> None:
        """A request went to a loaded engine."""
        if self.since_s is None:
            self.since_s = self.until_s = now_s
            self.parse.start_anew()
            self.opening.start_anew()

    def answered(self, used_s: float, now_s: float) -> None:
        """used_s: slot-seconds in use in the engine's process until this answer."""
        self._used_s, self.until_s = used_s, now_s

    def started_anew(self) -> None:
        """The engine's process is another one."""
        self._used_before_s += self._used_s
        self._used_s = 0.0

    def snapshot(self) -> dict[str, float | int | None]:
        return {
            "slots": self.slots,
            "since_s": self.since_s,
            "until_s": self.until_s,
            "busy_s": self._used_before_s + self._used_s,
            "parse_s": self.parse.seconds,
            "open_s": self.opening.seconds,
        }
