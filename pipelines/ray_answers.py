"""How many rows the engines of a run have answered, told to the driver while their chunks go on: through the key-value
store of Ray's GCS, which every process of a cluster reaches anyway. A sign of life and no record: what is lost of it is
told by the receipts.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

EVERY_S = 1.0
_SPACE = "sightread"


class Answered:
    """Told by an engine's actor how much it has answered so far; it goes there with its settings. run: a name that no
    other run has."""

    def __init__(self, run: str = "") -> None:
        self.run = run or uuid.uuid4().hex
        self._name = ""
        self._next_s = 0.0

    def __call__(self, rows: int, tokens: int, asked_ago_s: float | None) -> None:
        """Costs nothing more often than every second. asked_ago_s: since its engine's first request."""
        if "ray" not in sys.modules or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + EVERY_S
        self._name = self._name or uuid.uuid4().hex
        with _whatever_becomes_of_it() as kv:
            if kv._internal_kv_initialized():
                counts = json.dumps([rows, tokens, asked_ago_s])
                kv._internal_kv_put(f"{self.run}/{self._name}", counts, overwrite=True, namespace=_SPACE)

    def total(self) -> tuple[int, int, float | None] | None:
        """In the driver: of all engines, and since the first request of any; None where nothing was told yet."""
        with _whatever_becomes_of_it() as kv:
            keys = kv._internal_kv_list(f"{self.run}/", namespace=_SPACE) if kv._internal_kv_initialized() else []
            counts = [json.loads(kv._internal_kv_get(key, namespace=_SPACE) or b"[0, 0, null]") for key in keys]
            if counts:
                rows, tokens, ages_s = zip(*counts, strict=True)
                return sum(rows), sum(tokens), max((age_s for age_s in ages_s if age_s is not None), default=None)
        return None

    @contextlib.contextmanager
    def watched(self, tell: Callable[[int, int, float | None], None]) -> Iterator[None]:
        """Meanwhile a thread tells how much it is by now, whenever that has changed."""
        over = threading.Event()

        def watch() -> None:
            before = 0
            while not over.wait(EVERY_S):
                if (total := self.total()) is not None and total[0] > before:
                    before = total[0]
                    tell(*total)

        thread = threading.Thread(target=watch, name="answered", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(EVERY_S)
            with _whatever_becomes_of_it() as kv:
                if kv._internal_kv_initialized():
                    kv._internal_kv_del(f"{self.run}/", del_by_prefix=True, namespace=_SPACE)


@contextlib.contextmanager
def _whatever_becomes_of_it() -> Iterator[Any]:
    """A GCS that is gone or busy is the matter of who watches Ray."""
    from ray.exceptions import RayError
    from ray.experimental import internal_kv

    with contextlib.suppress(RayError, RuntimeError, ValueError, OSError):
        yield internal_kv
