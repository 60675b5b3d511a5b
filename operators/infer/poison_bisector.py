"""Who may have killed the engine: pure policy, no processes.

When an engine dies, everything it was working on is suspect. Asking the suspects again one by one would be
sure and slow (51 innocents took 18 s, docs/facts/architecture-probe.md); so they are halved, and each half runs
alone, until the one that kills is alone too. That is about log2(n) + 2 deaths for one killer among n, and a
death from outside (kill -9) costs two undisturbed rounds and nobody a failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class PoisonBisector:
    """Ids wait, run, and are answered; `died` says who is poisoned. `limit`: how many run at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running: set[str] = set()
        self._waiting: deque[str] = deque()
        self._groups: list[list[str]] = []  # suspects still to be tried, the next one last
        self._on_trial = False
        self.deaths: dict[str, int] = {}  # of those not answered yet

    def submit(self, request_id: str) -> None:
        self._waiting.append(request_id)

    def admit(self) -> list[str]:
        """Ids to run now. Suspects run in their group alone, before anything new."""
        if self._on_trial and self.running:
            return []
        self._on_trial = False
        if self._groups:
            if self.running:
                return []
            self._on_trial = True
            group = self._groups.pop()
            self.running = set(group)
            return group
        count = min(self.limit - len(self.running), len(self._waiting))
        admitted = [self._waiting.popleft() for _ in range(count)]
        self.running.update(admitted)
        return admitted

    def answered(self, request_id: str) -> bool:
        """False when it is not running: an answer that came twice."""
        if request_id not in self.running:
            return False
        self.running.discard(request_id)
        self.deaths.pop(request_id, None)
        return True

    def died(self, order: Iterable[str] = ()) -> str | None:
        """The engine died under all that run. Returns the id that is poisoned: alone, and not for the first time.

        order: in which to halve them (any fixed one).
        """
        place = {request_id: index for index, request_id in enumerate(order)}
        suspects = sorted(self.running, key=lambda request_id: place.get(request_id, -1))
        self.running = set()
        self._on_trial = False
        for request_id in suspects:
            self.deaths[request_id] = self.deaths.get(request_id, 0) + 1
        if not suspects:
            return None
        if len(suspects) == 1:
            (only,) = suspects
            if self.deaths[only] >= 2:
                return only
            self._groups.append([only])
            return None
        half = len(suspects) // 2
        self._groups += [suspects[half:], suspects[:half]]
        return None

    def drain(self) -> list[str]:
        """Everything not answered, forgotten here."""
        left = [*self.running, *self._waiting, *(request_id for group in self._groups for request_id in group)]
        self.running, self._waiting, self._groups, self._on_trial = set(), deque(), [], False
        return left
