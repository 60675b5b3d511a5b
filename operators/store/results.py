"""The rows of a job as they are read: of the files of the view the columns that are wanted, a batch at a time. Knows
nothing of Ray, models or how the files come about (operators/store/view.py).

A file is read in one version, whatever takes its place meanwhile. Memory holds a batch and the packed columns of a row
group; where a store answers over a network, the packed columns that are wanted of a few files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa

from operators.store import sealed
from operators.store.addresses import store_at
from operators.store.file_columns import Opened, opened
from operators.store.shown import with_schema
from operators.store.store import Store
from operators.store.view import RESULTS, View, key_of
from schemas import tables
from schemas.address import is_remote
from schemas.errors import JobConflict, SpecError

READS = 8
"""Files that are asked for ahead where a store answers over a network."""
LARGE_READS = 1
"""The same where a large column is read."""
_LARGE = frozenset(("result", "text", "verified"))
BATCH = 1024
"""Rows of a batch at most."""
_LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",  # a name in it is a column, never one of our variables
    "lock_configuration": "true",
}
_STANDARD = tables.results_schema(pa.null(), [])
_T = TypeVar("_T")


class Results:
    @classmethod
    def at(cls, address: str) -> Results:
        """Raises SpecError for a scheme that no store is there for."""
        return cls(store_at(address))

    def __init__(self, store: Store) -> None:
        self._store = store
        self._view = View(store)

    def tasks(self) -> list[str]:
        """Those that have rows."""
        return self._view.tasks()

    def slices(self, task: str) -> list[int]:
        """Of which there is a file."""
        return self._view.slices(task)

    @property
    def folder(self) -> str:
        """The address that the folders of all tasks are below."""
        return f"{self._store.address}/{RESULTS}"

    def pattern(self, task: str) -> str:
        """What DuckDB, Polars and Spark read the rows of a task by."""
        return f"{self.folder}/task={task}/*.parquet"

    def files(self, task: str) -> list[str]:
        """The keys of its files."""
        return [key_of(task, slice_) for slice_ in self.slices(task)]

    def count(self, task: str) -> int:
        """Rows of a task, by the footers of its files. Raises JobConflict, StoreLost."""
        keys = self.files(task)
        return sum(self._in_order(task, keys, lambda there: int(there.parquet.metadata.num_rows)))

    def batches(
        self, task: str, columns: Sequence[str] | None = None, *, first: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of a task in the order of its files, and in these of the inputs; those of an input lie beside each
        other. Each batch has the types of its file; columns that are asked for by name and that a file lacks are null.

        first: so many rows at most, and no file behind them is looked at. Raises JobConflict for a file that cannot be
        read, StoreLost.
        """
        left = first
        for there in self._files(task, self.files(task), columns, first):
            with there:
                for batch in self._batches(task, there, _wanted(there.parquet.schema_arrow, columns), left):
                    some = batch if left is None else batch.slice(0, left)
                    left = None if left is None else left - some.num_rows
                    yield some
                    if left == 0:
                        return

    def rows(self, task: str, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The same in the types of all files of a task.

        Raises JobConflict where files disagree about the type of a column, or one is none of ours.
        """
        keys = self.files(task)
        schema = self._schema(task, keys, columns)

        def batches() -> Iterator[pa.RecordBatch]:
            for there in self._files(task, keys, columns, None):
                with there:
                    yield from self._batches(task, there, schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def slice(self, task: str, slice_: int, columns: Sequence[str]) -> pa.Table:
        """Columns of one file that all results have; no rows where there is none. Raises JobConflict, StoreLost."""
        schema = _wanted(_STANDARD, columns)
        try:
            there = self._opened(key_of(task, slice_), columns, None)
        except FileNotFoundError:
            return schema.empty_table()
        except OSError as error:
            raise self._unreadable(task, error) from error
        with there:
            return pa.Table.from_batches(self._batches(task, there, schema), schema)

    def where(
        self, task: str, conditions: Sequence[str], columns: Sequence[str], reads: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Some columns of the rows for which conditions in SQL hold, that anybody may have written: on one row, without
        files or other rows. reads: columns that they name; None: any.

        Raises SpecError for a condition that cannot be asked; JobConflict for files that cannot be read, StoreLost.
        """
        import duckdb  # heavy, and most of what imports this module asks nothing

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
            for batch in reader:
                yield from held(pa.Table.from_batches([batch])).to_pylist()

    def _batches(
        self, task: str, there: Opened, schema: pa.Schema, most: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Of one file, a row group at a time. most: rows of a batch. Raises JobConflict."""
        columns = [name for name in schema.names if name in there.parquet.schema_arrow.names]
        try:
            for group in there.groups:
                for batch in there.parquet.iter_batches(min(most or BATCH, BATCH), row_groups=[group], columns=columns):
                    yield from with_schema(pa.Table.from_batches([batch]), schema).to_batches()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable(task, error) from error

    def _unreadable(self, task: str, error: Exception) -> JobConflict:
        return JobConflict(f"{self.folder}: the files of {task} cannot be read: {_first_line(error)}{self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"; `sightread verify {self._store.address} --repair` mends what is broken"

    def _opened(self, key: str, columns: Sequence[str] | None, first: int | None) -> Opened:
        """Raises JobConflict, FileNotFoundError."""
        try:
            return opened(self._store, key, columns, first)
        except sealed.Broken as error:
            raise JobConflict(f"{self._store.address}/{key} is no file of results: {error}{self._remedy}") from error

    def _files(
        self, task: str, keys: Sequence[str], columns: Sequence[str] | None, first: int | None
    ) -> Iterator[Opened]:
        """To be closed by who takes them. Where a store answers over a network, the next ones are asked for meanwhile,
        unless the first may be all that is wanted."""
        ahead = LARGE_READS if columns is None or _LARGE & set(columns) else READS
        try:
            if first is not None or not is_remote(self._store.address):
                for key in keys:
                    there = self._opened(key, columns, first)
                    yield there
                    first = None if first is None else first - there.parquet.metadata.num_rows
                return
            with ThreadPoolExecutor(ahead, thread_name_prefix="parts") as executor:
                coming = deque(executor.submit(self._opened, key, columns, None) for key in keys[:ahead])
                rest = iter(keys[ahead:])
                while coming:
                    there = coming.popleft().result()
                    yield there
                    coming.extend(executor.submit(self._opened, key, columns, None) for key in islice(rest, 1))
        except OSError as error:
            raise self._unreadable(task, error) from error

    def _schema(self, task: str, keys: Sequence[str], columns: Sequence[str] | None) -> pa.Schema:
        if columns is not None and set(columns) <= set(_STANDARD.names) - {"result"}:
            return _wanted(_STANDARD, columns)
        schemas: list[pa.Schema] = []
        for schema in self._in_order(task, keys, lambda there: there.parquet.schema_arrow.remove_metadata()):
            if schema not in schemas:
                schemas.append(schema)
        try:
            return _wanted(pa.unify_schemas(schemas or [_STANDARD], promote_options="permissive"), columns)
        except pa.ArrowException as error:
            raise JobConflict(
                f"{self._store.address}: files of {task} do not fit together ({error}); `sightread reparse` makes them"
            ) from error

    def _in_order(self, task: str, keys: Sequence[str], ask: Callable[[Opened], _T]) -> Iterator[_T]:
        """What is to be known of the footers of files. Raises JobConflict, StoreLost."""

        def asked(key: str) -> _T:
            with self._opened(key, (), None) as there:
                return ask(there)

        try:
            if not is_remote(self._store.address):
                yield from map(asked, keys)
                return
            with ThreadPoolExecutor(READS, thread_name_prefix="footers") as executor:
                yield from executor.map(asked, keys)
        except OSError as error:
            raise self._unreadable(task, error) from error


def _first_line(error: Exception) -> str:
    return str(error).partition(". Detail:")[0].partition("\n")[0]


def _wanted(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """Of a file, or of several; of a column that they lack, as it is today."""
    if columns is None:
        return schema.remove_metadata()
    return pa.schema([schema.field(name) if name in schema.names else _STANDARD.field(name) for name in columns])
