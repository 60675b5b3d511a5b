"""The rows of a job in its store: parts of tasks, written once, read by everyone. Knows nothing of Ray, models or Arrow
columns beyond those that name a unit.

    results/task=<task>/part-<chunk_id>.parquet

The part in its place is the commit: the first writer wins whatever Ray runs twice, and a late attempt that finds the
part there checks by its footer that it holds the same units.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from operators.store.addresses import store_at
from operators.store.store import Store, overwrite
from schemas import tables
from schemas.address import is_remote
from schemas.errors import JobConflict, SightreadError, StoreLost

READS = 16
"""Parts that are read at once where a store answers over a network."""
FOOTER_KEY = b"sightread"
_KEY = re.compile(r"results/task=([^/]*)/part-([^/]*)\.parquet")
_STANDARD = tables.results_schema(pa.null(), [])


@dataclass(frozen=True)
class Part:
    """As it was read. version: of the file, for `replace_part`."""

    task: str
    chunk_id: str
    rows: pa.Table
    footer: dict[str, Any]
    version: str


class Results:
    @classmethod
    def at(cls, address: str) -> Results:
        """Raises SpecError for a scheme that no store is there for."""
        return cls(store_at(address))

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lost: StoreLost | None = None

    def tasks(self) -> list[str]:
        """Those that have a part."""
        return sorted({task for task, _ in self._parts("results")})

    def parts(self, task: str) -> list[str]:
        """The chunk_id of every part that is committed."""
        return [chunk_id for _, chunk_id in self._parts(f"results/task={task}")]

    @property
    def folder(self) -> str:
        """The address that the folders of all tasks are below."""
        return f"{self._store.address}/results"

    def pattern(self, task: str) -> str:
        """What DuckDB, Polars and Spark read the rows of a task by."""
        return f"{self.folder}/task={task}/*.parquet"

    def write_part(self, task: str, chunk_id: str, rows: pa.Table) -> str:
        """Returns `committed`, or `duplicate` when a part with the same units is already there.

        Raises JobConflict when the part that is there holds other units; OSError when the store says no.
        """
        key, footer = _key(task, chunk_id), _footer(task, chunk_id, rows)
        if self._store.put_if_absent(key, _parquet(rows, footer)):
            return "committed"
        with self._store.open(key) as file:
            _, there = self._opened(key, file)
        if there != footer:
            raise JobConflict(
                f"{self._store.address}/{key} is there and holds other units than this attempt: "
                f"{there} against {footer}"
            )
        return "duplicate"

    def read_part(self, task: str, chunk_id: str, columns: Sequence[str] | None = None) -> Part:
        """With the columns that it was written with. Raises JobConflict when it is not one of ours; OSError."""
        key = _key(task, chunk_id)
        there = self._store.stat(key)
        with self._store.open(key) as file:
            parquet, footer = self._opened(key, file)
            try:
                rows = _read(parquet, columns)
            except (pa.ArrowException, OSError) as error:
                raise self._no_part(key, error) from error
        return Part(task, chunk_id, rows, footer, there.version if there is not None else "")

    def replace_part(self, part: Part, rows: pa.Table) -> None:
        """Swap a part for one with the same units and other answers.

        Raises JobConflict when the units differ, or when someone else has replaced it since it was read.
        """
        key, footer = _key(part.task, part.chunk_id), _footer(part.task, part.chunk_id, rows)
        if part.footer != footer:
            raise JobConflict(
                f"{self._store.address}/{key} holds other units than what would take its place: "
                f"{part.footer} against {footer}"
            )
        if not self._store.replace_if_same(key, _parquet(rows, footer), part.version):
            raise JobConflict(f"{self._store.address}/{key} was replaced by someone else since it was read")

    def put_beside(self, key: str, data: bytes) -> None:
        """A file of the job's store that no row is read from; the last writer wins. Raises OSError."""
        overwrite(self._store, key, data)

    def delete_part(self, task: str, chunk_id: str) -> None:
        """The chunk is open again."""
        self._store.delete(_key(task, chunk_id))

    def rows(self, task: str, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """All rows of a task, part by part as they are asked for; columns that a part lacks are null in it.

        Raises JobConflict where parts disagree about the type of a column, or a file is none of ours.
        """
        chunk_ids = self.parts(task)
        schema = self._schema(task, chunk_ids, columns)

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for file in self._files([_key(task, chunk_id) for chunk_id in chunk_ids]):
                    yield from _with_schema(_read(pq.ParquetFile(file), schema.names), schema).to_batches()
            except StoreLost as error:  # who reads makes an error of its own of it
                self._lost = error
                raise

        return pa.RecordBatchReader.from_batches(schema, batches())

    def query(self, task: str, text: str, columns: Sequence[str], **parameters: Any) -> Iterator[dict[str, Any]]:
        """Rows of a question in SQL about the rows of a task, which it calls `results`."""
        import duckdb  # heavy, and most of what imports this module asks nothing

        with duckdb.connect() as db:
            db.register("results", self.rows(task, columns))
            try:
                answer = db.execute(text, parameters)
                names = [column[0] for column in answer.description or ()]
                while (values := answer.fetchone()) is not None:
                    yield dict(zip(names, values, strict=True))
            except duckdb.Error as error:  # of reading a part, or of one whose columns have other types than ours
                raise self.unreadable(task, error) from error

    def unreadable(self, task: str, error: Exception) -> SightreadError:
        """Of what DuckDB raises when reading the parts did: that the store is lost, or the first sentence; behind it
        comes a traceback."""
        return self._lost or JobConflict(f"{self.folder}: the parts of {task} cannot be read: {_first_line(error)}")

    def _files(self, keys: Sequence[str]) -> Iterator[IO[bytes]]:
        """Each open until the next is asked for. Where a store answers over a network, the next READS are asked for
        meanwhile."""
        if not is_remote(self._store.address):
            for key in keys:
                with self._store.open(key) as file:
                    yield file
            return
        with ThreadPoolExecutor(READS, thread_name_prefix="parts") as executor:
            coming = deque(executor.submit(self._store.open, key) for key in keys[:READS])
            rest = iter(keys[READS:])
            while coming:
                with coming.popleft().result() as file:
                    coming.extend(executor.submit(self._store.open, key) for key in islice(rest, 1))
                    yield file

    def _parts(self, folder: str) -> Iterator[tuple[str, str]]:
        for key in self._store.list(folder):
            if part := _KEY.fullmatch(key):
                yield part[1], part[2]

    def _schema(self, task: str, chunk_ids: Sequence[str], columns: Sequence[str] | None) -> pa.Schema:
        if columns is not None and set(columns) <= set(_STANDARD.names) - {"result"}:
            return pa.schema([_STANDARD.field(name) for name in columns])
        schemas: list[pa.Schema] = []
        for chunk_id in chunk_ids:
            key = _key(task, chunk_id)
            with self._store.open(key) as file:
                schema = self._opened(key, file)[0].schema_arrow.remove_metadata()
            if schema not in schemas:
                schemas.append(schema)
        try:
            unified = pa.unify_schemas(schemas or [_STANDARD], promote_options="permissive")
        except pa.ArrowException as error:
            raise JobConflict(
                f"{self._store.address}: parts of {task} do not fit together ({error}); `sightread reparse` makes them"
            ) from error
        return unified if columns is None else pa.schema([_field(unified, name) for name in columns])

    def _opened(self, key: str, file: Any) -> tuple[pq.ParquetFile, dict[str, Any]]:
        """With the footer that `write_part` left. Raises JobConflict when it is not one of ours."""
        try:
            parquet = pq.ParquetFile(file)
            footer: dict[str, Any] = json.loads((parquet.schema_arrow.metadata or {})[FOOTER_KEY])
        except (KeyError, ValueError, OSError, RecursionError) as error:
            raise self._no_part(key, error) from error
        return parquet, footer

    def _no_part(self, key: str, error: Exception) -> JobConflict:
        return JobConflict(f"{self._store.address}/{key} is not a part that sightread wrote: {error!r}")


def _first_line(error: Exception) -> str:
    return str(error).partition(". Detail:")[0].partition("\n")[0]


def _key(task: str, chunk_id: str) -> str:
    return f"results/task={task}/part-{chunk_id}.parquet"


def _footer(task: str, chunk_id: str, rows: pa.Table) -> dict[str, Any]:
    return {"chunk_id": chunk_id, "task": task, "rows": rows.num_rows, "identity": _identity(rows)}


def _identity(rows: pa.Table) -> str:
    """What attempts at a chunk must agree on: the units they answer; the answers may be sampled."""
    text = "\n".join(
        f"{input_id} {unit} {request}"
        for input_id, unit, request in zip(
            *(rows.column(name).to_pylist() for name in ("input_id", "unit_index", "request_index")),
            strict=True,
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _parquet(rows: pa.Table, footer: dict[str, Any]) -> memoryview:
    sink = pa.BufferOutputStream()
    table = rows.replace_schema_metadata({FOOTER_KEY: json.dumps(footer).encode()})
    pq.write_table(table, sink, compression="zstd")
    return memoryview(sink.getvalue())


def _read(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    """Those of the columns that are there."""
    there = file.schema_arrow.names
    return file.read(columns=there if columns is None else [name for name in columns if name in there])


def _with_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.schema.names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _field(schema: pa.Schema, name: str) -> pa.Field:
    """Of the parts; of a column that they all lack, as it is today."""
    return schema.field(name) if name in schema.names else _STANDARD.field(name)
