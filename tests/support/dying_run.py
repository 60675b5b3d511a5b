"""The command, told to die at a certain write of its store: python -m tests.support.dying_run ARGUMENTS...

HOW is in the environment as JSON: How. Without Ray every stage is in this process, so that between an answer, its part
and the file that shows it there is no moment that cannot be chosen.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HOW = "SIGHTREAD_TEST_HOW"


@dataclass(frozen=True)
class How:
    """slice_units: of a file of the results. piece: inputs that are listed and planned together; several pieces are
    planned while they are answered. ray: whether stages are actors. key: a pattern of the keys whose writes count;
    write: by which of them it dies, from 1 on; moment: before it, within it or after it."""

    slice_units: int
    piece: int
    ray: bool = False
    key: str | None = None
    write: int = 1
    moment: str = "after"


def main() -> None:
    how = How(**json.loads(os.environ[HOW]))
    from pipelines import growth, listing, slices

    slices.MOST_UNITS = how.slice_units
    for module in (growth, listing):
        module.PIECE = module.LARGEST_PIECE = how.piece  # type: ignore[attr-defined]
    if not how.ray:
        _here()
    if how.key is not None:
        _die(how.key, how.write, how.moment)
    from jobs.cli import main

    sys.exit(main())


def _here() -> None:
    from operators.store import publisher
    from pipelines import running
    from tests.support.in_process import InProcess

    running.Cluster = InProcess  # type: ignore[misc]
    slice_ = publisher._Slice
    publisher._Slice = lambda: slice_(pause_s=0.2)  # type: ignore[misc, assignment]


def _die(pattern: str, count: int, moment: str) -> None:
    from operators.store.bucket import BucketStore
    from operators.store.local import LocalStore

    writes, counting = [0], threading.Lock()

    def dying(verb: Callable[..., bool]) -> Callable[..., bool]:
        def write(store: Any, key: str, data: Any, *version: str) -> bool:
            with counting:
                writes[0] += re.search(pattern, key) is not None
                now = writes[0] == count and re.search(pattern, key) is not None
            if now and moment == "within":
                _half(store, key, data, verb, version)
            if now and moment != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            done = verb(store, key, data, *version)
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return write

    for kind in (LocalStore, BucketStore):
        for name in ("put_if_absent", "replace_if_same"):
            setattr(kind, name, dying(getattr(kind, name)))


def _half(store: Any, key: str, data: Any, verb: Callable[..., bool], version: tuple[str, ...]) -> None:
    """As a writer leaves it that dies in the middle: half a temporary file; or a request that nobody waits for."""
    if (temporaries := getattr(store, "_temporaries", None)) is not None:
        temporaries.mkdir(parents=True, exist_ok=True)
        (temporaries / f"{socket.gethostname()}-{os.getpid()}-half.tmp").write_bytes(bytes(data)[: len(data) // 2])
    else:
        threading.Thread(target=verb, args=(store, key, data, *version), daemon=True).start()
        time.sleep(len(data) % 7 / 1000)


if __name__ == "__main__":
    main()
