"""Ids of chunks that no plan cut."""

from __future__ import annotations

import hashlib

from operators.store.chunk_id import ChunkId


def chunk(name: str, slice_: int = 0, round_: int = 0) -> str:
    """A chunk_id by any name."""
    return str(ChunkId(slice_, round_, hashlib.sha256(name.encode()).hexdigest()[:16]))
