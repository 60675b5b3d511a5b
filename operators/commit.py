"""Commit what a chunk's engine calls came to: a part for each task, and a receipt of it. Knows nothing of Ray or of
what the rows say; that a part is there once is the doing of operators/store/part_log.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.store.publisher import Publisher
from schemas import tables
from schemas.errors import LEASE_LOST, JobConflict, StoreLost
from schemas.state import states

NOT_ASKED = "unreadable_input"
"""The status of rows that no engine was asked for."""
LONGEST = 300
"""Characters of a message that tell errors apart."""
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|/\S+|\b0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+(?:\.\d+)?")


class Commit:
    """ANSWERED in, RECEIPTS out. output: the address of the job's store. held: whether the run may write still; where
    that is None, it may.

    Total: what cannot be written is a receipt that says so, `refused` where the store said no (a full disk) or
    nothing; the chunk stays open and the same command again does it. May be called by several threads.
    """

    def __init__(self, output: str, held: Callable[[], bool] | None = None) -> None:
        self._publisher = Publisher.at(output)
        self._held = held

    def __call__(self, answered: pa.Table) -> pa.Table:
        began_s, started = time.time(), time.monotonic()
        receipts = [self._commit(row) | {"spent": row["spent"] or []} for row in answered.to_pylist()]
        committed_s = time.monotonic() - started
        self._publisher.publish_due()
        busy_s = time.monotonic() - started
        if receipts:
            publish = {"stage": "publish", "began_s": began_s + committed_s, "busy_s": busy_s - committed_s}
            receipts[-1]["spent"] += [{"stage": "commit", "began_s": began_s, "busy_s": busy_s}, publish]
        return pa.Table.from_pylist(receipts, schema=tables.RECEIPTS)

    def _commit(self, row: dict[str, Any]) -> dict[str, Any]:
        if not row["task"]:
            return {key: row[key] for key in ("chunk_id", "task", "plan")} | {"outcome": "planned"}
        for why, outcome in (("fault", "no_engine"), ("lost", "lost")):
            if row[why] is not None:
                same = {key: row[key] for key in ("chunk_id", "task", "engine", "retries")}
                return same | {"outcome": outcome, "message": row[why]}
        if self._held is not None and not self._held():
            return {key: row[key] for key in ("chunk_id", "task")} | {"outcome": "lost", "message": LEASE_LOST}
        rows = pa.ipc.open_stream(row["rows"]).read_all()
        same = {key: row[key] for key in ("chunk_id", "task", "engine", "lacks", "plan")}
        receipt = {**same, "message": None, **count(rows)}
        try:
            outcome = self._publisher.write(row["task"], row["chunk_id"], rows)
        except (OSError, StoreLost) as error:
            end: dict[str, Any] = {"outcome": "refused", "message": f"{error}"}
        except (JobConflict, pa.ArrowException) as error:
            end = {"outcome": "failed", "message": f"{error}"}
        else:
            end = {"outcome": outcome}
        return {**receipt, **end, "retries": (row["retries"] or []) + self._publisher.retries("commit")}


def error_of(status: str, stage: str, kind: str, message: str, **_: object) -> tuple[str, ...]:
    """What two rows failed with alike: their messages differ in names and numbers at most."""
    return status, stage, kind, _PARTICULAR.sub("…", (message or "")[:LONGEST])


def count(rows: pa.Table) -> dict[str, Any]:
    """The figures of a receipt."""
    failures: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows.select(["status", "error"]).to_pylist():
        if (error := row["error"]) is not None:
            same = {"status": row["status"], **{key: error[key] for key in ("stage", "kind")}}
            same["message"] = (error["message"] or "")[:LONGEST]
            failures.setdefault(error_of(**same), {**same, "rows": 0})["rows"] += 1
    return {
        "rows": rows.num_rows,
        "ok": pc.sum(pc.equal(rows.column("status"), "ok")).as_py() or 0,
        "doubtful": states(rows).to_pylist().count("doubtful"),
        "failures": [failures[error] for error in sorted(failures)],
        "prompt_tokens": pc.sum(rows.column("prompt_tokens")).as_py() or 0,
        "output_tokens": pc.sum(rows.column("output_tokens")).as_py() or 0,
        "infer_s": pc.sum(rows.column("infer_s")).as_py() or 0.0,
    }
