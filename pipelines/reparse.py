"""Read the raw replies of a finished folder again, with the parsers and checks of today; no engine, no inputs.

A part is followed by a revision of it, and readers see the rows of one or the other. A slice depends on no other:
several processes take them in turn. Knows nothing of engines.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from operators.checks.check_reply import check_reply
from operators.media.opened import view_of
from operators.store.addresses import absolute
from operators.store.chunk_id import ChunkId
from operators.store.part_log import Part, PartLog
from operators.store.store import Store
from operators.store.view import View
from pipelines.catalogue import bind
from pipelines.folder import JobFolder
from pipelines.reparse_pool import COUNTS, in_children
from pipelines.rounds import floors
from schemas import tables
from schemas.spec import JobSpec
from schemas.state import STATES, state_of
from schemas.task import CODE_FAULTS, Task
from schemas.version import VERSION

_log = logging.getLogger(__name__)


@dataclass
class Reparsed:
    """Of one task. changed: rows with another status, result or check. kept: rows that were read line by line, whose
    replies cannot be told apart any more. before, after: rows by their state (schemas/state.py)."""

    task: str
    rows: int = 0
    changed: int = 0
    kept: int = 0
    before: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    after: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))

    def add(self, counts: Mapping[str, Any]) -> None:
        """counts: as counts_of has them."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + counts[name])
        for states, more in ((self.before, counts["before"]), (self.after, counts["after"])):
            for state in STATES:
                states[state] += more[state]


def counts_of(total: Reparsed) -> dict[str, Any]:
    return {name: getattr(total, name) for name in (*COUNTS, "before", "after")}


def _quiet(done: int, total: int) -> None:
    """Shows nothing."""


def reparse(
    store: Store, specs: Mapping[str, JobSpec], workers: int = 1, progress: Callable[[int, int], None] = _quiet
) -> list[Reparsed]:
    """specs: by task, the one that it was defined in. workers: processes; of one, or of a single slice, this one.
    progress: is told of slices. Raises SpecError where a task is gone; JobConflict for a file that is not ours."""
    folder, view = JobFolder(store), View(store)
    since = floors(folder.rounds())
    totals = {name: Reparsed(name) for name in specs}
    orders: list[dict[str, Any]] = []
    tasks: dict[str, Task] = {}
    for name, spec in specs.items():
        task_spec, tasks[name] = next(
            (one, task) for one, task in ((one, bind(one)) for one in spec.tasks) if task.name == name
        )
        split = folder.decoding(name).get("line_reader") is not None
        view.publish_all([name], since)  # a run that was killed may have left slices that nobody sees yet
        same: dict[str, Any] = {"output": absolute(store.address), "task": task_spec.model_dump(mode="json")}
        same |= {"since": since.get(name, 0), "by_line": split and tasks[name].by_line}
        orders += [{**same, "name": name, "slice": slice_} for slice_ in view.slices(name)]
    workers = min(workers, len(orders))
    done = in_children(orders, workers) if workers > 1 else _here(store, tasks, orders)
    with contextlib.closing(done):
        for number, (order, counts) in enumerate(done, start=1):
            totals[order["name"]].add(counts)
            progress(number, len(orders))
    for total in totals.values():
        _log.info("%s", total)
    return list(totals.values())


def _here(
    store: Store, tasks: Mapping[str, Task], orders: Sequence[dict[str, Any]]
) -> Generator[tuple[dict[str, Any], dict[str, Any]]]:
    for order in orders:
        task = tasks[order["name"]]
        yield order, counts_of(reparse_slice(store, task, order["slice"], order["since"], by_line=order["by_line"]))


def reparse_slice(store: Store, task: Task, slice_: int, since: int, *, by_line: bool) -> Reparsed:
    """since: the round before which rows were of another type. by_line: whether it was read line by line. Raises
    JobConflict, OSError, StoreLost."""
    view, log, total = View(store), PartLog(store), Reparsed(task.name)
    for part in view.parts(task.name, slice_):
        if ChunkId.of(part.name.chunk_id).round >= since:
            _reparse(log, part, task, total, by_line=by_line)
    view.publish(task.name, slice_)
    return total


def _reparse(log: PartLog, part: Part, task: Task, total: Reparsed, *, by_line: bool) -> None:
    rows = part.rows.to_pylist()
    total.rows += len(rows)
    changed = 0
    for row in rows:
        total.before[state_of(row)] += 1
        if row["text"] is None or row["status"] not in ("ok", "invalid_output"):
            continue
        if by_line and row["unit_kind"] in ("page", "image"):
            total.kept += 1
            continue
        again = _again(task, row)
        if again["result"] != row["result"] and again["result"] is not None:
            # a struct has every field: a key that may be absent is null there
            again["result"] = pa.array([again["result"]], type=task.output.arrow_type)[0].as_py()
        if again["result"] == row["result"] and row["verified"].get("code_check") is not None:
            again["verified"] = _with_code_check(again["verified"], row["verified"])
        if any(row[key] != value for key, value in again.items()):
            changed += 1
            row |= again | {"version": VERSION}
    for row in rows:
        total.after[state_of(row)] += 1
    total.changed += changed
    schema = tables.results_schema(task.output.arrow_type, tables.passthrough_fields(part.rows.schema))
    if changed or not part.rows.schema.remove_metadata().equals(schema):
        log.revise(part, pa.Table.from_pylist(rows, schema=schema))


def _again(task: Task, row: dict[str, Any]) -> dict[str, Any]:
    view = replace(view_of(row), parameters=json.loads(row["parameters"]) if row["parameters"] else {})
    try:
        parsed = task.parse(row["text"], view)
    except Exception as error:  # noqa: BLE001  the row's boundary: a parser may do anything
        parsed = error
    checked = check_reply(task, view, row["text"], parsed, cut=row["finish_reason"] == "length")
    return {
        "status": "ok" if checked.failure is None else "invalid_output",
        "error": asdict(checked.failure) if checked.failure else None,
        "result": checked.result,
        "verified": checked.verified,
    }


def _with_code_check(verified: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What came of checking the same code still holds; other code is checked again."""
    faults = [fault for fault in before["faults"] if fault in CODE_FAULTS and fault not in verified["faults"]]
    return {
        **verified,
        "ok": verified["ok"] and not faults,
        "faults": [*verified["faults"], *faults],
        "code_check": before["code_check"],
    }
