"""Parquet whose every byte is accounted for: pages bear checksums, and a digest of the file lies before its footer.

Readers find pages by the footer and the footer from the end, so what lies between the last page and the footer is
nobody's: there stand the words SEAL and the SHA-256 of all other bytes. One flipped bit, a cut, or bytes too many show,
wherever they are; page checksums alone leave page headers, statistics and the footer itself unguarded. Knows nothing of
what the rows say.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

FOOTER_KEY = b"sightread"
GROUP_BYTES = 128 << 20
"""Of a row group, before it is packed: more than 2 GB of text in lists or structs could be written in one, and not
read."""
_STEP = 256
"""Rows that are weighed together."""
_SEAL = b"sightread:sha256"
TAIL_BYTES = 8
"""Bytes behind the footer: its length (4, little-endian) and PAR1."""


class Broken(ValueError):
    """A file is not as it was written, or none of ours."""


def sealed(rows: pa.Table, footer: dict[str, Any], *, for_queries: bool = True) -> memoryview:
    """A Parquet file of the rows. footer: JSON, which `opened` gives back. for_queries: with what serves who reads a
    few rows of many; without it a small file is a quarter cheaper to write and to read, and a quarter smaller."""
    sink = io.BytesIO()
    table = rows.replace_schema_metadata({FOOTER_KEY: json.dumps(footer).encode()})
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=for_queries,
        write_statistics=for_queries,
    ) as writer:
        for group in _groups(table):
            writer.write_table(group, row_group_size=group.num_rows)
    with sink.getbuffer() as data:
        start = _footer_start(data)
        digest, end = _digest(data[:start], data[start:]), bytes(data[start:])
    sink.seek(start)
    sink.write(_SEAL + digest + end)
    return sink.getbuffer()


def _groups(table: pa.Table) -> Iterator[pa.Table]:
    start = size_bytes = 0
    for end in range(_STEP, table.num_rows + _STEP, _STEP):
        size_bytes += table.slice(end - _STEP, _STEP).nbytes
        if size_bytes >= GROUP_BYTES or end >= table.num_rows:
            yield table.slice(start, end - start)
            start, size_bytes = end, 0


def check_seal(data: memoryview) -> None:
    """Raises Broken."""
    start = _footer_start(data)
    seal = start - len(_SEAL) - hashlib.sha256().digest_size
    if seal < len(b"PAR1") or bytes(data[seal : seal + len(_SEAL)]) != _SEAL:
        raise Broken("it bears no seal of ours, or is cut")
    if _digest(data[:seal], data[start:]) != bytes(data[seal + len(_SEAL) : start]):
        raise Broken("its bytes are not those that were written")


def opened(file: IO[bytes]) -> tuple[pq.ParquetFile, dict[str, Any]]:
    """With its footer, which alone is read. Raises Broken for what is no file of ours."""
    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        footer = json.loads((parquet.schema_arrow.metadata or {})[FOOTER_KEY])
        if not isinstance(footer, dict):
            raise ValueError(f"its footer is a {type(footer).__name__}")
    except (KeyError, ValueError, OSError, RecursionError, MemoryError, pa.ArrowException) as error:
        raise Broken(f"{error!r}") from error
    return parquet, footer


def read_checked(file: IO[bytes], columns: Sequence[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """Its rows and its footer, once its seal was found intact. columns: as many as are there. Raises Broken; OSError
    where it cannot be read."""
    data = file.read()
    check_seal(memoryview(data))
    parquet, footer = opened(io.BytesIO(data))
    there = parquet.schema_arrow.names
    try:
        rows = parquet.read(columns=there if columns is None else [name for name in columns if name in there])
    except (ValueError, OSError, MemoryError, pa.ArrowException) as error:  # a seal may be forged
        raise Broken(f"{error!r}") from error
    return rows.replace_schema_metadata(None), footer


def footer_bytes(tail: bytes) -> int:
    """From where it begins to the end of the file. tail: the last TAIL_BYTES. Raises Broken."""
    if len(tail) < TAIL_BYTES or tail[-4:] != b"PAR1":
        raise Broken("it does not end as Parquet does")
    return TAIL_BYTES + int.from_bytes(tail[:-4], "little")


def _footer_start(data: memoryview) -> int:
    """Raises Broken."""
    if len(data) < 2 * TAIL_BYTES or bytes(data[-4:]) != b"PAR1" or bytes(data[:4]) != b"PAR1":
        raise Broken("it does not begin and end as Parquet does")
    start = len(data) - footer_bytes(bytes(data[-TAIL_BYTES:]))
    if start < len(b"PAR1"):
        raise Broken("its footer is longer than the file")
    return start


def _digest(*pieces: memoryview) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
