"""Which of several rows of a unit readers see, and as what table. Pure: the same rows come out whatever the order in
which they are taken in, a few at a time or all at once.

Of several rows of a unit one of the last generation that asked for it is shown (a changed input, a task that was done
anew); of these an answer before a failure; of these the last attempt. Units that a later generation of an input no
longer has are gone with the first row that tells so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas import tables
from schemas.errors import JobConflict

LARGE_BYTES = 1 << 30
"""Of rows that are gathered a block at a time: Arrow joins no more than 2 GB of text in one array."""
_BLOCK = 512
"""Rows."""
_ROW = ["input_id", "unit_index", "request_index"]
_ORDER = ["input_uri", *_ROW]
_Rank = tuple[int, bool, int]


@dataclass(frozen=True)
class Piece:
    """Rows of one result type. rank: of those that count most for the type: generation, whether they are nowhere else,
    revision."""

    rows: pa.Table
    rank: _Rank = (-1, False, 0)

    @classmethod
    def of(cls, rows: pa.Table, revision: int, *, only_here: bool = False) -> Piece:
        return cls(rows.replace_schema_metadata(None), (_generations(rows)[1], only_here, revision))


def shown(pieces: Sequence[Piece]) -> pa.Table:
    """In order of the inputs.

    Rows whose result has another type than those of the last generation are left out: their task is being done anew.
    Raises JobConflict where columns that came along do not fit together.
    """
    some = [piece for piece in pieces if piece.rows.num_rows]
    if not some:
        return pieces[0].rows if pieces else nothing()
    last = _type(max(some, key=lambda piece: (*piece.rank, str(_type(piece)))))
    tables_ = _of_one_schema([piece.rows for piece in some if _type(piece) == last])
    rows = pa.concat_tables(tables_)
    return _taken(rows, _places(rows))


def is_late(former: pa.Table, rows: pa.Table) -> bool:
    """Whether rows are of an earlier generation of an input than some that are shown: of the generations between the
    two nothing may be left there that would speak against them."""
    if _generations(former)[1] <= _generations(rows)[0]:
        return False
    newest: dict[str, int] = {}
    for input_id, generation in _values(former, "input_id", "generation"):
        newest[input_id] = max(newest.get(input_id, -1), generation)
    return any(
        generation < newest.get(input_id, -1) for input_id, generation in _values(rows, "input_id", "generation")
    )


def _generations(rows: pa.Table) -> tuple[int, int]:
    """The first and the last; -1 where there are no rows."""
    if not rows.num_rows:
        return -1, -1
    ends = pc.min_max(rows.column("generation"))
    return ends["min"].as_py(), ends["max"].as_py()


def _values(rows: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Of some columns, row by row; few are Python's at once."""
    for batch in rows.select(names).to_batches(_BLOCK):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def nothing() -> pa.Table:
    # empty_table() makes an array of Python values, for which pyarrow loads pandas (leave_pandas_out.py)
    return pa.Table.from_batches([], tables.results_schema(pa.null(), []))


def with_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Columns that the table lacks are null."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.schema.names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _type(piece: Piece) -> pa.DataType:
    return piece.rows.schema.field("result").type


def _of_one_schema(pieces: Sequence[pa.Table]) -> list[pa.Table]:
    """Columns that some lack are null there; where columns differ at all, those that came along are in order of their
    names, which is one order whoever comes first. Raises JobConflict."""
    schemas = list(dict.fromkeys(piece.schema for piece in pieces))
    if len(schemas) == 1:
        return list(pieces)
    try:
        unified = pa.unify_schemas(schemas, promote_options="permissive")
        fields = {
            field.name: field.with_nullable(any(field.name not in schema.names for schema in schemas) or field.nullable)
            for field in unified
        }
        others = sorted(tables.passthrough_fields(unified), key=lambda field: str(field.name))
        names = [name for name in tables.results_schema(pa.null(), others).names if name in fields]
        schema = pa.schema([fields[name] for name in names])
        return [with_schema(piece, schema) for piece in pieces]
    except pa.ArrowException as error:
        raise JobConflict(f"the rows of two parts do not fit together: {error}") from error


def _places(rows: pa.Table) -> pa.Array:
    """Of the rows that are shown, in their order."""
    first, last = _generations(rows)
    if first == last and rows.select(_ROW).group_by(_ROW, use_threads=False).aggregate([]).num_rows == rows.num_rows:
        chosen = None  # as nearly always
    else:
        chosen = pa.array(_chosen(rows), pa.int64())
    keys = rows.select(_ORDER) if chosen is None else rows.select(_ORDER).take(chosen)
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in _ORDER])
    return order if chosen is None else chosen.take(order)


def _chosen(rows: pa.Table) -> list[int]:
    """Places of the rows that are shown, of those of several generations or attempts."""
    fewest: dict[str, dict[int, int]] = {}  # input -> generation -> its units
    of_unit: dict[tuple[str, int], int] = {}  # unit -> generation
    for input_id, unit, generation, unit_count in _values(rows, "input_id", "unit_index", "generation", "unit_count"):
        counts = fewest.setdefault(input_id, {})
        counts[generation] = min(counts.get(generation, unit_count), unit_count)
        of_unit[input_id, unit] = max(of_unit.get((input_id, unit), -1), generation)
    best: dict[tuple[str, int, int], tuple[Any, ...]] = {}
    ranked = _values(rows, *_ROW, "generation", "attempt", "status", "chunk_id")
    for place, (input_id, unit, request, generation, attempt, status, chunk_id) in enumerate(ranked):
        if generation < of_unit[input_id, unit]:
            continue
        if any(generation < later and count <= unit for later, count in fewest[input_id].items()):
            continue
        rank = (status == "ok", attempt, chunk_id, place)
        best[input_id, unit, request] = max(best.get((input_id, unit, request), ()), rank)
    return [rank[-1] for rank in best.values()]


def _taken(rows: pa.Table, order: pa.Array) -> pa.Table:
    """Those rows, in that order."""
    if rows.nbytes < LARGE_BYTES:
        return rows.take(order)
    places = order.to_pylist()
    batches = rows.to_batches()
    batch_of = [number for number, batch in enumerate(batches) for _ in range(batch.num_rows)]
    starts = [0]
    for batch in batches:
        starts.append(starts[-1] + batch.num_rows)
    blocks = []
    for start in range(0, len(places), _BLOCK):
        block = places[start : start + _BLOCK]
        of_batch: dict[int, list[int]] = {}
        for place in block:
            of_batch.setdefault(batch_of[place], []).append(place)
        taken = [
            batches[number].take(pa.array([place - starts[number] for place in some], pa.int64()))
            for number, some in of_batch.items()
        ]
        now_at = {place: position for position, place in enumerate(p for some in of_batch.values() for p in some)}
        gathered = pa.Table.from_batches(taken, rows.schema)
        blocks.append(gathered.take(pa.array([now_at[place] for place in block], pa.int64())))
    return pa.concat_tables([rows.slice(0, 0), *blocks])
