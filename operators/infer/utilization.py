"""How much of an engine's capacity was in use: slot-seconds between its first request and its last answer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Utilization:
    """slots: requests that the engine works on at once. busy_s: slot-seconds in use; since_s and until_s: when the
    first request went to a loaded engine, and when the last answer came (seconds of one clock)."""

    slots: int
    since_s: float | None = None
    until_s: float = 0.0
    busy_s: float = 0.0
    _running: int = field(default=0, repr=False)
    _noted_s: float = field(default=0.0, repr=False)

    def note(self, running: int, now_s: float) -> None:
        """So many requests are with the engine from now on; those beyond the slots wait there."""
        if self.since_s is None:
            if not running:
                return
            self.since_s = self._noted_s = now_s
        self.busy_s += min(self._running, self.slots) * (now_s - self._noted_s)
        if running < self._running:
            self.until_s = now_s
        self._running, self._noted_s = running, now_s

    def snapshot(self) -> dict[str, float | int | None]:
        return {"slots": self.slots, "since_s": self.since_s, "until_s": self.until_s, "busy_s": self.busy_s}
