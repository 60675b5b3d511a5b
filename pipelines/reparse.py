"""Read the raw replies of a finished folder again, with the parsers and checks of today; no engine, no inputs.

A part is followed by a revision of it, and readers see the rows of one or the other. Knows nothing of engines.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from operators.checks.check_reply import check_reply
from operators.media.opened import view_of
from operators.store.chunk_id import ChunkId
from operators.store.part_log import Part, PartLog
from operators.store.store import Store
from operators.store.view import View
from pipelines.catalogue import bind
from pipelines.folder import JobFolder
from pipelines.rounds import floors
from schemas import tables
from schemas.spec import JobSpec
from schemas.task import CODE_FAULTS, Task
from schemas.version import VERSION

_log = logging.getLogger(__name__)


@dataclass
class Reparsed:
    """Of one task. changed: rows with another status, result or check. kept: rows that were read line by line, whose
    replies cannot be told apart any more."""

    task: str
    rows: int = 0
    changed: int = 0
    kept: int = 0
    ok_before: int = 0
    ok_after: int = 0


def reparse(store: Store, specs: Mapping[str, JobSpec]) -> list[Reparsed]:
    """specs: by task, the one that it was defined in. Raises SpecError where a task is gone; JobConflict for a file
    that is not ours."""
    folder, view = JobFolder(store), View(store)
    since = floors(folder.rounds())
    totals = []
    for name, spec in specs.items():
        task = next(task for task in map(bind, spec.tasks) if task.name == name)
        split = folder.decoding(name).get("line_reader") is not None
        total = Reparsed(name)
        view.publish_all([name], since)  # a run that was killed may have left slices that nobody sees yet
        for slice_ in view.slices(name):
            for part in view.parts(name, slice_):
                if ChunkId.of(part.name.chunk_id).round >= since.get(name, 0):
                    _reparse(PartLog(store), part, task, total, by_line=split and task.by_line)
            view.publish(name, slice_)
        _log.info("%s", total)
        totals.append(total)
    return totals


def _reparse(log: PartLog, part: Part, task: Task, total: Reparsed, *, by_line: bool) -> None:
    rows = part.rows.to_pylist()
    total.rows += len(rows)
    total.ok_before += sum(row["status"] == "ok" for row in rows)
    changed = 0
    for row in rows:
        if row["text"] is None or row["status"] not in ("ok", "invalid_output"):
            continue
        if by_line and row["unit_kind"] in ("page", "image"):
            total.kept += 1
            continue
        again = _again(task, row)
        if again["result"] == row["result"] and row["verified"].get("code_check") is not None:
            again["verified"] = _with_code_check(again["verified"], row["verified"])
        if any(row[key] != value for key, value in again.items()):
            changed += 1
            row |= again | {"version": VERSION}
    total.ok_after += sum(row["status"] == "ok" for row in rows)
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
