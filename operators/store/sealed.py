"""Parquet whose every byte is accounted for: pages bear checksums, and a digest of the file lies before its footer.

Readers find pages by the footer and the footer from the end, so what lies between the last page and the footer is
nobody's: there stand the words SEAL and the SHA-256 of all other bytes. One flipped bit, a cut, or bytes too many show,
wherever they are; page checksums alone leave page headers, statistics and the footer itself unguarded. Knows nothing of
what the rows say.
"""

from __future__ import annotations

import hashlib
import json
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

FOOTER_KEY = b"sightread"
_SEAL = b"sightread:sha256"
_TAIL = 8
"""Bytes behind the footer: its length (4, little-endian) and PAR1."""


class Broken(ValueError):
    """A file is not as it was written, or none of ours."""


def sealed(rows: pa.Table, footer: dict[str, Any]) -> memoryview:
    """A Parquet file of the rows. footer: JSON that `footer_of` gives back."""
    sink = pa.BufferOutputStream()
    table = rows.replace_schema_metadata({FOOTER_KEY: json.dumps(footer).encode()})
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    data = memoryview(sink.getvalue())
    start = _footer_start(data)
    digest = _digest(data[:start], data[start:])
    return memoryview(b"".join((data[:start], _SEAL, digest, data[start:])))


def check_seal(data: memoryview) -> None:
    """Raises Broken."""
    start = _footer_start(data)
    seal = start - len(_SEAL) - hashlib.sha256().digest_size
    if seal < len(b"PAR1") or bytes(data[seal : seal + len(_SEAL)]) != _SEAL:
        raise Broken("it bears no seal of ours, or is cut")
    if _digest(data[:seal], data[start:]) != bytes(data[seal + len(_SEAL) : start]):
        raise Broken("its bytes are not those that were written")


def opened(file: IO[bytes]) -> tuple[pq.ParquetFile, dict[str, Any]]:
    """With its footer. Raises Broken for what is no file of ours."""
    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        footer = json.loads((parquet.schema_arrow.metadata or {})[FOOTER_KEY])
        if not isinstance(footer, dict):
            raise ValueError(f"its footer is a {type(footer).__name__}")
    except (KeyError, ValueError, OSError, RecursionError) as error:
        raise Broken(f"{error!r}") from error
    return parquet, footer


def _footer_start(data: memoryview) -> int:
    """Raises Broken."""
    if len(data) < 2 * _TAIL or bytes(data[-4:]) != b"PAR1" or bytes(data[:4]) != b"PAR1":
        raise Broken("it does not begin and end as Parquet does")
    start = len(data) - _TAIL - int.from_bytes(data[-_TAIL:-4], "little")
    if start < len(b"PAR1"):
        raise Broken("its footer is longer than the file")
    return start


def _digest(*pieces: memoryview) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
