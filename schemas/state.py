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

STATE_SQL = (
    "case when status <> 'ok' then 'failed' when not verified.ok then 'doubtful' when verified.cer is not null "
    "or verified.code_check.missing_words is not null then 'ok' else 'unsure' end"
)
"""The same in SQL, as docs/columns.md has it."""


def state_of(row: Mapping[str, Any]) -> str:
    """Of a row with the columns `status` and `verified`."""
    verified = row["verified"] or {}
    if row["status"] != "ok":
        return "failed"
    if verified.get("ok") is False:
        return "doubtful"
    code_check = verified.get("code_check") or {}
    return "ok" if verified.get("cer") is not None or code_check.get("missing_words") is not None else "unsure"


def states(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """The same of many rows at once."""
    status, verified = (_whole(rows.column(name)) for name in ("status", "verified"))
    is_checked = pc.is_valid(pc.struct_field(verified, "cer"))
    code_check = verified.type.field("code_check").type
    # parts of older versions have no such field
    if pa.types.is_struct(code_check) and code_check.get_field_index("missing_words") >= 0:
        is_checked = pc.or_(is_checked, pc.is_valid(pc.struct_field(verified, ["code_check", "missing_words"])))
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
