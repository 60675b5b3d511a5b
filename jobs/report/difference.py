"""Two outputs of the same inputs against each other: which units have other answers, the worst first.

A unit is the same in both by its input_id, unit_index and request_index, so both jobs must have named their inputs
alike. Results of the first output lie in a temporary file meanwhile; memory holds some hundred bytes for each of its
rows, and the units that are shown.
"""

from __future__ import annotations

import heapq
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.report.items import key_of, texts_in
from jobs.report.survey import RowKey
from operators.checks.text_distance import text_distance
from operators.store.results import Results
from schemas.errors import SpecError
from schemas.state import STATES, state_of

_COLUMNS = ("input_id", "unit_index", "request_index", "status", "error", "verified", "result")
_AT_ONCE = 64
_ORDER = tuple(STATES)


@dataclass(frozen=True, order=True)
class Differing:
    """worse: in its state. distance: 0 to 1, of what is said in words, or of the whole results where the words are the
    same; 1 where one has an answer and the other none. states: in the first and the second."""

    worse: bool
    distance: float
    key: RowKey
    states: tuple[str, str] = field(compare=False)


@dataclass
class TaskDifference:
    """Units that both have: same and differ; and those of one alone. better, worse: of all in both, by state. worst:
    the first ones, the worst first."""

    name: str
    same: int = 0
    differ: int = 0
    only_before: int = 0
    only_after: int = 0
    better: int = 0
    worse: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: list[Differing] = field(default_factory=list)


def differences(before: Results, after: Results, *, tasks: Sequence[str], most: int) -> Iterator[TaskDifference]:
    """Of each task that both have, or of these. most: units of a task that are listed.

    Raises SpecError where they have no task in common or lack one of these; JobConflict, StoreLost.
    """
    there, others = (set(results.tasks()) for results in (before, after))
    if missing := sorted({*tasks} - (there & others)):
        raise SpecError(f"both outputs must have results of {missing[0]}")
    common = sorted(there & others & set(tasks or there))
    if not common:
        raise SpecError(f"{before.folder} and {after.folder} have no task in common")
    for task in common:
        yield _difference(before, after, task, most)


def _difference(before: Results, after: Results, task: str, most: int) -> TaskDifference:
    counts = TaskDifference(task)
    worst: list[Differing] = []  # a heap, the least first
    with tempfile.TemporaryFile(prefix="sightread-") as file:
        places: dict[RowKey, tuple[int, int, int]] = {}
        for row in _rows(before, task):
            answer = _answer(row)
            places[key_of(row)] = file.tell(), file.write(answer), _ORDER.index(state_of(row))
        for row in _rows(after, task):
            key, state = key_of(row), state_of(row)
            if (place := places.pop(key, None)) is None:
                counts.only_after += 1
                continue
            start, length, state_before = place
            file.seek(start)
            states = _ORDER[state_before], state
            is_worse = _ORDER.index(state) > state_before
            counts.worse += is_worse
            counts.better += _ORDER.index(state) < state_before
            if states[0] != states[1]:
                counts.changes[states] += 1
            distance = _distance(file.read(length), _answer(row), states)
            if not distance:
                counts.same += 1
                continue
            counts.differ += 1
            heapq.heappush(worst, Differing(is_worse, distance, key, states))
            if len(worst) > most:
                heapq.heappop(worst)
        counts.only_before = len(places)
    counts.worst = sorted(worst, reverse=True)
    return counts


def _rows(results: Results, task: str) -> Iterator[dict[str, Any]]:
    for batch in results.batches(task, _COLUMNS):
        for start in range(0, batch.num_rows, _AT_ONCE):
            yield from batch.slice(start, _AT_ONCE).to_pylist()


def _answer(row: dict[str, Any]) -> bytes:
    """Its result, or why there is none."""
    value = row["result"] if row["status"] == "ok" else {"error": (row["error"] or {}).get("kind")}
    return json.dumps(value, ensure_ascii=False, default=str, sort_keys=True).encode("utf-8", "replace")


def _distance(before: bytes, after: bytes, states: tuple[str, str]) -> float:
    if before == after:
        return 0.0
    if "failed" in states:
        return 1.0
    words = ["\n".join(texts_in(json.loads(answer))) for answer in (before, after)]
    if words[0] != words[1]:
        return text_distance(*words)
    return text_distance(before.decode(), after.decode())
