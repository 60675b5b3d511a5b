"""Parts and rows of results, small and by hand, for tests of the log and the view."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from operators.store.chunk_id import ChunkId
from schemas import tables

TEXT = pa.struct([("text", pa.string())])
OTHER = pa.struct([("words", pa.list_(pa.string()))])

_PLAIN: dict[str, Any] = {
    "unit_count": 9, "unit_kind": "page", "media": "pdf", "request_index": 0, "status": "ok", "prompt_tokens": 1,
    "output_tokens": 2, "decode_s": 0.1, "infer_s": 0.2, "generation": 0, "attempt": 1, "job": "j", "model": "m",
    "weights_sha256": "", "prompt_sha256": "", "spec_sha256": "", "version": "0",
}  # fmt: skip


def chunk_id(slice_: int, round_: int, *units: object) -> str:
    return str(ChunkId(slice_, round_, hashlib.sha256(repr(units).encode()).hexdigest()[:16]))


def rows(
    chunk: str, plain: Iterable[dict[str, Any]], result: pa.DataType = TEXT, passthrough: Iterable[pa.Field] = ()
) -> pa.Table:
    """plain: of each row its input_id and unit_index, and what differs; text is the reply and the result."""
    complete = [
        {
            **_PLAIN, "input_uri": f"/{row['input_id']}.pdf", "chunk_id": chunk,
            "result": {"text": row.get("text")} if result == TEXT else {"words": [row.get("text") or ""]}, **row,
        }
        for row in plain
    ]  # fmt: skip
    return pa.Table.from_pylist(complete, schema=tables.results_schema(result, list(passthrough)))
