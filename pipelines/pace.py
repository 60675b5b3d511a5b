"""How fast answers come, and how long the others will take: smoothed, and from the first answer on. What time it is
says who calls.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

WINDOW_S = 60.0
"""Over which is smoothed, or over ROUNDS times as long as the first answer took, where that is more."""
ROUNDS = 4
LEAST_S = 2.0
LEAST_ROWS = 10
"""Until then nobody is told how long the others will take."""
_SAMPLES = 64


class Pace:
    """Rows and output tokens a second.

    What came with the first answer tells nothing by itself: nobody knows how many were worked at beside it. Answers
    come in flocks, since chunks are worked at side by side; so there is no pace until as much time has passed again as
    the first took, LEAST_S at least. Then a flock is not taken for the rule, and neither is the pause before the next.
    Without what came first the pace may be too low, if much came at once; with it too, if the first took long to start.
    So, as long as it is in the window, the higher of the two is told.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque()  # when, and how many rows and tokens by then
        self._rows = self._tokens = 0
        self._patience_s = LEAST_S
        self._took_s: float | None = None  # of the first answer, as long as it is in the window

    def add(self, rows: int, tokens: int, now_s: float, took_s: float = 0.0) -> None:
        """So many came with one answer. took_s: since the engine got its first request; of the first answer alone."""
        self._rows += rows
        self._tokens += tokens
        if not self._samples:
            self._patience_s, self._took_s = max(LEAST_S, took_s), took_s or None
            self._samples.append((now_s, self._rows, self._tokens))
        elif now_s - self._samples[-1][0] >= self._window_s / _SAMPLES:
            self._samples.append((now_s, self._rows, self._tokens))

    def reached(self, rows: int, tokens: int, now_s: float, took_s: float = 0.0) -> None:
        """So many are there by now, by one count of several: the one that is furthest is right. took_s: as in `add`."""
        if rows > self._rows:
            self.add(rows - self._rows, max(0, tokens - self._tokens), now_s, took_s)

    @property
    def _window_s(self) -> float:
        return max(WINDOW_S, ROUNDS * self._patience_s)

    def rates(self, now_s: float) -> tuple[float, float] | None:
        """Rows and tokens a second; None while they cannot be told yet."""
        while len(self._samples) > 1 and now_s - self._samples[1][0] >= self._window_s:
            self._samples.popleft()
            self._took_s = None
        if not self._samples or (span_s := now_s - self._samples[0][0]) < self._patience_s:
            return None
        _, rows, tokens = self._samples[0]
        later = (self._rows - rows) / span_s, (self._tokens - tokens) / span_s
        if self._took_s is None:
            return later
        return max(later, (self._rows / (span_s + self._took_s), self._tokens / (span_s + self._took_s)))

    def left_s(self, rows: int, now_s: float) -> float | None:
        """Until so many more are there; None while that cannot be told, and where none are known of."""
        rates = self.rates(now_s) if self._rows >= LEAST_ROWS else None
        return rows / rates[0] if rows > 0 and rates is not None and rates[0] > 0 else None


def asked_ago_s(receipt: Mapping[str, Any]) -> float | None:
    """How long ago the engine that a receipt tells of got its first request; None where it got none."""
    engine = receipt["engine"]
    return None if engine is None or engine["since_s"] is None else max(0.0, time.time() - engine["since_s"])
