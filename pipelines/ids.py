"""Ids of inputs as numbers: eight bytes for each of millions, compared by numpy. Pure."""

from __future__ import annotations

import binascii
import hashlib
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ids: TypeAlias = npt.NDArray[np.uint64]
_DIGITS = 16
"""Of an id as listing has it (pipelines/entries/scope.py)."""

NO_IDS: Ids = np.empty(0, np.uint64)


def ids_of(column: pa.ChunkedArray | pa.Array) -> Ids:
    """Of a column of input_id."""
    texts: list[str] = column.to_pylist()
    with_digits = "".join(texts)
    if len(with_digits) == _DIGITS * len(texts) and all(len(text) == _DIGITS for text in texts):
        try:
            return np.frombuffer(binascii.unhexlify(with_digits), ">u8").astype(np.uint64)
        except (binascii.Error, ValueError):  # no hexadecimal digits
            pass
    return np.array([_number(text) for text in texts], np.uint64)


def places_in(known: Ids, some: Ids) -> npt.NDArray[np.int64]:
    """Where each of some is in known, which is sorted; -1 where it is not."""
    if not len(known):
        return np.full(len(some), -1, np.int64)
    places = np.searchsorted(known, some)
    places[places == len(known)] = 0
    return np.where(known[places] == some, places, -1)


def _number(text: str) -> int:
    if len(text) == _DIGITS:
        try:
            return int(text, 16)
        except ValueError:
            pass
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
