"""One look at all rows of a task: figures over all of them, and which of them a report shows. What it holds does not
grow with the rows."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.store.results import Results
from schemas.state import states

RowKey: TypeAlias = "tuple[str, int, int]"
"""input_id, unit_index, request_index."""

_COLUMNS = (
    *("input_id", "unit_index", "request_index", "status", "error", "verified"),
    *("prompt_tokens", "output_tokens", "reasoning_tokens", "decode_s", "infer_s"),
)
_SUMS = ("prompt_tokens", "output_tokens", "reasoning_tokens", "decode_s", "infer_s")
TROUBLED = ("doubtful", "failed")


def _steps(least: float, most: float) -> tuple[float, ...]:
    """1, 2, 5, 10 and so on."""
    steps, scale = [0.0], least
    while scale <= most:
        steps += [round(scale * part, 9) for part in (1, 2, 5) if scale * part <= most]
        scale *= 10
    return tuple(steps)


HISTOGRAMS = {
    "cer": _steps(0.001, 1),
    "output_tokens": _steps(1, 100_000),
    "prompt_tokens": _steps(1, 1_000_000),
    "infer_s": _steps(0.001, 10_000),
    "decode_s": _steps(0.001, 1_000),
}
"""What is counted, and the upper bounds of its bins; one more is for what is larger. The first is for zero alone."""


@dataclass
class Survey:
    """totals: sums of columns over all rows. counts: by name of HISTOGRAMS, rows in each bin. messages: of the first
    failure of each kind. sample: the rows that are shown."""

    rows: int = 0
    totals: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0))
    counts: dict[str, npt.NDArray[np.int64]] = field(
        default_factory=lambda: {name: np.zeros(len(bounds) + 1, np.int64) for name, bounds in HISTOGRAMS.items()}
    )
    messages: dict[str, str] = field(default_factory=dict)
    sample: set[RowKey] = field(default_factory=set)

    def histograms(self) -> list[dict[str, Any]]:
        """Those that count something, without the empty bins at both ends. bounds: upper ones of the bins, None for the
        last one, which has none."""
        shown = []
        for name, counts in self.counts.items():
            (places,) = counts.nonzero()
            if len(places):
                first, last = int(places[0]), int(places[-1]) + 1
                bounds = [*HISTOGRAMS[name], None][first:last]
                shown.append({"name": name, "bounds": bounds, "counts": counts[first:last].tolist()})
        return shown


def survey(results: Results, task: str, *, most: int, seed: int) -> Survey:
    """most: rows that are shown. Rows in doubt and failed ones take half of these, or what the others leave; of each
    sort a sample that follows from the seed, the same units of all tasks. Raises JobConflict, StoreLost."""
    surveyed = Survey()
    chosen = {True: _Sample(most), False: _Sample(most)}
    for batch in results.batches(task, _COLUMNS):
        surveyed.rows += batch.num_rows
        for name in _SUMS:
            surveyed.totals[name] += pc.sum(batch.column(name)).as_py() or 0
        for name in HISTOGRAMS:
            column = pc.struct_field(batch.column("verified"), "cer") if name == "cer" else batch.column(name)
            _count(surveyed.counts[name], HISTOGRAMS[name], column)
        row_states = states(batch)
        for kind, message in _failures(batch):
            surveyed.messages.setdefault(kind, message)
        identity = zip(
            *(batch.column(name).to_pylist() for name in ("input_id", "unit_index", "request_index")), strict=True
        )
        for key, is_troubled in zip(identity, pc.is_in(row_states, pa.array(TROUBLED)).to_pylist(), strict=True):
            chosen[is_troubled].offer(key, seed)
    troubled, others = (chosen[kind].keys() for kind in (True, False))
    few = troubled[: max(most // 2, most - len(others))]
    surveyed.sample = {*few, *others[: most - len(few)]}
    return surveyed


class _Sample:
    """The rows whose hash is least."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[int, RowKey]] = []  # a heap, the largest hash first

    def offer(self, key: RowKey, seed: int) -> None:
        digest = hashlib.blake2b(f"{seed} {key[0]} {key[1]} {key[2]}".encode(), digest_size=8).digest()
        entry = -int.from_bytes(digest, "big"), key
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, entry)
        elif entry > self._kept[0]:
            heapq.heapreplace(self._kept, entry)

    def keys(self) -> list[RowKey]:
        return [key for _, key in sorted(self._kept, reverse=True)]


def _count(counts: npt.NDArray[np.int64], bounds: tuple[float, ...], column: pa.Array) -> None:
    values = column.drop_null().to_numpy(zero_copy_only=False)
    if len(values):
        counts += np.bincount(np.searchsorted(bounds, values), minlength=len(counts))


def _failures(batch: pa.RecordBatch) -> Iterator[tuple[str, str]]:
    error = batch.column("error").filter(pc.not_equal(batch.column("status"), "ok"))
    if len(error):
        kinds, messages = (pc.struct_field(error, name).to_pylist() for name in ("kind", "message"))
        for kind, message in zip(kinds, messages, strict=True):
            yield kind or "unknown", message or ""
