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

from schemas import tables
from schemas.errors import JobConflict

LARGE_BYTES = 1 << 30
"""Of rows that are gathered a block at a time: Arrow joins no more than 2 GB of text in one array."""
_BLOCK = 512
"""Rows."""
_ORDER = ("input_uri", "input_id", "unit_index", "request_index")
_Rank = tuple[int, bool, int]


@dataclass(frozen=True)
class Piece:
    """Rows of one result type. rank: of those that count most for the type: generation, whether they are nowhere else,
    revision."""

    rows: pa.Table
    rank: _Rank = (-1, False, 0)

    @classmethod
    def of(cls, rows: pa.Table, revision: int, *, only_here: bool = False) -> Piece:
        generations = rows.column("generation").to_pylist()
        return cls(rows.replace_schema_metadata(None), (max(generations, default=-1), only_here, revision))


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
    newest: dict[str, int] = {}
    for input_id, generation in _generations(former):
        newest[input_id] = max(newest.get(input_id, -1), generation)
    return any(generation < newest.get(input_id, -1) for input_id, generation in _generations(rows))


def _generations(rows: pa.Table) -> Iterator[tuple[str, int]]:
    return zip(rows.column("input_id").to_pylist(), rows.column("generation").to_pylist(), strict=True)


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


def _places(rows: pa.Table) -> list[int]:
    """Of the rows that are shown, in their order."""
    names = ("input_id", "unit_index", "request_index", "generation", "attempt", "status", "chunk_id", "unit_count")
    plain = list(zip(*(rows.column(name).to_pylist() for name in names), strict=True))
    fewest: dict[str, dict[int, int]] = {}  # input -> generation -> its units
    of_unit: dict[tuple[str, int], int] = {}  # unit -> generation
    for input_id, unit, _, generation, *_, unit_count in plain:
        counts = fewest.setdefault(input_id, {})
        counts[generation] = min(counts.get(generation, unit_count), unit_count)
        of_unit[input_id, unit] = max(of_unit.get((input_id, unit), -1), generation)
    best: dict[tuple[str, int, int], tuple[Any, ...]] = {}
    for place, (input_id, unit, request, generation, attempt, status, chunk_id, _) in enumerate(plain):
        if generation < of_unit[input_id, unit]:
            continue
        if any(generation < later and count <= unit for later, count in fewest[input_id].items()):
            continue
        rank = (status == "ok", attempt, chunk_id, place)
        best[input_id, unit, request] = max(best.get((input_id, unit, request), ()), rank)
    places = [rank[-1] for rank in best.values()]
    keys = list(zip(*(rows.column(name).to_pylist() for name in _ORDER), strict=True))
    return sorted(places, key=keys.__getitem__)


def _taken(rows: pa.Table, places: list[int]) -> pa.Table:
    """Those rows, in that order."""
    if rows.nbytes < LARGE_BYTES:
        return rows.take(pa.array(places, pa.int64()))
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
        order = {place: position for position, place in enumerate(p for some in of_batch.values() for p in some)}
        gathered = pa.Table.from_batches(taken, rows.schema)
        blocks.append(gathered.take(pa.array([order[place] for place in block], pa.int64())))
    return pa.concat_tables([rows.slice(0, 0), *blocks])
