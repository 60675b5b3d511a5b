"""Read the raw replies of a finished folder again, with the parsers and checks of today; no engine, no inputs.

A part is rewritten whole, beside itself, and swapped in by a rename: readers see the old rows or the new ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from operators.checks.check_reply import check_reply
from operators.commit import read_footer, replace_part
from operators.media.opened import view_of
from pipelines.catalogue import bind
from schemas import tables
from schemas.errors import SpecError
from schemas.spec import JobSpec
from schemas.task import CODE_FAULTS, Task
from schemas.version import VERSION


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


def reparse(output: Path, spec: JobSpec) -> list[Reparsed]:
    """spec: the job's own. Raises SpecError where a task is gone; JobConflict for a part that is not ours."""
    split = _is_split(output)
    found = []
    for entry in spec.tasks:
        task = bind(entry)
        total = Reparsed(task.name)
        for part in sorted((output / "results" / f"task={task.name}").glob("part-*.parquet")):
            _part(output, part, task, total, by_line=split and task.by_line)
        found.append(total)
    return found


def _part(output: Path, path: Path, task: Task, total: Reparsed, *, by_line: bool) -> None:
    footer = read_footer(path)
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
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
            again["verified"] = _with_trial(again["verified"], row["verified"])
        if any(row[key] != value for key, value in again.items()):
            changed += 1
            row |= again | {"version": VERSION}
    total.ok_after += sum(row["status"] == "ok" for row in rows)
    total.changed += changed
    schema = tables.results_schema(task.output.arrow_type, tables.passthrough_fields(table.schema))
    if changed or not table.schema.remove_metadata().equals(schema):
        replace_part(output, task.name, footer["chunk_id"], pa.Table.from_pylist(rows, schema=schema))


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


def _with_trial(verified: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What trying the same code out came to holds; another code is due for another trial."""
    found = [fault for fault in before["faults"] if fault in CODE_FAULTS and fault not in verified["faults"]]
    return {
        **verified,
        "ok": verified["ok"] and not found,
        "faults": [*verified["faults"], *found],
        "code_check": before["code_check"],
    }


def _is_split(output: Path) -> bool:
    try:
        identity = json.loads((output / "_job" / "identity.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{output} holds no job: {error}") from error
    return identity["decode"]["line_reader"] is not None
