"""Fetch the next inputs of a run of them into the node's cache while one is read: a store answers late, and many at
once. Knows no format.

Ahead of who reads are at most AHEAD inputs, and no more is asked for while those that are there hold AHEAD_BYTES; so
many bytes are ahead at most, and THREADS inputs under way. What is wrong with an input is met again where it is opened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from operators.media.source import is_cell, opened_source
from schemas.address import is_remote
from schemas.errors import InputError, StoreLost
from schemas.fetch import FetchSettings

THREADS = 8
AHEAD = 32
AHEAD_BYTES = 256 << 20
WAIT_S = 10.0
"""Of one input, until it is told what is waited for."""


class Fetching:
    """What is told of it. This base drops it."""

    def fetched(self, size_bytes: int) -> None:
        """An input is there."""

    def waiting(self, address: str) -> None:
        """One is not there yet, again after WAIT_S."""


class Ahead:
    """May be used for one run after the other. fetching: told of it, in any thread."""

    def __init__(self, settings: FetchSettings, fetching: Fetching | None = None) -> None:
        self._settings = settings
        self._fetching = fetching or Fetching()
        self._pool: ThreadPoolExecutor | None = None

    def of(self, inputs: Sequence[tuple[str, str | None] | None]) -> Run:
        """inputs: (address, version) in the order in which they are read; None for what is not fetched."""
        if self._pool is None and any(map(_is_fetched, inputs)):
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ahead")
        return Run(inputs, self._pool, self._fetched, self._fetching.waiting)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetched(self, address: str, version: str | None) -> tuple[str | None, int]:
        """(version, bytes) of an input that is there now. Raises StoreLost."""
        try:
            with opened_source(address, version, self._settings) as source:
                size_bytes = source.size_bytes
                self._fetching.fetched(size_bytes)
                return source.version, size_bytes
        except (InputError, OSError):
            return version, 0


class Run:
    def __init__(
        self,
        inputs: Sequence[tuple[str, str | None] | None],
        pool: ThreadPoolExecutor | None,
        fetch: Callable[[str, str | None], tuple[str | None, int]],
        waiting: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._inputs = inputs
        self._pool = pool
        self._fetch = fetch
        self._waiting = waiting
        self._lock = threading.Lock()
        self._futures: dict[int, Future[tuple[str | None, int]]] = {}
        self._next = 0
        self._lost = False
        self._ahead_bytes = self._under_way = 0
        self._ask_for_more()

    def version(self, index: int) -> str | None:
        """Of the input that is read now: what it has, where that was found out, or had to have. Waits until it is
        there. Raises StoreLost."""
        entry = self._inputs[index]
        version = entry[1] if entry is not None else None
        with self._lock:
            self._next = max(self._next, index + 1)
            future = self._futures.pop(index, None)
        if future is not None and entry is not None:
            while not wait([future], WAIT_S).done:
                self._waiting(entry[0])
            version, size_bytes = future.result()
            with self._lock:
                self._ahead_bytes -= size_bytes
        self._ask_for_more()
        return version

    def _ask_for_more(self) -> None:
        with self._lock:
            while (
                self._pool is not None
                and not self._lost
                and self._next < len(self._inputs)
                and len(self._futures) < AHEAD
                and self._under_way < THREADS
                and self._ahead_bytes < AHEAD_BYTES
            ):
                entry = self._inputs[self._next]
                if entry is not None and _is_fetched(entry):
                    try:
                        self._futures[self._next] = self._pool.submit(self._counted, *entry)
                    except RuntimeError:  # it was closed meanwhile
                        return
                    self._under_way += 1
                self._next += 1

    def _counted(self, address: str, version: str | None) -> tuple[str | None, int]:
        size_bytes = 0
        try:
            version, size_bytes = self._fetch(address, version)
            return version, size_bytes
        except StoreLost:  # after minutes, which nothing else shall wait for again
            self._lost = True
            raise
        finally:
            with self._lock:
                self._under_way -= 1
                self._ahead_bytes += size_bytes
            self._ask_for_more()


def _is_fetched(entry: tuple[str, str | None] | None) -> bool:
    """Not a cell: its table is there as soon as one of them was read, and they are cut out of it in order."""
    return entry is not None and is_remote(entry[0]) and not is_cell(*entry)
