"""Read the raw replies of a finished folder again, with the parsers and checks of today; no engine, no inputs.

A part is replaced whole: readers see the old rows or the new ones. Knows nothing of engines.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from operators.checks.check_reply import check_reply
from operators.media.opened import view_of
from operators.store.results import Part, Results
from operators.store.store import Store
from pipelines.catalogue import bind
from pipelines.folder import JobFolder
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


def reparse(store: Store, spec: JobSpec) -> list[Reparsed]:
    """spec: the job's own. Raises SpecError where a task is gone; JobConflict for a part that is not ours."""
    split = JobFolder(store).decoding().get("line_reader") is not None
    results = Results(store)
    totals = []
    for entry in spec.tasks:
        task = bind(entry)
        total = Reparsed(task.name)
        for chunk_id in results.parts(task.name):
            part = results.read_part(task.name, chunk_id)
            _reparse(results, part, task, total, by_line=split and task.by_line)
        _log.info("%s", total)
        totals.append(total)
    return totals


def _reparse(results: Results, part: Part, task: Task, total: Reparsed, *, by_line: bool) -> None:
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
        results.replace_part(part, pa.Table.from_pylist(rows, schema=schema))


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
