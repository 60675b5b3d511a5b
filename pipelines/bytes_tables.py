"""A table with a column of bytes: which rows have some, and the other columns. The bytes are not read here."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from operators.store.inputs.bytes_column import NAMES, SOUND, BytesColumn, holds_bytes
from operators.store.inputs.table_cells import has_bytes, rows_of
from schemas.errors import InputError, SpecError


@dataclass(frozen=True)
class BytesTable:
    """has_bytes: of each row. paths: beside the bytes, in their struct; None where there are none. columns: the others
    that come along, the paths as `<column>_path`. unread: columns of bytes that do not."""

    has_bytes: list[bool]
    paths: pa.ChunkedArray | None
    columns: pa.Table
    unread: list[str]


def read_bytes_table(file: pq.ParquetFile, fd: int, column: BytesColumn, most_bytes: int) -> BytesTable:
    """fd: of the same file. most_bytes: of the other columns. Raises SpecError, InputError and what Arrow does."""
    schema = file.schema_arrow
    counts = rows_of(file.metadata)
    others = [field for field in schema if field.name != column.name]
    names = [field.name for field in others if not holds_bytes(field.type)]
    wanted = [*names, *([column.path_leaf] if column.has_path else [])]
    if not sum(counts):
        return BytesTable([], None, schema.empty_table().select(names), [])
    table = read_columns(file, wanted, most_bytes) if wanted else None
    if table is not None and table.num_rows != sum(counts):
        raise InputError("malformed", f"it has {table.num_rows} rows, and {sum(counts)} by its footer")
    paths = None
    if table is not None and column.has_path:
        paths = pa.chunked_array([chunk.flatten()[0] for chunk in table.column(column.name).chunks]).cast(pa.string())
    columns = table.select(names) if table is not None else pa.table({})
    if paths is not None and paths.null_count < len(paths) and (name := f"{column.name}_path") not in schema.names:
        columns = columns.append_column(name, paths)
    return BytesTable(
        has_bytes=has_bytes(file, column, fd),
        paths=paths,
        columns=columns,
        unread=[field.name for field in others if field.name not in names],
    )


def refuse_other_bytes(schema: pa.Schema) -> None:
    """Of a table without paths and bytes. Raises SpecError where it holds files in a form that is not read."""
    for field in schema:
        if pa.types.is_nested(field.type) and not pa.types.is_struct(field.type) and holds_bytes(field.type):
            raise SpecError(f"column {field.name!r} holds lists of files, and a row is one input: unnest it")
        if field.name == SOUND and holds_bytes(field.type):
            raise SpecError(f"column {field.name!r} holds sound, which is not read")
        if holds_bytes(field.type):
            raise SpecError(f"column {field.name!r} holds bytes: call it one of {', '.join(NAMES)} if they are files")


def read_columns(file: pq.ParquetFile, names: list[str] | None, most_bytes: int) -> pa.Table:
    """names: of columns, or of what is in them; None for all. Few rows at a time: a thousand bytes may unpack to
    anything. Raises InputError."""
    batches, size = [], 0
    for batch in file.iter_batches(batch_size=1024, columns=names):
        size += batch.nbytes
        if size > most_bytes:
            raise InputError("too_large", f"it unpacks to more than {most_bytes >> 20} MB")
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=batches[0].schema if batches else file.schema_arrow)
