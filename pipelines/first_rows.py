"""Whether the first rows that an engine was asked for all failed with one error: then the others would too, and nobody
should pay for them. Knows nothing of Ray.

What failed so is not kept: the run takes it out of the results again, and the same command asks again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from operators.commit import NOT_ASKED, error_of
from operators.store.chunk_id import ChunkId
from operators.store.part_log import PartLog, PartName
from operators.store.view import View
from schemas.errors import AllFailed

ENOUGH = 50
"""Rows. Inputs that cannot be read are not among them: nobody was asked about those."""


class FirstRows:
    """Told of the receipts of a run as they come. error: the one error of all rows so far, None from the first row on
    that is ok or failed otherwise. retries: rounds that ask again for rows that failed: that they do so alike says
    nothing of others, and they would be in the way of these ever after."""

    def __init__(self, retries: Iterable[int] = ()) -> None:
        self._retries = frozenset(retries)
        self.error: tuple[str, ...] | None = None
        self._asked = 0
        self._watching = True

    def receipt(self, receipt: dict[str, Any]) -> None:
        """Raises AllFailed once there are enough rows with one error and no others."""
        if self._retries and ChunkId.of(receipt["chunk_id"]).round in self._retries:
            return
        asked = receipt["ok"] + sum(failure["rows"] for failure in _asked(receipt["failures"]))
        if not self._watching or not asked:
            return
        errors = {error_of(**failure) for failure in _asked(receipt["failures"])}
        if self.error is not None:
            errors.add(self.error)
        if receipt["ok"] or len(errors) != 1:
            self.error, self._watching = None, False
            return
        (self.error,) = errors
        self._asked += asked if receipt["outcome"] != "duplicate" else 0  # what Ray did twice counts once
        if self._asked >= ENOUGH:
            failure = next(iter(_asked(receipt["failures"])))
            error = f"{failure['status']}: {failure['kind']}: {failure['message']}"
            raise AllFailed(
                f"all of the first {self._asked} rows that were asked failed with one error ({error}); none of them is "
                "kept, and the same command asks again (to the end with limits.max_failed_fraction: 1)"
            )


def _asked(failures: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [failure for failure in failures if failure["status"] != NOT_ASKED]


def take_out(log: PartLog, view: View, parts: Iterable[tuple[str, str]], error: tuple[str, ...]) -> int:
    """Delete those of the parts (task, chunk_id) in which every row that was asked failed with this error; the others
    stay. Returns how many. Raises JobConflict, OSError."""
    there: dict[str, dict[str, PartName]] = {}
    deleted: dict[tuple[str, int], list[str]] = {}
    for task, chunk_id in parts:
        if task not in there:
            there[task] = log.parts(task)
        if chunk_id not in there[task]:
            continue
        rows = log.read(there[task][chunk_id], columns=("status", "error")).rows.to_pylist()
        asked = [row for row in rows if row["status"] != NOT_ASKED]
        if asked and all(row["error"] and error_of(status=row["status"], **row["error"]) == error for row in asked):
            log.delete(there[task][chunk_id])
            deleted.setdefault((task, ChunkId.of(chunk_id).slice), []).append(chunk_id)
    for (task, slice_), chunk_ids in deleted.items():
        view.rebuild(task, slice_, without=chunk_ids)
    return sum(map(len, deleted.values()))
