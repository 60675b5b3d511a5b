"""Who may write to an output: one holder at a time, as long as its heart beats. Knows nothing of jobs.

    _job/lease.json

The holder replaces the file every few seconds, each time only the one that it put before, and at last by one that says
that it let go. Another that finds the file watches it: if it changes, somebody lives; if it stays the same for STALE_S
of the watcher's clock, the watcher puts its own in place of the very file that it watched. No two clocks are ever
compared. A holder that was stopped for longer than that finds another's file where its own was, and has lost the lease.
Of a process of this machine one knows without waiting that it is gone, or that it lives (operators/store/holder.py).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from operators.store.addresses import store_at
from operators.store.holder import MOST_BYTES, Holder, here, let_go
from operators.store.store import Store, read
from schemas.errors import OutputBusy, StoreLost

KEY = "_job/lease.json"
STALE_S = 40.0
"""SIGHTREAD_LEASE_S says otherwise, for tests; the heart beats eight times in that time."""
LET_GO_S = 5.0
"""How long the end of a command may wait to let the output go, where the store does not answer."""
_GAP_S = 2.0
"""A look that takes longer than that, and than a quarter of STALE_S, says nothing of the time before it."""
_TRIES = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    """A lease as it was read. holder: None where the file says nothing that one can read."""

    holder: Holder | None
    version: str

    @property
    def is_free(self) -> bool:
        return self.holder is not None and (self.holder.ended or self.holder.is_gone)

    @property
    def token(self) -> str | None:
        return self.holder.token if self.holder is not None else None

    @property
    def lives(self) -> bool:
        """Whether one knows it without watching."""
        return self.holder is not None and self.holder.lives(stale_s() / 4)

    def __str__(self) -> str:
        return str(self.holder) if self.holder is not None else "a process whose lease this version cannot read"


class Lease:
    """Held within `with lease:`; `on_lost` is called once, with a sentence, from a thread, when another has it."""

    def __init__(self, store: Store, who: str, what: str, since: str, on_lost: Callable[[str], None]) -> None:
        """what: is done with the output, as another is told."""
        self._store = store
        self._holder = Holder(uuid.uuid4().hex, who, what, since, here(), beat_s=time.monotonic())
        self._on_lost = on_lost
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="lease", daemon=True)

    @property
    def token(self) -> str:
        return self._holder.token

    def __enter__(self) -> Lease:
        """Raises OutputBusy with who has it, and since when; StoreLost."""
        try:
            self._take()
        except OSError as error:
            raise StoreLost(f"output: {self._store.address} cannot be written: {error}") from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=LET_GO_S)
        let_go.add(self.token)

    def _take(self) -> None:
        while True:
            self._holder = replace(self._holder, beat_s=time.monotonic())
            if self._store.put_if_absent(KEY, self._holder.as_json()):
                return
            seen = _look(self._store)
            if seen is None or not self._is_left(seen):
                continue  # it was let go just now
            left_by = "" if seen.holder is not None and seen.holder.ended else str(seen)
            mine = replace(self._holder, beat_s=time.monotonic(), left_by=left_by)
            if self._store.replace_if_same(KEY, mine.as_json(), seen.version):
                self._holder = mine
                if left_by:
                    _log.info("the lease of %s was left behind by %s; taken over", self._store.address, left_by)
                return

    def _is_left(self, seen: _Seen) -> bool:
        """Whether nobody holds it any more, as far as this very file goes; False where another is there by now. Raises
        OutputBusy where its holder lives."""
        if seen.is_free:
            return True
        now: _Seen | None = seen
        if not seen.lives:
            _log.warning(
                "another process wrote to %s (%s); watching whether it lives, up to %g s",
                *(self._store.address, seen, stale_s()),
            )
            now = _watched(self._store, seen, stale_s())
            if now is None or now.version == seen.version:
                return now is not None
            if now.is_free:
                return False
        raise OutputBusy(f"output: {self._store.address} is being written by {now}; wait for it, or stop it")

    def _live(self) -> None:
        while not self._ended.wait(stale_s() / 8):
            try:
                other = self._renewed()
            except (OSError, StoreLost) as error:  # the run itself finds out what becomes of the store
                _log.info("the lease of %s could not be renewed: %s", self._store.address, error)
                continue
            if other is not None:
                if not self._ended.is_set():
                    self._on_lost(f"the lease of {self._store.address} was lost: it was taken over by {other}")
                return
        with contextlib.suppress(OSError, StoreLost):  # who finds it sees that nobody's heart beats
            self._renewed(ended=True)

    def _renewed(self, *, ended: bool = False) -> _Seen | None:
        """Put the file anew; returns what is there instead, where it is another's. ended: let it go."""
        renewed = replace(self._holder, beat=self._holder.beat + 1, beat_s=time.monotonic(), ended=ended)
        for _ in range(_TRIES):  # it may be replaced between two looks at it
            seen = _look(self._store)
            if seen is not None and seen.token != self.token:
                return seen
            if seen is None:  # somebody deleted it: then nobody else has it
                done = self._store.put_if_absent(KEY, renewed.as_json())
            else:
                done = self._store.replace_if_same(KEY, renewed.as_json(), seen.version)
            if done:
                self._holder = renewed
                break
        return None


@dataclass
class LeaseGuard:
    """Asks, in another process than the holder's, whether it still has the lease: what is done without one is done
    twice. Crosses processes, and may be asked by several threads. output: an address."""

    output: str
    token: str
    _asked_s: float = -math.inf
    _held: bool = True

    def held(self) -> bool:
        """As it was an eighth of the stale time ago; False for good once it was lost. True where the store does not
        say: whoever writes finds out."""
        if self._held and time.monotonic() - self._asked_s > stale_s() / 8:
            self._asked_s = time.monotonic()
            with contextlib.suppress(OSError, StoreLost):
                seen = _look(store_at(self.output))
                if seen is not None and seen.token != self.token:
                    self._held = False
        return self._held


def holder_of(store: Store) -> Holder | None:
    """Who has the output, as far as the file says; None where nobody has. Raises OSError, StoreLost."""
    seen = _look(store)
    return seen.holder if seen is not None and seen.holder is not None and not seen.holder.ended else None


def is_beating(store: Store) -> bool:
    """Whether the holder lives; it is watched for some seconds, unless its process can be looked at. Raises OSError,
    StoreLost."""
    seen = _look(store)
    if seen is None or seen.is_free:
        return False
    if seen.lives:
        return True
    now = _watched(store, seen, stale_s() / 4)
    return now is not None and now.version != seen.version and not now.is_free


def stale_s() -> float:
    try:
        return max(0.2, float(os.environ.get("SIGHTREAD_LEASE_S", STALE_S)))
    except ValueError:
        return STALE_S


def _look(store: Store) -> _Seen | None:
    """None where there is no file. Raises OSError, StoreLost."""
    if (there := store.stat(KEY)) is None:
        return None
    if there.size_bytes > MOST_BYTES:
        return _Seen(None, there.version)
    try:
        return _Seen(Holder.of(read(store, KEY)), there.version)
    except FileNotFoundError:
        return None
    except ValueError:
        return _Seen(None, there.version)


def _watched(store: Store, seen: _Seen, for_s: float) -> _Seen | None:
    """What is there once it is another file, its holder is gone, or it stayed the same for so long; None where there is
    none. Only what was looked at counts: if the store, or this process, was away for longer than a moment, the time
    starts anew, since the holder could not renew it either."""
    silent_s, looked_s = 0.0, time.monotonic()
    while True:
        time.sleep(min(1.0, for_s / 20))
        now = _look(store)
        gap_s, looked_s = time.monotonic() - looked_s, time.monotonic()
        silent_s = silent_s + gap_s if gap_s <= max(_GAP_S, stale_s() / 4) else 0.0
        if now is None or now.version != seen.version or now.is_free or silent_s >= for_s:
            return now
