"""Read a table of inputs (.csv, .tsv, .parquet): where each row's file lies, and the columns that come along. Opens
nothing else.

Columns of a CSV are text, as they are written, but for those that the spec's `types` names; Parquet's keep their types.
What is wrong with one cell is that row's fault; what leaves no rows to speak of is a SpecError that says the line.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet

from operators.media.formats import DOCUMENT, VIDEO
from operators.media.source import check_is_file
from operators.store.inputs.bytes_column import column_of_bytes
from operators.store.inputs.table_cells import open_table, version_of
from pipelines.bytes_tables import BytesTable, read_bytes_table, read_columns, refuse_other_bytes
from pipelines.cell_types import TYPES
from schemas import tables
from schemas.address import name_of, without_query
from schemas.errors import InputError, SpecError

_ARROW = (".arrow", ".feather")
_TOLD = 8
"""Names of columns that a message lists."""
SUFFIXES = (".csv", ".tsv", ".parquet", *_ARROW)
"""Of tables, and of those of Arrow, which are refused."""
URI_COLUMNS = ("uri", "path", "input_uri")
_MEDIA = {"image": "image", "video": VIDEO, "document": DOCUMENT, "pdf": DOCUMENT}
_MOST_TABLE_BYTES = 2 << 30
_LONGEST_CELL = 2 << 20
_LONGEST_LINE = 64 << 20
_BATCH_ROWS = 4096
PREFIX = "sample_"
"""Before a column of a table of bytes or of a shard that would be called like one of the results: who publishes such
data calls a column `text`, and who reads them cannot rename it."""
RESERVED = set(tables.results_schema(pa.null(), []).names) | set(tables.INPUTS.names) | {"task"}
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass
class InputTable:
    """paths: what each row names, as it stands there, with bytes that are no UTF-8 as lone surrogates; empty where the
    cell is; None where the table names no files. columns: the others. faults: row, from 0, -> why it cannot be read.
    left_out: rows without anything in them, at the end.

    has_bytes: of a table of bytes, which rows are files in it; the others are named by their path. media: that these
    are by the name of their column. version: of these. unread: columns of bytes that do not come along."""

    paths: list[str] | None
    columns: pa.Table
    faults: dict[int, InputError] = field(default_factory=dict)
    left_out: int = 0
    has_bytes: list[bool] | None = None
    media: str | None = None
    version: str | None = None
    unread: Sequence[str] = ()

    @property
    def num_rows(self) -> int:
        return self.columns.num_rows if self.paths is None else len(self.paths)


def read_table(
    path: Path, types: Mapping[str, str], *, texts: bool, address: str | None = None, version: str | None = None
) -> InputTable:
    """types: of columns of a CSV, by name. texts: it may do without a column of paths. address, version: of a table
    that was fetched, which its name is of. Raises SpecError."""
    place, shown = address or str(path), without_query(address) if address else str(path)
    try:
        check_is_file(path.stat().st_mode)
        suffix = PurePosixPath(name_of(place)).suffix.lower()
        if suffix in _ARROW:
            raise SpecError("Arrow files are not read: write the table as Parquet")
        if not _is_parquet(path, suffix):
            return _csv(path, suffix, types, texts=texts)
        return _parquet(path, texts=texts, is_called_so=suffix == ".parquet", version=version)
    except SpecError as error:
        raise SpecError(f"inputs: {shown}: {error}") from error
    except (InputError, pa.ArrowException, OSError, ValueError, MemoryError) as error:
        message = " ".join(str(error).split())[:300]
        raise SpecError(f"inputs: {shown}: not a readable table: {message}") from error


def _is_parquet(path: Path, suffix: str) -> bool:
    with path.open("rb") as file:
        return suffix == ".parquet" or file.read(4) == b"PAR1"


# CSV


def _csv(path: Path, suffix: str, types: Mapping[str, str], *, texts: bool) -> InputTable:
    """Raises SpecError, and InputError, OSError or ValueError for what is no table."""
    if path.stat().st_size > _MOST_TABLE_BYTES:
        raise InputError("too_large", f"it has more than {_MOST_TABLE_BYTES >> 20} MB")
    csv.field_size_limit(_LONGEST_CELL)
    with _opened(path) as file:
        delimiter = "\t" if suffix == ".tsv" else _delimiter(file)
        rows = _Rows(file, delimiter)
        place, names = _checked_names([name.strip() for name in rows.header], texts=texts)
        if place is not None and types.get(names[place], "text") != "text":
            raise SpecError(f"types: {names[place]!r} is the column of paths, which are text")
        columns = _Columns(names, place, types)
        blank: list[tuple[list[str], int]] = []
        for cells, line in rows:
            if len(cells) > 1 and not any(cells):
                blank.append((cells, line))  # spreadsheets write such rows at the end, and by the thousand
                continue
            for row in [*blank, (cells, line)]:
                columns.append(*row)
            blank.clear()
        return InputTable(columns.paths if place is not None else None, columns.table(), columns.faults, len(blank))


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """As text; bytes that are no UTF-8 are lone surrogates."""
    with path.open("rb") as file:
        head = file.read(3)
        encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark)), "utf-8")
        file.seek(0)
        errors = "strict" if encoding == "utf-16" else "surrogateescape"
        yield io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")


def _delimiter(file: TextIO) -> str:
    """What parts the names so that one is a column of paths, or else into most; `sep=;` is what Excel takes for a word
    about it. Leaves the file where the names stand."""
    file.seek(0)
    if (stated := re.fullmatch(r"sep=(.)\s*", file.readline(100))) is not None:
        return stated[1]

    def of_paths(delimiter: str) -> tuple[bool, int]:
        file.seek(0)
        try:
            names = [name.strip() for name in _Rows(file, delimiter).header]
        except SpecError:  # quoted otherwise than between such
            return False, 0
        return any(name in URI_COLUMNS for name in names), len(names)

    delimiter = max((",", ";", "\t"), key=of_paths)
    file.seek(0)
    return delimiter


class _Rows:
    """Of a CSV: the first is its header. Raises SpecError with the line for what is no row."""

    def __init__(self, file: TextIO, delimiter: str) -> None:
        self._reader = csv.reader(self._lines(file), delimiter=delimiter, strict=True)
        with self._named():
            self.header: list[str] = next((cells for cells in self._reader if cells), [])
        if not self.header:
            raise InputError("malformed", "it is empty")

    def __iter__(self) -> Iterator[tuple[list[str], int]]:
        """(cells, line)."""
        width = len(self.header)
        with self._named():
            for cells in self._reader:
                if not cells:  # an empty line
                    continue
                if len(cells) < width or any(cells[width:]):
                    raise SpecError(f"line {self._reader.line_num}: {len(cells)} cells, and {width} columns have names")
                yield cells[:width], self._reader.line_num

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except csv.Error as error:
            raise SpecError(f"line {self._reader.line_num}: {error}") from error

    @staticmethod
    def _lines(file: TextIO) -> Iterator[str]:
        while line := file.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise InputError("too_large", f"a line of it has more than {_LONGEST_LINE >> 20} MB")
            yield line


class _Columns:
    """Grows by rows. Text is kept as Arrow, a batch at a time: lists of Python's would take ten times as much."""

    def __init__(self, names: Sequence[str], place: int | None, types: Mapping[str, str]) -> None:
        self.paths: list[str] = []
        self.faults: dict[int, InputError] = {}
        self._place = place
        self._kinds = {
            index: (name, TYPES[types.get(name, "text")])
            for index, name in enumerate(names)
            if name and index != place  # spreadsheets and pandas write columns without a name
        }
        self._batches: list[pa.RecordBatch] = []
        self._cells: dict[int, list[Any]] = {index: [] for index in self._kinds}
        self._rows = 0

    def append(self, cells: list[str], line: int) -> None:
        """Raises SpecError."""
        plain = all(map(str.isascii, cells))
        if self._place is not None:
            self.paths.append(cells[self._place])
        for index, (name, kind) in self._kinds.items():
            if not plain and not _is_utf8(cells[index]):
                raise SpecError(f"line {line}: column {name} holds text that is no UTF-8")
            try:
                value = kind.read(cells[index])
            except ValueError as error:
                value = None
                fault = InputError("malformed", f"line {line} of the table: column {name}: {error}")
                self.faults.setdefault(self._rows, fault)
            self._cells[index].append(value)
        self._rows += 1
        if self._rows % _BATCH_ROWS == 0:
            self._flush()

    def table(self) -> pa.Table:
        self._flush()
        return pa.Table.from_batches(self._batches)

    def _flush(self) -> None:
        fields = [pa.field(name, kind.arrow) for name, kind in self._kinds.values()]
        arrays = [pa.array(cells, kind.type) for cells, kind in zip(self._cells.values(), fields, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)))
        for cells in self._cells.values():
            cells.clear()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Parquet


def _parquet(path: Path, *, texts: bool, is_called_so: bool, version: str | None) -> InputTable:
    with path.open("rb") as file:
        parquet = open_table(file.fileno())
        column = column_of_bytes(parquet.schema_arrow)
        if column is None:
            return _table_of_paths(parquet, texts=texts)
        if not is_called_so:
            raise SpecError(f"column {column.name!r} holds files: a table of bytes must be called .parquet")
        table = read_bytes_table(parquet, file.fileno(), column, _MOST_TABLE_BYTES)
        return _table_of_bytes(table, _MEDIA.get(column.name), version_of(file.fileno(), version))


def _table_of_paths(parquet: pa.parquet.ParquetFile, *, texts: bool) -> InputTable:
    schema = parquet.schema_arrow
    if not texts and not set(URI_COLUMNS) & set(schema.names):
        refuse_other_bytes(schema)
    table = read_columns(parquet, None, _MOST_TABLE_BYTES)
    place, _ = _checked_names(table.schema.names, texts=texts)
    if place is None:
        table.validate(full=True)
        return InputTable(None, table)
    others = table.remove_column(place)
    others.validate(full=True)
    return InputTable(_paths(table.column(place), table.schema.names[place]), others)


def _table_of_bytes(table: BytesTable, media: str | None, version: str) -> InputTable:
    """Paths are those beside the bytes, and where there are none those of a column of paths."""
    columns = table.columns.rename_columns(
        [PREFIX + name if name in RESERVED and name not in URI_COLUMNS else name for name in table.columns.schema.names]
    )
    place, names = _checked_names(columns.schema.names, texts=True)
    columns.validate(full=True)
    sources = [] if table.paths is None else [_paths(table.paths, "path")]
    sources += [] if place is None else [_paths(columns.column(place), names[place])]
    paths = [next(filter(None, row), "") for row in zip(*sources, strict=True)] or [""] * len(table.has_bytes)
    if "input_uri" in names:  # what the results call the address
        columns = columns.drop_columns(["input_uri"])
    return InputTable(paths, columns, has_bytes=table.has_bytes, media=media, version=version, unread=table.unread)


def _paths(column: pa.ChunkedArray, name: str) -> list[str]:
    try:
        if pa.types.is_null(column.type):
            raise SpecError(f"column {name} has empty cells only")
        is_bytes = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
        texts = column if is_bytes else column.cast(pa.string())
        values = texts.cast(pa.binary()).to_pylist()
    except pa.ArrowException as error:
        raise SpecError(f"column {name} holds no paths but {column.type}") from error
    return [os.fsdecode(value or b"") for value in values]


# both


def _checked_names(names: Sequence[str], *, texts: bool) -> tuple[int | None, Sequence[str]]:
    """The place of the column of paths, and the names. Raises SpecError."""
    counts = Counter(name for name in names if name)
    if not all(map(_is_utf8, names)):
        raise SpecError("the name of a column is no UTF-8")
    if repeated := sorted(name for name, count in counts.items() if count > 1):
        raise SpecError(f"two columns are called {repeated[0]!r}")
    column = next((name for name in URI_COLUMNS if name in counts), None)
    if clash := sorted(RESERVED & {name for name in names if name != column}):
        raise SpecError(f"column {clash[0]!r} has the name of a result column; rename it")
    if column is None and not texts:
        there = f"; it has {', '.join(map(repr, names[:_TOLD]))}{', …' if len(names) > _TOLD else ''}" if names else ""
        raise SpecError(f"needs a column of paths named one of {', '.join(URI_COLUMNS)}{there}")
    return (None if column is None else names.index(column)), names
