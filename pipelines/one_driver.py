"""The lease that a command holds while it writes to an output: for all of them the same. Knows nothing of jobs."""

from __future__ import annotations

from functools import partial

from operators.processes import ending
from operators.store.lease import Lease
from operators.store.store import Store
from pipelines.rounds import now, who


def one_driver(store: Store, what: str) -> Lease:
    """To be held in a `with`. what: the command, as another is told. Where the lease is lost, this process ends with a
    sentence that says to whom, and exit code 1."""
    return Lease(store, who(), what, now(), on_lost=partial(ending.end, 1))
