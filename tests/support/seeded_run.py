"""A run that is slow at one known place: `python -m tests.support.seeded_run PLACE SPEC`.

decode is slow by its inputs and engine by its recording (the test makes both); the others burn CPU where they are told:
parse for each row, commit before a part is put, driver for each receipt.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from operators.commit import Commit
from pipelines.progress import Progress
from schemas.output import Output
from schemas.task import Task, View

BURNT_S = 0.6
"""So much that what Ray does around a call of any stage, some 40 ms a chunk, is little beside it."""


def burn() -> None:
    """CPU-seconds, however loaded the machine."""
    end_s = time.thread_time() + BURNT_S
    while time.thread_time() < end_s:
        pass


def _parse(text: str, view: View) -> dict[str, Any]:
    burn()
    return {"text": text}


TASK = Task(
    name="slow",
    summary="what is parsed slowly",
    unit_kinds=("image",),
    prompt="Which color is this?",
    output=Output({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}),
    parse=_parse,
)


class SlowCommit(Commit):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        write = self._publisher.write

        def slow_write(task: str, chunk_id: str, rows: pa.Table) -> str:
            burn()
            return write(task, chunk_id, rows)

        self._publisher.write = slow_write  # type: ignore[method-assign]


class SlowDriver(Progress):
    def receipt(self, receipt: dict[str, Any]) -> None:
        burn()


def main(place: str, spec: str) -> None:
    from jobs.load import load
    from pipelines import plan
    from pipelines.job import prepare
    from pipelines.run import run

    if place == "commit":
        plan.Commit = SlowCommit  # type: ignore[misc]
    run(prepare(load(Path(spec))), progress=SlowDriver() if place == "driver" else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
