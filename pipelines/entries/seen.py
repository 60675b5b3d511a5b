"""Which names came up before, of millions: eight bytes each. Two names of one digest (64 bits) would be one. Pure."""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

RECENT = 65_536
"""That are kept as they come; more are sorted, and sorted runs of one size become one."""
_Run: TypeAlias = npt.NDArray[np.uint64]


class Seen:
    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._runs: list[_Run] = []  # each larger than the next
        self._more: dict[int, int] = {}  # of those that came up again: how often

    def add(self, name: str) -> int:
        """How often it came up before."""
        digest = _digest(name)
        if self._is_new(digest):
            return 0
        times = self._more.get(digest, 1)
        self._more[digest] = times + 1
        return times

    def add_new(self, name: str) -> bool:
        """Whether it did not come up before. If it did, that counts for nothing."""
        return self._is_new(_digest(name))

    def _is_new(self, digest: int) -> bool:
        if self._has(digest):
            return False
        self._recent.add(digest)
        if len(self._recent) >= RECENT:
            self._sort()
        return True

    def _has(self, digest: int) -> bool:
        if digest in self._recent:
            return True
        if not self._runs:
            return False
        wanted = np.uint64(digest)
        places = ((run, int(run.searchsorted(wanted))) for run in self._runs)
        return any(place < len(run) and run[place] == wanted for run, place in places)

    def _sort(self) -> None:
        run = np.sort(np.fromiter(self._recent, np.uint64, len(self._recent)))
        self._recent.clear()
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
