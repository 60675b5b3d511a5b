"""The rows of a job as they are read: files of the view, whole or column by column. Knows nothing of Ray, models or how
the files come about (operators/store/view.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from operators.store import sealed
from operators.store.addresses import store_at
from operators.store.shown import with_schema
from operators.store.store import Store
from operators.store.view import RESULTS, View, key_of
from schemas import tables
from schemas.address import is_remote
from schemas.errors import JobConflict, SightreadError, SpecError, StoreLost

READS = 4
"""Files that are read at once where a store answers over a network."""
_LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",  # a name in it is a column, never one of our variables
    "lock_configuration": "true",
}
_STANDARD = tables.results_schema(pa.null(), [])


class Results:
    @classmethod
    def at(cls, address: str) -> Results:
        """Raises SpecError for a scheme that no store is there for."""
        return cls(store_at(address))

    def __init__(self, store: Store) -> None:
        self._store = store
        self._view = View(store)
        self._lost: StoreLost | None = None

    def tasks(self) -> list[str]:
        """Those that have rows."""
        return self._view.tasks()

    @property
    def folder(self) -> str:
        """The address that the folders of all tasks are below."""
        return f"{self._store.address}/{RESULTS}"

    def pattern(self, task: str) -> str:
        """What DuckDB, Polars and Spark read the rows of a task by."""
        return f"{self.folder}/task={task}/*.parquet"

    def files(self, task: str) -> list[str]:
        """The keys of its files."""
        return [key_of(task, slice_) for slice_ in self._view.slices(task)]

    def rows(self, task: str, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """All rows of a task, file by file as they are asked for; columns that a file lacks are null in it.

        Raises JobConflict where files disagree about the type of a column, or one is none of ours.
        """
        keys = self.files(task)
        schema = self._schema(task, keys, columns)

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for file in self._files(keys):
                    parquet = pq.ParquetFile(file, page_checksum_verification=True)
                    there = [name for name in schema.names if name in parquet.schema_arrow.names]
                    yield from with_schema(parquet.read(columns=there), schema).to_batches()
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

    def where(
        self, task: str, conditions: Sequence[str], columns: Sequence[str], reads: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Some columns of the rows for which conditions in SQL hold, that anybody may have written: on one row, without
        files or other rows. reads: columns that they name; None: any.

        Raises SpecError for a condition that cannot be asked; JobConflict for files that cannot be read, StoreLost.
        """
        import duckdb  # as above

        reader = self.rows(task, reads)
        with duckdb.connect(config=_LOCKED) as db:

            def held(rows: pa.Table) -> pa.Table:
                relation = db.from_arrow(rows)
                try:
                    for condition in conditions:
                        relation = relation.filter(f"(\n{condition}\n)")
                    return relation.project(", ".join(columns)).to_arrow_table()
                except duckdb.Error as error:
                    raise SpecError(f"the condition cannot be asked of rows of {task}: {_first_line(error)}") from error

            held(reader.schema.empty_table())  # it may be wrong where no row is
            try:
                for batch in reader:
                    yield from held(pa.Table.from_batches([batch])).to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise self.unreadable(task, error) from error

    def unreadable(self, task: str, error: Exception) -> SightreadError:
        """Of what DuckDB raises when reading the parts did: that the store is lost, or the first sentence; behind it
        comes a traceback."""
        return self._lost or JobConflict(
            f"{self.folder}: the files of {task} cannot be read: {_first_line(error)}{self._remedy}"
        )

    @property
    def _remedy(self) -> str:
        return f"; `sightread verify {self._store.address} --repair` mends what is broken"

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

    def _schema(self, task: str, keys: Sequence[str], columns: Sequence[str] | None) -> pa.Schema:
        if columns is not None and set(columns) <= set(_STANDARD.names) - {"result"}:
            return pa.schema([_STANDARD.field(name) for name in columns])
        schemas: list[pa.Schema] = []
        for key in keys:
            with self._store.open(key) as file:
                try:
                    schema = sealed.opened(file)[0].schema_arrow.remove_metadata()
                except sealed.Broken as error:
                    raise JobConflict(
                        f"{self._store.address}/{key} is no file of results: {error}{self._remedy}"
                    ) from error
            if schema not in schemas:
                schemas.append(schema)
        try:
            unified = pa.unify_schemas(schemas or [_STANDARD], promote_options="permissive")
        except pa.ArrowException as error:
            raise JobConflict(
                f"{self._store.address}: files of {task} do not fit together ({error}); `sightread reparse` makes them"
            ) from error
        return unified if columns is None else pa.schema([_field(unified, name) for name in columns])


def _first_line(error: Exception) -> str:
    return str(error).partition(". Detail:")[0].partition("\n")[0]


def _field(schema: pa.Schema, name: str) -> pa.Field:
    """Of the files; of a column that they all lack, as it is today."""
    return schema.field(name) if name in schema.names else _STANDARD.field(name)
