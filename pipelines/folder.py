"""The folder of a job: what it keeps under `_job/` in its store, beside the results. Knows nothing of Ray.

_job/identity.json    the keys that change answers; another job may not use the folder
_job/spec.yaml        the spec as it was understood
_job/inputs/          the input manifest, written before any work
_job/chunks/          the chunk manifest, a file for every SLICE inputs
_job/summary.json     the audit of the last run
_job/logs/            what runs log and engines print, where the store is a folder of this machine
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from operators.store.addresses import check_writable
from operators.store.store import Store, overwrite
from pipelines.plain_values import STORED, mapping_from_json, mapping_from_yaml, to_json, to_yaml
from schemas import tables
from schemas.address import is_remote
from schemas.errors import JobConflict, SpecError, StoreLost

SLICE = 512
"""Inputs that are probed and chunked together: what a kill during the probe costs at most."""
LAYOUT = 4
"""Of these files. A folder that another version began with another layout is refused, not read wrongly."""
MOST_DIFFERENCES = 5
"""Between two jobs that are shown."""

_IDENTITY, _SPEC, _SUMMARY = "_job/identity.json", "_job/spec.yaml", "_job/summary.json"
_INPUTS = "_job/inputs/part-00000.parquet"

_log = logging.getLogger(__name__)


class JobFolder:
    def __init__(self, store: Store) -> None:
        self._store = store

    def claim(self, identity: dict[str, Any], spec: dict[str, Any]) -> None:
        """Make the folder this job's, or find that it is. Raises JobConflict with the difference, SpecError where
        nothing can be written."""
        try:
            new = self._store.put_if_absent(_IDENTITY, to_json(identity))
            if not new:
                self._compare(identity)
            elif is_remote(self._store.address) and self._store.put_if_absent(_IDENTITY, to_json(identity)):
                raise OSError("it lets several writers create one file, which no promise could rest on")
            if self._store.stat(_SPEC) is None:  # also where a kill came between the two
                self._store.put_if_absent(_SPEC, to_yaml(spec))
        except (OSError, ValueError) as error:  # ValueError: NUL in the path
            raise SpecError(f"output: {self._store.address} cannot be written: {error}") from error
        _log.info("%s is %s", self._store.address, "claimed" if new else "this job's already")

    def check(self, identity: dict[str, Any]) -> bool:
        """Whether the folder is this job's already. Raises what `claim` would, as far as it shows without writing."""
        check_writable(self._store.address)
        try:
            taken = self._store.stat(_IDENTITY) is not None
        except (OSError, ValueError) as error:
            raise SpecError(f"output: {self._store.address} cannot be written: {error}") from error
        if taken:
            self._compare(identity)
        return taken

    def _compare(self, identity: dict[str, Any]) -> None:
        """Raises JobConflict where the folder has another."""
        there = self.identity()
        if there.get("layout") != identity.get("layout"):
            raise JobConflict(
                f"{self._store.address} was begun by another version of sightread, which cannot be gone on with; give "
                "this job another `output:`"
            )
        if lines := differences(there, identity):
            more = f"; and {len(lines) - MOST_DIFFERENCES} more" if len(lines) > MOST_DIFFERENCES else ""
            raise JobConflict(
                f"{self._store.address} holds the results of another spec; give this one another `output:`, "
                f"or undo the change: {'; '.join(lines[:MOST_DIFFERENCES])}{more}"
            )

    def identity(self) -> dict[str, Any]:
        """As it was claimed. Raises SpecError where no job is, or what is there is broken."""
        return mapping_from_json(self._bytes(_IDENTITY), f"{self._store.address}/{_IDENTITY}")

    def spec(self) -> dict[str, Any]:
        """The plain values of the spec that claimed it. Raises SpecError where no job is."""
        return mapping_from_yaml(self._bytes(_SPEC), f"{self._store.address}/{_SPEC}", STORED)

    def decoding(self) -> dict[str, Any]:
        """Of the identity, how the job decodes. Raises SpecError."""
        decode = self.identity().get("decode")
        if not isinstance(decode, dict):
            raise SpecError(f"{self._store.address}/{_IDENTITY} does not say how its job decodes")
        return decode

    def _bytes(self, key: str) -> bytes:
        try:
            with self._store.open(key) as file:
                return file.read(STORED.size_bytes + 1)
        except (OSError, ValueError) as error:
            raise SpecError(f"{self._store.address} holds no job: {error}") from error

    def has_inputs(self) -> bool:
        return self._store.stat(_INPUTS) is not None

    def write_inputs(self, inputs: pa.Table, skipped: dict[str, int]) -> None:
        """Raises StoreLost."""
        self._put(_INPUTS, inputs.replace_schema_metadata({"skipped": json.dumps(skipped)}))

    def read_inputs(self) -> tuple[pa.Table, dict[str, int]]:
        """Raises JobConflict for a manifest that is not as one was written."""
        table = self._table(_INPUTS, tables.INPUTS, others=True, complete=("input_id", "input_uri"))
        try:
            skipped = json.loads((table.schema.metadata or {}).get(b"skipped", b"{}"))
        except (ValueError, RecursionError) as error:
            raise self._broken(_INPUTS, error) from error
        return table.replace_schema_metadata(None), skipped

    def has_chunks(self, index: int) -> bool:
        return self._store.stat(_chunks(index)) is not None

    def write_chunks(self, index: int, chunks: pa.Table) -> None:
        """Raises StoreLost."""
        self._put(_chunks(index), chunks)

    def read_chunks(self, index: int) -> pa.Table:
        """Rows of CHUNKS. Raises JobConflict for a manifest that is not as one was written."""
        return self._table(_chunks(index), tables.CHUNKS, complete=tables.CHUNKS.names)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Raises OSError."""
        overwrite(self._store, _SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False).encode("utf-8", "replace"))

    def _put(self, key: str, table: pa.Table) -> None:
        try:
            self._store.put_if_absent(key, _parquet(table))
        except OSError as error:
            raise StoreLost(f"output: {self._store.address} cannot be written any more: {error}") from error

    def _table(self, key: str, schema: pa.Schema, complete: Sequence[str], *, others: bool = False) -> pa.Table:
        """others: whether columns may follow. complete: the columns that have no nulls."""
        try:
            with self._store.open(key) as file:
                table = pq.ParquetFile(file).read()
            head = table.select(table.schema.names[: len(schema)])
            if head.schema.names != schema.names or (table.num_columns > len(schema) and not others):
                raise ValueError(f"its columns are {', '.join(table.schema.names[:20])}")
            head = head.cast(schema)
            if empty := [name for name in complete if head.column(name).null_count]:
                raise ValueError(f"{empty[0]} has nulls")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._broken(key, error) from error
        for name in table.schema.names[len(schema) :]:
            head = head.append_column(table.schema.field(name), table.column(name))
        return head.replace_schema_metadata(table.schema.metadata)

    def _broken(self, key: str, error: Exception) -> JobConflict:
        return JobConflict(
            f"{self._store.address}/{key} is not as a run left it ({error}); give this job another `output:`, or put "
            "the file back"
        )


def _chunks(index: int) -> str:
    return f"_job/chunks/part-{index:05d}.parquet"


def _parquet(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return memoryview(sink.getvalue())


def sha256_of(value: Any) -> str:
    """Of any JSON value, in one canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """One line for each key that differs, by its dotted path."""
    old, new = dict(_flat(there)), dict(_flat(here))
    return [
        f"{key}: {_shown(old, key)} there, {_shown(new, key)} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


_ABSENT = object()


def _shown(values: dict[str, Any], key: str) -> str:
    text = json.dumps(values[key], ensure_ascii=False) if key in values else "not set"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, sub in value.items():
            yield from _flat(sub, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value:
        for index, sub in enumerate(value):
            yield from _flat(sub, f"{place}[{index}]")
    else:
        yield place, value
