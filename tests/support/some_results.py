"""Outputs as runs leave them, half-finished and finished, without a run: parts in the log, published as the publisher
would. Three tasks whose results are structs of many shapes, several slices, rounds and attempts, columns that are null
throughout, and one that came along with later inputs alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from operators.store.addresses import store_at
from operators.store.chunk_id import ChunkId
from operators.store.part_log import PartLog
from operators.store.view import View
from schemas import tables

RESULTS = {
    "look": pa.struct([("shows", pa.string()), ("sure", pa.float64()), ("many", pa.bool_())]),
    "find": pa.struct(
        [
            ("boxes", pa.list_(pa.struct([("label", pa.string()), ("bbox", pa.list_(pa.float64()))]))),
            ("words", pa.list_(pa.string())),
            ("total", pa.int64()),
        ]
    ),
    "never": pa.struct([("text", pa.string()), ("lines", pa.list_(pa.string()))]),
}
"""By task; nothing of `never` was answered well, so that its results are null throughout."""
SLICES, CHUNKS, UNITS = 3, 4, 5
"""Of a task, of a slice, of a chunk."""


def half(folder: Path) -> str:
    """The address of an output that a run is at: a slice is not there, others lack chunks, and what was put last is not
    published yet."""
    log, view = _opened(folder)
    for task in RESULTS:
        for slice_ in range(SLICES - 1):
            for chunk in range(CHUNKS - 1 - slice_):
                _put(log, task, ChunkId(slice_, 0, f"{chunk:016x}"))
                if chunk < CHUNKS - 2:
                    view.publish(task, slice_)
    return str(folder)


def finished(folder: Path) -> str:
    """The address of an output after three rounds: the second asked some units of the first anew, the third asked again
    what had failed."""
    log, view = _opened(folder)
    for task in RESULTS:
        for slice_ in range(SLICES):
            for chunk in range(CHUNKS):
                _put(log, task, ChunkId(slice_, 0, f"{chunk:016x}"))
                view.publish(task, slice_)
            _put(log, task, ChunkId(slice_, 1, f"{1:016x}"))
            view.publish(task, slice_)
            _put(log, task, ChunkId(slice_, 2, f"{2:016x}"), attempt=2)
    view.publish_all(RESULTS, {})
    return str(folder)


def grown(folder: Path) -> str:
    """The address of an output whose last slice is of inputs that a further column came along with."""
    log, view = _opened(folder)
    for task in RESULTS:
        for slice_ in range(SLICES):
            for chunk in range(CHUNKS):
                further = [pa.field("aisle", pa.string())] if slice_ == SLICES - 1 else []
                _put(log, task, ChunkId(slice_, int(bool(further)), f"{chunk:016x}"), further=further)
    view.publish_all(RESULTS, {})
    return str(folder)


def _opened(folder: Path) -> tuple[PartLog, View]:
    store = store_at(str(folder))
    return PartLog(store), View(store)


def _put(log: PartLog, task: str, chunk_id: ChunkId, attempt: int = 1, further: Sequence[pa.Field] = ()) -> None:
    """Units of a chunk are those of the input that its hash numbers."""
    passthrough = [pa.field("shelf", pa.string()), pa.field("weight", pa.int64()), pa.field("empty", pa.null())]
    passthrough += further
    schema = tables.results_schema(RESULTS[task], passthrough)
    generation = chunk_id.round if attempt == 1 else 0
    number = chunk_id.slice * 100 + int(chunk_id.units, 16)
    rows = list(_rows(task, schema, chunk_id, number, generation, attempt))
    log.write(task, str(chunk_id), pa.Table.from_pylist(rows, schema=schema))


def _rows(
    task: str, schema: pa.Schema, chunk_id: ChunkId, number: int, generation: int, attempt: int
) -> Iterator[dict[str, Any]]:
    for unit in range(UNITS):
        place = number * UNITS + unit
        is_ok = task != "never" and (attempt > 1 or place % 4 != 3)
        filled = {field.name: _value(field.type, place + 1, field.nullable) for field in schema}
        yield filled | {
            "input_id": f"{number:016x}",
            "input_uri": f"in/{number:04d}.pdf",
            "unit_index": unit,
            "unit_count": UNITS,
            "unit_kind": "page",
            "request_index": 0,
            "status": "ok" if is_ok else "engine_failed",
            "error": None
            if is_ok
            else {"stage": "infer", "kind": "engine_error", "message": "a scripted error", "attempts": 1},
            "result": _value(RESULTS[task], place + 1, True) if is_ok else None,
            "generation": generation,
            "attempt": attempt,
            "chunk_id": str(chunk_id),
        }


def _value(type_: pa.DataType, number: int, nullable: bool) -> Any:
    """Something of this type, different for different numbers; null for one in three where that may be."""
    if pa.types.is_null(type_) or (nullable and number % 3 == 0):
        return None
    if pa.types.is_struct(type_):
        return {field.name: _value(field.type, number + place, True) for place, field in enumerate(type_)}
    if pa.types.is_list(type_):
        return [_value(type_.value_type, number + place, False) for place in range(number % 4)]
    if pa.types.is_boolean(type_):
        return number % 2 == 0
    if pa.types.is_floating(type_):
        return number / 7
    return number if pa.types.is_integer(type_) else f"value {number} – ü\n"
