"""Processes that read slices of an output again, each its own interpreter: parsers and checks are Python, and hold the
lock of it. A slice is an order; who asks counts what comes of it. Ends with whoever asks, however that ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from typing import Any

from operators.processes.child import Child, Limits, Messages, spawn
from operators.processes.messages import INT64, Bounds, integer, one_of, record, text
from pipelines import task_modules
from schemas.errors import JobConflict, SpecError, StoreLost
from schemas.state import STATES

COUNTS = ("rows", "changed", "kept")
"""Besides them `before` and `after`: rows in each of STATES."""
ERRORS: dict[str, type[Exception]] = {
    "SpecError": SpecError, "JobConflict": JobConflict, "StoreLost": StoreLost, "OSError": OSError,
}  # fmt: skip
_TAKE_S = 300.0
"""Until a child that takes no order is given up."""
_COUNT = integer(0, INT64)
_BY_STATE = record(dict.fromkeys(STATES, _COUNT))
_COUNTS = record({**dict.fromkeys(COUNTS, _COUNT), "before": _BY_STATE, "after": _BY_STATE})
_MESSAGES = Messages(
    Bounds(),
    {
        "counts": record({"counts": _COUNTS}),
        "error": record({"error": one_of(ERRORS), "text": text(2000)}),
    },
)


def in_children(orders: Sequence[dict[str, Any]], workers: int) -> Generator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each order with its counts, as they are done. Raises what a child met, of ERRORS; ChildDied."""
    idle: SimpleQueue[Child] = SimpleQueue()
    # our code over our output, with what the store of it needs to be reached
    variables = {task_modules.VARIABLE: os.pathsep.join(task_modules.folders())}
    children: list[Child] = []

    def asked(order: dict[str, Any]) -> dict[str, Any]:
        child = idle.get()
        try:
            child.send(order, deadline=time.monotonic() + _TAKE_S)
            head = child.receive(_MESSAGES).head
        finally:
            idle.put(child)
        if "error" in head:
            raise ERRORS[head["error"]](head["text"])
        counts: dict[str, Any] = head["counts"]
        return counts

    executor = ThreadPoolExecutor(workers, thread_name_prefix="reparse")
    try:
        for number in range(workers):
            children.append(
                spawn(
                    "pipelines.reparse_child",
                    limits=Limits(),
                    name=f"reparse {number + 1}",
                    variables=variables,
                    keys=tuple(os.environ),
                )
            )
            idle.put(children[-1])
        asking = {executor.submit(asked, order): order for order in orders}
        for future in as_completed(asking):
            yield asking[future], future.result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.kill()  # which ends what waits for it
        executor.shutdown()
