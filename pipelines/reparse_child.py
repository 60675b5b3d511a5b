"""The process of a worker of `sightread reparse`: a slice of a task for each order (pipelines/reparse.py)."""

from __future__ import annotations

import json
from functools import lru_cache

from operators.processes.startup import parent_channel
from operators.store.addresses import store_at
from pipelines import task_modules
from pipelines.catalogue import bind
from pipelines.reparse import counts_of, reparse_slice
from pipelines.reparse_pool import ERRORS
from schemas.spec import TaskSpec
from schemas.task import Task


def main() -> None:
    channel = parent_channel()
    task_modules.look_in_as_told()
    while (order := channel.recv()) is not None:
        head = order.head
        try:
            task = _task(json.dumps(head["task"]))
            done = reparse_slice(store_at(head["output"]), task, head["slice"], head["since"], by_line=head["by_line"])
        except tuple(ERRORS.values()) as error:
            kind = next(name for name, type_ in ERRORS.items() if isinstance(error, type_))
            channel.send({"error": kind, "text": f"{error}"})
        else:
            channel.send({"counts": counts_of(done)})


@lru_cache(maxsize=8)
def _task(spec: str) -> Task:
    return bind(TaskSpec.model_validate_json(spec))


if __name__ == "__main__":
    main()
