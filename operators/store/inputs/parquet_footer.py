"""Where the values of a column lie in a Parquet file, how many are null, and what its pages unpack to, read here:
pyarrow's objects for a column chunk end the process on some damaged footers and encrypted columns (26.0: an exception
of C++ that nobody catches), and it unpacks a page before it looks at its size.

Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md) with the
field numbers of parquet.thrift.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_PATH_IN_SCHEMA, _PACKED_BYTES, _DATA_PAGE, _DICTIONARY_PAGE, _STATISTICS = 3, 7, 9, 11, 12
_NULL_COUNT = 3
_UNPACKED_PAGE, _PACKED_PAGE = 2, 3
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_DEEPEST = 64
_HEADER_BYTES, _MOST_HEADER_BYTES = 4 << 10, 16 << 20


@dataclass
class Chunk:
    """Of a column and row group. nulls: None where it does not say. start, size_bytes: of its pages in the file."""

    nulls: int | None = None
    start: int = 0
    size_bytes: int = 0


def chunks_of(footer: bytes, leaf: str) -> list[Chunk]:
    """Of each row group. leaf: path of the column in the schema, with dots. Raises ValueError for what is no footer."""
    reader = _Reader(footer)
    chunks: list[Chunk] = []
    try:
        for field, kind in reader.fields():
            if (field, kind) == (_ROW_GROUPS, _LIST):
                size, _ = reader.list_head()
                chunks += (_of_group(reader, leaf) for _ in range(size))
            else:
                reader.skip(kind)
    except IndexError as error:
        raise ValueError("the footer is cut off") from error
    return chunks


def pages_of(fd: int, chunk: Chunk) -> Iterator[tuple[int, int]]:
    """(bytes, bytes when they are unpacked) of its pages, by their headers. Raises ValueError."""
    at, end = chunk.start, chunk.start + chunk.size_bytes
    while at < end:
        header_bytes, packed, unpacked = _page(fd, at)
        if header_bytes == 0 or packed < 0 or unpacked < 0:
            raise ValueError("a page that is none")
        yield packed, unpacked
        at += header_bytes + packed


def _page(fd: int, at: int) -> tuple[int, int, int]:
    """(bytes of its header, of its content, of its content when it is unpacked)."""
    for most in (_HEADER_BYTES, _MOST_HEADER_BYTES):
        reader = _Reader(os.pread(fd, most, at))
        sizes = {_UNPACKED_PAGE: -1, _PACKED_PAGE: -1}
        try:
            for field, kind in reader.fields():
                if field in sizes and kind not in _NO_NUMBERS:
                    sizes[field] = reader.number()
                else:
                    reader.skip(kind)
        except IndexError:
            continue
        return reader.at, sizes[_PACKED_PAGE], sizes[_UNPACKED_PAGE]
    raise ValueError("a page without an end of its header")


def _of_group(reader: _Reader, leaf: str) -> Chunk:
    chunk = Chunk()
    for field, kind in reader.fields():
        if (field, kind) == (_COLUMNS, _LIST):
            size, _ = reader.list_head()
            for _ in range(size):
                path, there = _of_column(reader)
                chunk = there if path == leaf else chunk
        else:
            reader.skip(kind)
    return chunk


def _of_column(reader: _Reader) -> tuple[str, Chunk]:
    path, nulls, numbers = "", None, dict[int, int]()
    for field, kind in reader.fields():
        if (field, kind) != (_META_DATA, _STRUCT):
            reader.skip(kind)
            continue
        for inner, kind_of_inner in reader.fields():
            if (inner, kind_of_inner) == (_PATH_IN_SCHEMA, _LIST):
                size, _ = reader.list_head()
                path = ".".join(reader.binary().decode(errors="replace") for _ in range(size))
            elif (inner, kind_of_inner) == (_STATISTICS, _STRUCT):
                nulls = _of_statistics(reader)
            elif inner in (_PACKED_BYTES, _DATA_PAGE, _DICTIONARY_PAGE) and kind_of_inner not in _NO_NUMBERS:
                numbers[inner] = reader.number()
            else:
                reader.skip(kind_of_inner)
    first, dictionary = numbers.get(_DATA_PAGE, 0), numbers.get(_DICTIONARY_PAGE, 0)
    start = min(first, dictionary) if dictionary > 0 else first
    return path, Chunk(nulls, max(0, start), max(0, numbers.get(_PACKED_BYTES, 0)))


def _of_statistics(reader: _Reader) -> int | None:
    nulls = None
    for field, kind in reader.fields():
        if field == _NULL_COUNT and kind not in _NO_NUMBERS:
            nulls = reader.number()
        else:
            reader.skip(kind)
    return nulls


_NO_NUMBERS = frozenset((_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT))


class _Reader:
    """Raises IndexError at the end, ValueError for what no writer writes."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """(number, type) of the fields of a struct; each must be read before the next."""
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            if step:
                number += step
            else:
                number = self.number()
            yield number, kind

    def list_head(self) -> tuple[int, int]:
        """(size, type)."""
        head = self._byte()
        size = head >> 4
        size = self.varint() if size == 15 else size
        if size > len(self._data) - self.at:  # each takes a byte at least
            raise IndexError(size)
        return size, head & 15

    def binary(self) -> bytes:
        start = self._pass(self.varint())
        return self._data[start : self.at]

    def number(self) -> int:
        """With its sign."""
        coded = self.varint()
        return coded >> 1 ^ -(coded & 1)

    def varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        return number | byte << shift

    def skip(self, kind: int, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise ValueError("structs in structs without end")
        if kind == _BYTE:
            self._pass(1)
        elif kind == _DOUBLE:
            self._pass(8)
        elif kind == _BINARY:
            self._pass(self.varint())
        elif kind in (_LIST, _SET):
            size, inner = self.list_head()
            for _ in range(size):
                self.skip(_BYTE if inner in (_TRUE, _FALSE) else inner, depth + 1)
        elif kind == _MAP:
            if size := self.varint():
                kinds = self._byte()
                for _ in range(size):
                    self.skip(kinds >> 4, depth + 1)
                    self.skip(kinds & 15, depth + 1)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind not in (_TRUE, _FALSE):
            self.varint()

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _pass(self, size: int) -> int:
        start, self.at = self.at, self.at + size
        if self.at > len(self._data):
            raise IndexError(self.at)
        return start
