"""What a Parquet footer says of nulls in a column, read here: pyarrow's objects for a column chunk end the process on
some damaged footers and encrypted columns (26.0: an exception of C++ that nobody catches).

Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md) with the
field numbers of parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterator

_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_PATH_IN_SCHEMA, _STATISTICS, _NULL_COUNT = 3, 12, 3
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_DEEPEST = 64


def null_counts(footer: bytes, leaf: str) -> list[int | None]:
    """Of each row group; None where it does not say. leaf: path of the column in the schema, with dots. Raises
    ValueError for what is no footer."""
    reader = _Reader(footer)
    counts: list[int | None] = []
    try:
        for field, kind in reader.fields():
            if (field, kind) == (_ROW_GROUPS, _LIST):
                size, _ = reader.list_head()
                counts += (_of_group(reader, leaf) for _ in range(size))
            else:
                reader.skip(kind)
    except IndexError as error:
        raise ValueError("the footer is cut off") from error
    return counts


def _of_group(reader: _Reader, leaf: str) -> int | None:
    count = None
    for field, kind in reader.fields():
        if (field, kind) == (_COLUMNS, _LIST):
            size, _ = reader.list_head()
            for _ in range(size):
                path, nulls = _of_column(reader)
                count = nulls if path == leaf else count
        else:
            reader.skip(kind)
    return count


def _of_column(reader: _Reader) -> tuple[str, int | None]:
    path, nulls = "", None
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
            else:
                reader.skip(kind_of_inner)
    return path, nulls


def _of_statistics(reader: _Reader) -> int | None:
    nulls = None
    for field, kind in reader.fields():
        if field == _NULL_COUNT and kind not in (_BINARY, _LIST, _STRUCT):
            number = reader.varint()
            nulls = number >> 1 ^ -(number & 1)
        else:
            reader.skip(kind)
    return nulls


class _Reader:
    """Raises IndexError at the end, ValueError for what no writer writes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """(number, type) of the fields of a struct; each must be read before the next."""
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            if step:
                number += step
            else:
                coded = self.varint()
                number = coded >> 1 ^ -(coded & 1)
            yield number, kind

    def list_head(self) -> tuple[int, int]:
        """(size, type)."""
        head = self._byte()
        size = head >> 4
        size = self.varint() if size == 15 else size
        if size > len(self._data) - self._at:  # each takes a byte at least
            raise IndexError(size)
        return size, head & 15

    def binary(self) -> bytes:
        start = self._pass(self.varint())
        return self._data[start : self._at]

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
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _pass(self, size: int) -> int:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise IndexError(self._at)
        return start
