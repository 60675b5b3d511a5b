"""How far a row of results can be believed: one of four states, which follow from its status and what its checks noted.
Knows no check and no task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

STATES = {
    "ok": "checked against something that is known, and right",
    "unsure": "answered, and nothing is known that it could be checked by; not counted as doubtful",
    "doubtful": "answered, and a check found a fault",
    "failed": "no answer",
}
"""From the best to the worst."""
CODE_OUTCOMES = ("shown", "read")
"""Outcomes of a code check that say something about the code."""

STATE_SQL = (
    "case when status <> 'ok' then 'failed' when not verified.ok then 'doubtful' when verified.cer is not null "
    "or verified.code_check.outcome in ('shown', 'read') then 'ok' else 'unsure' end"
)
"""The same in SQL, as docs/columns.md has it."""


def state_of(row: Mapping[str, Any]) -> str:
    """Of a row with the columns `status` and `verified`."""
    verified = row["verified"] or {}
    if row["status"] != "ok":
        return "failed"
    if verified.get("ok") is False:
        return "doubtful"
    outcome = (verified.get("code_check") or {}).get("outcome")
    return "ok" if verified.get("cer") is not None or outcome in CODE_OUTCOMES else "unsure"


def states(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """The same of many rows at once."""
    status, verified = (_whole(rows.column(name)) for name in ("status", "verified"))
    outcome = pc.struct_field(verified, ["code_check", "outcome"])
    is_checked = pc.or_(
        pc.is_valid(pc.struct_field(verified, "cer")), pc.is_in(outcome, pa.array(CODE_OUTCOMES, outcome.type))
    )
    cases = {
        "failed": pc.not_equal(status, "ok"),
        "doubtful": pc.invert(pc.struct_field(verified, "ok")).fill_null(False),
        "ok": is_checked,
    }
    conditions = pa.StructArray.from_arrays([*cases.values()], [*cases])
    return pc.case_when(conditions, *(pa.scalar(name) for name in cases), pa.scalar("unsure"))


def faults(rows: pa.Table | pa.RecordBatch) -> dict[str, int]:
    """How many doubtful rows have each fault; a row may have several. rows: with the columns of `states`."""
    verified = _whole(rows.column("verified")).filter(pc.equal(states(rows), "doubtful"))
    counted = pc.value_counts(pc.list_flatten(pc.struct_field(verified, "faults"))).to_pylist()
    return {count["values"]: count["counts"] for count in counted}


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
