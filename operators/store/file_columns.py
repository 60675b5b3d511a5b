"""Our Parquet in a store, opened to read some of it. Of a store that answers over a network the footer is fetched, and
the columns and row groups that are wanted: all of one version of the file, which may be replaced at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow.parquet as pq

from operators.store import sealed
from operators.store.ranges import Range, RangeFile
from operators.store.store import Replaced, Store

END_BYTES = 128 << 10
"""Of a file, fetched first: in most the footer lies there, which lists some thousand chunks."""
_TRIES = 5
"""At a file that is replaced while it is read."""


@dataclass(frozen=True)
class Opened:
    """file: to be closed. groups: the numbers of the row groups that were wanted. footer: what `sealed` was given."""

    file: IO[bytes]
    parquet: pq.ParquetFile
    groups: tuple[int, ...]
    footer: dict[str, Any]

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def opened(store: Store, key: str, columns: Sequence[str] | None = (), first: int | None = None) -> Opened:
    """columns: that will be read; None: all. first: rows; of the row groups behind them nothing will be.

    Raises sealed.Broken, FileNotFoundError; Replaced for one that is replaced again and again; OSError, StoreLost.
    """
    for left in reversed(range(_TRIES)):
        try:
            return _opened(store, key, columns, first)
        except Replaced:
            if not left:
                raise
    raise AssertionError


def footer_of(store: Store, key: str) -> dict[str, Any]:
    """Raises as `opened`."""
    with opened(store, key) as there:
        return there.footer


def _opened(store: Store, key: str, columns: Sequence[str] | None, first: int | None) -> Opened:
    by_ranges = getattr(store, "by_ranges", None)
    file: IO[bytes] = store.open(key) if by_ranges is None else by_ranges(key)
    try:
        if isinstance(file, RangeFile):
            file.want([(file.size_bytes - END_BYTES, file.size_bytes)])
            file.want([(file.size_bytes - sealed.footer_bytes(_last(file)), file.size_bytes)])
        parquet, footer = sealed.opened(file)
        groups = tuple(_groups(parquet.metadata, first))
        if isinstance(file, RangeFile):
            file.want(_ranges(parquet.metadata, groups, columns))
    except BaseException:
        file.close()
        raise
    return Opened(file, parquet, groups, footer)


def _last(file: RangeFile) -> bytes:
    file.seek(max(0, file.size_bytes - sealed.TAIL_BYTES))
    return file.read()


def _groups(metadata: pq.FileMetaData, first: int | None) -> Iterator[int]:
    """Those that hold the first rows; None: all."""
    rows = 0
    for number in range(metadata.num_row_groups):
        if first is not None and rows >= first:
            return
        rows += metadata.row_group(number).num_rows
        yield number


def _ranges(metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str] | None) -> Iterator[Range]:
    for number in groups:
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            chunk = group.column(place)
            path = chunk.path_in_schema
            if columns is None or any(path == name or path.startswith(f"{name}.") for name in columns):
                start = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
                yield start, start + chunk.total_compressed_size
