"""Decode the planned units of a chunk. Knows no format: a sandboxed decoder does.

Total: every planned unit comes out once, in its place, with its pictures or with the reason why not. Where the store
of inputs is lost, the chunk says so instead: raising would reach the driver as Ray's own error, without ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pyarrow as pa

from operators.media.ahead import Ahead
from operators.media.sandbox import Sandbox, failed
from operators.media.source import retries_of
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import Failure, StoreLost
from schemas.unit import Indexed


class Decode:
    """CHUNKS in, DECODED_CHUNKS out. Owns one decoder child; for one thread at a time."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._sandbox = Sandbox(settings)
        self._ahead = Ahead(settings.fetch)

    def __call__(self, chunks: pa.Table) -> pa.Table:
        decoded, lost, spent = [], list[str | None](), []
        for units in chunks.column("units"):
            began_s, started = time.time(), time.monotonic()
            try:
                decoded.append(self._chunk(units.as_py()))
                lost.append(None)
            except StoreLost as error:
                decoded.append(self._chunk([]))
                lost.append(str(error))
            spent.append([{"stage": "decode", "began_s": began_s, "busy_s": time.monotonic() - started}])
        place = chunks.schema.get_field_index("units")
        column = pa.chunked_array(decoded, type=tables.DECODED_CHUNKS.field("units").type)
        lacks = [sorted(self._sandbox.lacks)] * chunks.num_rows
        if "plan" not in chunks.schema.names:
            chunks = chunks.append_column(tables.PLAN, pa.nulls(chunks.num_rows, tables.PLAN.type))
        chunks = chunks.set_column(place, tables.DECODED_CHUNKS.field("units"), column)
        again = [retries_of("decode")] + [[]] * (chunks.num_rows - 1)
        columns = (tables.LACKS, lacks), (tables.RETRIES, again[: chunks.num_rows]), (tables.SPENT, spent)
        for field, values in (*columns, (tables.LOST, lost)):
            chunks = chunks.append_column(field, [pa.array(values, field.type)])
        return chunks

    def close(self) -> None:
        self._ahead.close()
        self._sandbox.close()

    def _chunk(self, units: list[dict[str, Any]]) -> pa.ListArray:
        """The decoded units as a list array of one row. Pictures stay in Arrow buffers all the way."""
        if not units:
            return pa.array([[]], tables.DECODED_CHUNKS.field("units").type)
        parts = pa.Table.from_batches(list(self._units(units)), schema=tables.DECODED).combine_chunks()
        columns = {name: parts.column(name).chunk(0) for name in parts.schema.names}
        planned = pa.Table.from_pylist(
            [{**unit, "error": None} for unit in units], schema=tables.PLANNED_UNITS
        ).combine_chunks()
        arrays = [
            columns[field.name] if field.name in columns else planned.column(field.name).chunk(0)
            for field in tables.UNITS
        ]
        rows = pa.StructArray.from_arrays(arrays, fields=list(tables.UNITS))
        return pa.ListArray.from_arrays(
            pa.array([0, len(units)], pa.int32()), rows, type=tables.DECODED_CHUNKS.field("units").type
        )

    def _units(self, units: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
        files = [
            (file, list(some))
            for file, some in groupby(
                units, key=lambda unit: (unit["input_uri"], unit["version"], unit["media"], _is_decoded_here(unit))
            )
        ]
        run = self._ahead.of([(address, version) if here else None for (address, version, _, here), _ in files])
        for index, ((address, version, media, here), some) in enumerate(files):
            if not here:
                for unit in some:
                    yield failed(Failure(**unit["error"])) if unit["error"] else _nothing()
            else:
                version = run.version(index)
                yield from self._sandbox.decode(address, media, [Indexed.of(unit) for unit in some], version=version)


def _nothing() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"pictures": [], "decode_s": 0.0}], schema=tables.DECODED)


def _is_decoded_here(unit: dict[str, Any]) -> bool:
    """Not what cannot be read, has no pictures, or is opened whole beside the engine
    (operators/media/full_input.py)."""
    return unit["error"] is None and unit["unit_kind"] in ("page", "image", "clip")
