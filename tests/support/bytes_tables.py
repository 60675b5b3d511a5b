"""Tables of bytes: a Parquet table with files in a column, in the layouts that are met."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LAYOUTS = ("hugging_face", "binary", "large_binary", "binary_view", "dictionary")


def table_of(
    files: Sequence[bytes | None],
    layout: str = "hugging_face",
    *,
    column: str = "image",
    paths: Sequence[str | None] | None = None,
    **others: Sequence[Any],
) -> pa.Table:
    """A row for each file, and columns beside it. paths: in the struct of Hugging Face's layout."""
    if layout == "hugging_face":
        names = paths or [f"{row:03}.bin" for row in range(len(files))]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = [{"bytes": data, "path": name} for data, name in zip(files, names, strict=True)]
        metadata = {"huggingface": json.dumps({"info": {"features": {column: {"_type": "Image"}}}})}
    else:
        kinds = {"large_binary": pa.large_binary(), "binary_view": pa.binary_view()}
        kind, cells, metadata = kinds.get(layout, pa.binary()), list(files), {}
    array = pa.array(cells, kind)
    if layout == "dictionary":
        array = array.dictionary_encode()
    table = pa.table({column: array, **others})
    return table.replace_schema_metadata(metadata or None)


def write_table(path: Path, table: pa.Table, *, row_group_rows: int = 1 << 20, **options: Any) -> Path:
    pq.write_table(table, path, row_group_size=row_group_rows, **options)
    return path


def files_of(folder: Path) -> Mapping[str, bytes]:
    """By name, in order."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
