"""A Source as a dataset of Ray: its readers are tasks that give a chunk after the other, as long as somebody wants
more. Imported only when a plan is run.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from pipelines.source import Source
from schemas import tables

READER_CPUS = 0.01
"""Other than those of a decoder, or Ray makes one operator of the two. Readers wait for others most of their time."""


class _Chunks(Datasource):
    def __init__(self, source: Source) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._source = source

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        nothing_known = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [
            ReadTask(partial(_read, self._source, reader), nothing_known, schema=tables.QUEUED_CHUNKS)
            for reader in range(self._source.readers)
        ]


def _read(source: Source, reader: int) -> Iterable[pa.Table]:
    yield from source.chunks(reader)


def dataset(source: Source) -> ray.data.Dataset:
    """One block for each chunk."""
    chunks: ray.data.Dataset = ray.data.read_datasource(
        _Chunks(source), override_num_blocks=source.readers, num_cpus=READER_CPUS
    )
    return chunks
