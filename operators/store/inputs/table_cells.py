"""Cells of bytes in a Parquet table: an input in a row, as a file that holds nothing else.

A row group is read from its beginning, one column of it, a value at a time: what lies in memory is a page of it and
the value. Rows that are asked for nearly in order cost one pass; a process keeps a few row groups half read for that.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import itertools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from operators.store.inputs.bytes_column import BytesColumn, column_of_bytes
from operators.store.inputs.cache import node_cache
from operators.store.inputs.cell_address import MARK
from operators.store.inputs.parquet_footer import Chunk, chunks_of, pages_of
from schemas.address import inner_of, is_remote
from schemas.errors import InputError, SpecError

_BY_FOOTER = "footer "
LARGE_BYTES = 1 << 20
"""A cell from this size on goes into the cache of the node: a document or video is asked for again and again."""
MOST_ROWS = 20_000_000
_MOST_FOOTER_BYTES = 256 << 20
_TABLES = 8
_IDLE_BYTES = 256 << 20
"""What the row groups that are half read may take together, besides those that are being read."""
BLOWN_UP_BYTES, BLOWN_UP = 256 << 20, 100
"""A page larger than that, and so many times larger than it is in the file, is no picture, document or video."""
_PASSED = 64
_PASSED_BYTES = 32 << 20
"""Of a row group: cells that were read, for threads that ask almost in order."""
_BUFFER_BYTES = 1 << 20

Opener = Callable[[str, str | None], tuple[int, str | None]]
"""(address, version that it must have) of a whole file -> a descriptor to be closed, and its version."""


def version_of(fd: int, version: str | None) -> str:
    """Of the cells of a table. version: of the table where it lies elsewhere; where there is none, as of one of this
    machine, it is what its footer holds, which is the same in a copy. Raises InputError."""
    return MARK + (version or _BY_FOOTER + hashlib.sha256(_footer(fd)).hexdigest()[:32])


def opened_cell(address: str, version: str | None, opener: Opener) -> tuple[int, str]:
    """A descriptor to read, and the version. Raises InputError, StoreLost."""
    table_address, row = inner_of(address)
    assert row is not None
    table = _tables.get(table_address, version, opener)
    name = f"{address}\n{table.version}"
    cache = node_cache()
    if (fd := cache.opened(name)) is None:
        cell = table.cell(row)
        small = len(cell) < LARGE_BYTES
        fd = cache.copied((cell,)) if small else cache.fetched(name, lambda: _in_pieces(cell), len(cell))
    return fd, table.version


def open_table(fd: int, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """It opens the file anew: `fd` may be closed. Raises InputError."""
    with _readable():
        _footer(fd)
        return pq.ParquetFile(
            pa.OSFile(f"/proc/self/fd/{fd}"),  # no map: who cuts the file would end this process
            metadata=metadata,
            buffer_size=_BUFFER_BYTES,  # else all of a column chunk is read at once
            pre_buffer=False,
            page_checksum_verification=True,
        )


def values(table: pq.ParquetFile, group: int, column: BytesColumn) -> Iterator[pa.Scalar]:
    """Of the rows of a row group; a null where there are no bytes. Raises InputError."""
    with _readable():
        batches = table.iter_batches(batch_size=1, row_groups=[group], columns=[column.leaf], use_threads=False)
        for batch in batches:
            value = batch.column(column.name)[0]
            if column.in_struct and value.is_valid:
                value = value["bytes"]
            yield value.value if isinstance(value, pa.DictionaryScalar) and value.is_valid else value


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except SpecError as error:  # of a table that was listed as another
        raise InputError("malformed", str(error)) from error
    except MemoryError as error:
        raise InputError("too_large", f"the table has a page that memory does not hold: {_words(error)}") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if "encrypt" in str(error):
            raise InputError("encrypted", "the table is encrypted") from error
        raise InputError("malformed", f"the table cannot be read: {_words(error)}") from error


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _footer(fd: int) -> bytes:
    """Raises InputError."""
    size = os.fstat(fd).st_size
    head, tail = os.pread(fd, 6, 0), os.pread(fd, 8, max(0, size - 8))
    if b"PARE" in (head[:4], tail[4:]):
        raise InputError("encrypted", "the table is encrypted")
    if head in (b"ARROW1", b"FEA1"):
        raise InputError("malformed", "it is an Arrow file, which is not read: write it as Parquet")
    length = int.from_bytes(tail[:4], "little")
    if size < 12 or head[:4] != b"PAR1" or tail[4:] != b"PAR1" or length > size - 12:
        raise InputError("malformed", "it is no Parquet file, or its end is missing")
    if length > _MOST_FOOTER_BYTES:
        raise InputError("too_large", f"its footer has more than {_MOST_FOOTER_BYTES >> 20} MB")
    return os.pread(fd, length + 8, size - 8 - length)


def _in_pieces(data: memoryview) -> Iterator[bytes]:
    for start in range(0, len(data), _BUFFER_BYTES):
        yield bytes(data[start : start + _BUFFER_BYTES])


class _Group:
    """A row group that is read from its beginning on."""

    def __init__(self, table: _Table, number: int, first_row: int, rows: int) -> None:
        self._table = table
        self._number = number
        self._first_row, self._rows = first_row, rows
        self._lock = threading.Lock()
        self._passed: OrderedDict[int, memoryview | None] = OrderedDict()
        self._fault: InputError | None = None
        self._begin()

    def cell(self, row: int) -> memoryview | None:
        """None where it is null. row: of the table. Raises InputError."""
        with self._lock:
            if row < self._next_row and row not in self._passed:
                self._begin()
            while row >= self._next_row:
                if self._fault is not None:
                    raise self._fault
                self._read_on()
            cell = self._passed[row]
            if cell is not None and len(cell) >= LARGE_BYTES:
                self._forget(row)
            return cell

    @property
    def held_bytes(self) -> int:
        """What is in memory of it, about: a page, packed, unpacked and decoded."""
        return self._passed_bytes + (0 if self._values is None else self._page_bytes)

    def _begin(self) -> None:
        self._page_bytes = 3 * _check_pages(self._table.fd, self._table.chunks[self._number])
        self._passed.clear()
        self._passed_bytes = 0
        self._next_row, self._fault = self._first_row, None
        self._values: Iterator[pa.Scalar] | None = values(
            open_table(self._table.fd, self._table.metadata), self._number, self._table.column
        )

    def _read_on(self) -> None:
        assert self._values is not None
        try:
            value = next(self._values)
        except StopIteration:
            self._end(InputError("malformed", "the table has fewer rows than its footer says"))
            return
        except InputError as error:  # what is behind a damaged page may stand in another row's place
            self._end(error)
            return
        cell = memoryview(value.as_buffer()) if value.is_valid else None
        while self._passed and (len(self._passed) >= _PASSED or self._passed_bytes + len(cell or b"") > _PASSED_BYTES):
            self._forget(next(iter(self._passed)))
        self._passed[self._next_row] = cell
        self._passed_bytes += len(cell or b"")
        self._next_row += 1
        if self._next_row == self._first_row + self._rows:
            self._end(None)

    def _forget(self, row: int) -> None:
        self._passed_bytes -= len(self._passed.pop(row) or b"")

    def _end(self, fault: InputError | None) -> None:
        self._values, self._fault = None, fault


class _Table:
    """One that is kept open. fd: its own."""

    def __init__(self, fd: int, address: str, version: str) -> None:
        """Raises InputError."""
        self.fd = fd
        weakref.finalize(self, os.close, fd)
        self.address, self.version = address, version
        self._state = os.fstat(fd)
        file = open_table(fd)
        self.metadata = file.metadata
        with _readable():
            column = column_of_bytes(file.schema_arrow)
        if column is None:
            raise InputError("not_found", "its table has no column of bytes")
        self.column = column
        self.chunks = _chunks(fd, self.metadata, column)
        self._ends = list(itertools.accumulate(rows_of(self.metadata)))

    def cell(self, text: str) -> memoryview:
        """text: the number of its row. Raises InputError."""
        row = int(text) if len(text) < 19 else 1 << 62
        if not self._ends or row >= self._ends[-1]:
            raise InputError("not_found", "its table has no such row")
        group = bisect.bisect_right(self._ends, row)
        first_row = self._ends[group - 1] if group else 0
        half_read = _groups.get(self, group, first_row, self._ends[group] - first_row)
        try:
            cell = half_read.cell(row)
        finally:
            _groups.put(self, group, half_read)
        if cell is None:
            raise InputError("not_found", "its row of the input table has neither bytes nor a path")
        return cell

    def is_as_it_was(self) -> bool:
        """Of this machine: whether nobody wrote into it since. Elsewhere: it is of use still, to the cache."""
        if is_remote(self.address):
            with contextlib.suppress(OSError):
                os.utime(self.fd)
            return True
        now = os.fstat(self.fd)
        return (now.st_size, now.st_mtime_ns) == (self._state.st_size, self._state.st_mtime_ns)


def rows_of(metadata: pq.FileMetaData) -> list[int]:
    """Of its row groups. Raises InputError for numbers that none has."""
    with _readable():
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if any(count < 0 for count in counts) or sum(counts) != metadata.num_rows:
        raise InputError("malformed", "the footer of the table is damaged")
    if metadata.num_rows > MOST_ROWS:
        raise InputError("too_large", f"it has {metadata.num_rows} rows; {MOST_ROWS} inputs in a table are listed")
    return counts


def has_bytes(table: pq.ParquetFile, column: BytesColumn, fd: int) -> list[bool]:
    """Of its rows, by what its footer says of nulls; by the values only in row groups where some are. Raises
    InputError."""
    stored = list[bool]()
    chunks = _chunks(fd, table.metadata, column)
    for group, (rows, chunk) in enumerate(zip(rows_of(table.metadata), chunks, strict=True)):
        is_alike = chunk.nulls in (0, rows)
        stored += [chunk.nulls == 0] * rows if is_alike else _has_bytes(table, group, rows, column, fd, chunk)
    return stored


def _has_bytes(table: pq.ParquetFile, group: int, rows: int, column: BytesColumn, fd: int, chunk: Chunk) -> list[bool]:
    stored = list[bool]()
    with contextlib.suppress(InputError):  # who reads the row will tell
        _check_pages(fd, chunk)
        stored += (value.is_valid for value in values(table, group, column))
    return (stored + [True] * rows)[:rows]


def _chunks(fd: int, metadata: pq.FileMetaData, column: BytesColumn) -> list[Chunk]:
    """Raises InputError."""
    with _readable():
        chunks = chunks_of(_footer(fd), column.leaf)
        if len(chunks) != metadata.num_row_groups:
            raise ValueError("its footer is damaged")
    return chunks


def _check_pages(fd: int, chunk: Chunk) -> int:
    """Bytes of its largest page when it is unpacked. Raises InputError for one that a few bytes blow up."""
    largest = 0
    with _readable():
        for packed, unpacked in pages_of(fd, chunk):
            if unpacked > BLOWN_UP_BYTES and unpacked > BLOWN_UP * packed:
                sizes = f"{packed >> 10} KB to {unpacked >> 20} MB"
                raise InputError("too_large", f"a page of its table unpacks from {sizes}")
            largest = max(largest, unpacked)
    return largest


class _Tables:
    """Those that this process has open, the last ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, str], _Table] = OrderedDict()

    def get(self, address: str, version: str | None, opener: Opener) -> _Table:
        """version: of the cell. Raises InputError: changed, and what the opener raises."""
        if version is not None and (table := self._kept(address, version)) is not None:
            return table
        of_file = version.removeprefix(MARK) if version is not None else None
        if of_file is not None and of_file.startswith(_BY_FOOTER):
            of_file = None
        fd, of_file = opener(address, of_file)
        try:
            there = version_of(fd, of_file)
            if version not in (None, there):
                raise InputError("changed", "its table was changed after it was listed")
            table = self._kept(address, there) or _Table(os.dup(fd), address, there)
        finally:
            os.close(fd)
        with self._lock:
            self._open[address, there] = table
            while len(self._open) > _TABLES:
                self._open.popitem(last=False)
        return table

    def _kept(self, address: str, version: str) -> _Table | None:
        with self._lock:
            table = self._open.pop((address, version), None)
            if table is None or not table.is_as_it_was():
                return None
            self._open[address, version] = table
            return table


class _Groups:
    """Row groups that are half read. One of them serves all threads that read it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], tuple[_Group, _Table, int]] = OrderedDict()

    def get(self, table: _Table, number: int, first_row: int, rows: int) -> _Group:
        """Raises InputError."""
        with self._lock:
            group, _, users = self._kept.pop((id(table), number), (None, table, 0))
            if group is None:
                group = _Group(table, number, first_row, rows)
            self._kept[id(table), number] = group, table, users + 1
            return group

    def put(self, table: _Table, number: int, group: _Group) -> None:
        """It is not read for the moment."""
        with self._lock:
            _, _, users = self._kept[id(table), number]
            self._kept[id(table), number] = group, table, users - 1
            held = sum(group.held_bytes for group, _, _ in self._kept.values())
            for place, (group, _, users) in list(self._kept.items())[:-1]:
                if users == 0 and (held > _IDLE_BYTES or len(self._kept) > _TABLES):
                    held -= group.held_bytes
                    del self._kept[place]


_tables = _Tables()
_groups = _Groups()
