"""Check the code that committed rows hold by running or reading it, and write the outcome into `verified`. Knows
nothing of Ray or engines.

A check takes seconds, and no engine should wait for one: so it is made over parts that are in their place, and a
revision of the part takes its place (operators/store/part_log.py). A part that was checked is not pending again; what a
kill interrupts is a part that is still pending. What was seen lies beside the rows as PNG:

    <output>/screenshots/task=<task>/<input_id>-<unit_index>-<request_index>.png
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from operators.code_check.row_check import RowCheck, is_pending
from operators.store.part_log import PartLog
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import LEASE_LOST, JobConflict, StoreLost
from schemas.task import Task


class CodeCheck:
    """CODE_UNCHECKED in, CODE_CHECKED out. output: the address of the job's store. tasks: of the job, those with a
    code_check. decode: how its inputs are opened. held: whether the run has its lease, without
    which nothing is written.

    Total: what cannot be read or written leaves the part as it is, and its row says why.
    """

    def __init__(
        self, output: str, tasks: tuple[Task, ...], decode: DecodeSettings, held: Callable[[], bool] | None = None
    ) -> None:
        self._held = held
        self._log = PartLog.at(output)
        self._tasks = {task.name: task for task in tasks}
        self._row_check = RowCheck(decode, self._log.put_beside)

    def __call__(self, parts: pa.Table) -> pa.Table:
        checked = []
        for part in parts.to_pylist():
            try:
                outcomes = self._check_part(self._tasks[part["task"]], part["chunk_id"])
                checked.append(
                    {**part, "rows": len(outcomes), "outcomes": outcomes, "message": None, "lacks": self._lacks()}
                )
            except (OSError, StoreLost, JobConflict, pa.ArrowException) as error:
                checked.append(
                    {
                        **part,
                        "rows": 0,
                        "outcomes": [],
                        "message": f"{error}",
                        "refused": isinstance(error, OSError),
                        "lacks": self._lacks(),
                        "lost": str(error) if isinstance(error, StoreLost) else None,
                    }
                )
        return pa.Table.from_pylist(checked, schema=tables.CODE_CHECKED)

    def close(self) -> None:
        self._row_check.close()

    def _lacks(self) -> list[str]:
        return sorted(self._row_check.lacks)

    def _check_part(self, task: Task, chunk_id: str) -> list[str]:
        """The outcome of every check that was made."""
        part = self._log.read(self._log.last(task.name, chunk_id))
        rows = part.rows.to_pylist()
        outcomes = []
        for row in filter(is_pending, rows):
            self._go_on()
            outcomes.append(self._row_check(task, row))
        if outcomes:
            self._go_on()
            schema = tables.results_schema(task.output.arrow_type, tables.passthrough_fields(part.rows.schema))
            self._log.revise(part, pa.Table.from_pylist(rows, schema=schema))
        return outcomes

    def _go_on(self) -> None:
        """Raises StoreLost where another process has the output."""
        if self._held is not None and not self._held():
            raise StoreLost(LEASE_LOST)


def pending_code_checks(log: PartLog, tasks: tuple[Task, ...]) -> Iterator[dict[str, str]]:
    """Rows of CODE_UNCHECKED: the committed parts with rows whose code is to be checked."""
    for task in tasks:
        if task.code_check is not None:
            for chunk_id, name in log.parts(task.name).items():
                part = log.read(name, columns=("status", "verified"))
                if any(map(is_pending, part.rows.to_pylist())):
                    yield {"chunk_id": chunk_id, "task": task.name}
