"""Who may write to an output: one holder at a time, as long as its heart beats. Knows nothing of jobs.

    _job/lease.json

The holder puts the file anew every few seconds, each time only in place of the one that it put before. Another that
finds the file watches it: if it changes, somebody lives; if it stays the same for STALE_S of the watcher's own clock,
the watcher puts its own in its place. No two clocks are ever compared. A holder that was stopped for longer than that
finds another's file where its own was, and has lost the lease. Of a process of this machine that is gone one knows
without waiting.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from operators.store.addresses import store_at
from operators.store.store import Store, read
from schemas.errors import OutputBusy, StoreLost

KEY = "_job/lease.json"
STALE_S = 40.0
"""SIGHTREAD_LEASE_S says otherwise, for tests; the heart beats eight times in that time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """token: of this holding alone. since: ISO 8601, as the holder's clock says; shown, never compared. place: machine,
    boot and namespace of its process, and process and its start: whether it is gone can be told on the same machine."""

    token: str
    who: str
    what: str
    since: str
    place: dict[str, str]
    beat: int = 0


class Lease:
    """Held within `with lease:`; lost is set, and `on_lost` called once, when another has it."""

    def __init__(self, store: Store, who: str, what: str, since: str, on_lost: Callable[[str], None]) -> None:
        """what: is done with the output, as another is told."""
        self._store = store
        self._holder = Holder(uuid.uuid4().hex, who, what, since, _place())
        self._on_lost = on_lost
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def token(self) -> str:
        return self._holder.token

    def __enter__(self) -> Lease:
        """Raises OutputBusy with who has it, and since when; StoreLost, OSError."""
        self._take()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=stale_s())
        with contextlib.suppress(OSError, StoreLost):  # who finds it sees that nobody's heart beats
            there = holder_of(self._store)
            if there is not None and there.token == self.token:
                self._store.delete(KEY)

    def _take(self) -> None:
        while True:
            if self._store.put_if_absent(KEY, _as_json(self._holder)):
                return
            there = _current(self._store)
            if there is None:
                continue  # it was let go just now
            holder, version = there
            if holder is None or not _is_gone(holder):
                holder = self._watch(version) if holder is not None else None
                if holder is not None:
                    raise OutputBusy(
                        f"output: {self._store.address} is being written by {holder.who} since {holder.since} "
                        f"({holder.what}); wait for it, or stop it"
                    )
                if (there := _current(self._store)) is None:
                    continue
                version = there[1]
            if self._store.replace_if_same(KEY, _as_json(self._holder), version):
                _log.info("the lease of %s was left behind; taken over", self._store.address)
                return

    def _watch(self, version: str) -> Holder | None:
        """The holder, once its heart is seen to beat; None if it does not."""
        deadline = time.monotonic() + stale_s()
        while time.monotonic() < deadline:
            time.sleep(stale_s() / 20)
            there = _current(self._store)
            if there is None:
                return None
            if there[1] != version and there[0] is not None:
                return there[0]
        return None

    def _beat(self) -> None:
        while not self._ended.wait(stale_s() / 8):
            try:
                if self._renewed() or self._ended.is_set():
                    continue
                holder = holder_of(self._store)
                other = "nobody" if holder is None else f"{holder.who} since {holder.since}"
                self._on_lost(f"the lease of {self._store.address} was lost: it is held by {other}")
                return
            except (OSError, StoreLost) as error:  # the run itself finds out what becomes of the store
                _log.info("the lease of %s could not be renewed: %s", self._store.address, error)

    def _renewed(self) -> bool:
        for _ in range(2):  # a store may have put it, and its answer got lost
            there = _current(self._store)
            if there is None or there[0] is None or there[0].token != self.token:
                return False
            self._holder = replace(self._holder, beat=self._holder.beat + 1)
            if self._store.replace_if_same(KEY, _as_json(self._holder), there[1]):
                return True
        return False


@dataclass
class LeaseGuard:
    """Asks, in another process than the holder's, whether it still has the lease: what is done without one is done
    twice. Crosses processes. output: an address."""

    output: str
    token: str
    _asked: float = -math.inf
    _held: bool = True

    def held(self) -> bool:
        """As it was a few seconds ago. True where the store does not say: whoever writes finds out."""
        if self._held and time.monotonic() - self._asked > stale_s() / 8:
            self._asked = time.monotonic()
            with contextlib.suppress(OSError, StoreLost):
                there = holder_of(store_at(self.output))
                self._held = there is None or there.token == self.token
        return self._held


def holder_of(store: Store) -> Holder | None:
    """Who has the output, as far as the file says; None where nobody has. Raises OSError, StoreLost."""
    there = _current(store)
    return there[0] if there is not None else None


def is_beating(store: Store) -> bool:
    """Whether the holder lives; it is watched for some seconds, unless its process can be looked at. Raises OSError,
    StoreLost."""
    there = _current(store)
    if there is None or there[0] is None or _is_gone(there[0]):
        return False
    if _is_here(there[0]):
        return True
    deadline = time.monotonic() + stale_s() / 2
    while time.monotonic() < deadline:
        time.sleep(stale_s() / 20)
        now = _current(store)
        if now is None or now[1] != there[1]:
            return now is not None
    return False


def stale_s() -> float:
    try:
        return max(1.0, float(os.environ.get("SIGHTREAD_LEASE_S", STALE_S)))
    except ValueError:
        return STALE_S


def _current(store: Store) -> tuple[Holder | None, str] | None:
    """What the file says, and its version; no holder where it says nothing that one can read, None where it is not."""
    if (there := store.stat(KEY)) is None:
        return None
    try:
        data: dict[str, Any] = json.loads(read(store, KEY))
        return Holder(**data), there.version
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError):
        return None, there.version


def _as_json(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), indent=1).encode()


def _place() -> dict[str, str]:
    return {**_machine(), "process": str(os.getpid()), "started": _started(os.getpid()) or ""}


def _machine() -> dict[str, str]:
    facts = {}
    with contextlib.suppress(OSError):
        facts["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        facts["namespace"] = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  a name, no path
    return facts


def _is_here(holder: Holder) -> bool:
    here = _machine()
    return bool(here) and all(holder.place.get(key) == value for key, value in here.items())


def _is_gone(holder: Holder) -> bool:
    """Whether it was a process of this machine that is no more."""
    process = holder.place.get("process", "")
    return _is_here(holder) and process.isdigit() and _started(int(process)) != holder.place.get("started")


def _started(process: int) -> str | None:
    """When a process began, in ticks since the boot; None where it is no more."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
