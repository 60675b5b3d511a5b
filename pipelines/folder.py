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
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from operators.store.store import Store, overwrite, read
from schemas import tables
from schemas.errors import JobConflict, SpecError

SLICE = 512
"""Inputs that are probed and chunked together: what a kill during the probe costs at most."""
LAYOUT = 2
"""Of these files. A folder that another version began with another layout is refused, not read wrongly."""

_IDENTITY, _SPEC, _SUMMARY = "_job/identity.json", "_job/spec.yaml", "_job/summary.json"
_INPUTS = "_job/inputs/part-00000.parquet"

_log = logging.getLogger(__name__)


class JobFolder:
    def __init__(self, store: Store) -> None:
        self._store = store

    def claim(self, identity: dict[str, Any], spec: dict[str, Any]) -> None:
        """Make the folder this job's, or find that it is. Raises JobConflict with the difference, SpecError where
        nothing can be written."""
        text = json.dumps(identity, indent=1, sort_keys=True, ensure_ascii=False)
        try:
            new = self._store.put_if_absent(_IDENTITY, text.encode())
        except OSError as error:
            raise SpecError(f"output: {self._store.address} cannot be written: {error}") from error
        if not new:
            self._compare(identity)
        if self._store.stat(_SPEC) is None:  # also where a kill came between the two
            dump = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
            self._store.put_if_absent(_SPEC, dump.encode())
        _log.info("%s is %s", self._store.address, "claimed" if new else "this job's already")

    def _compare(self, identity: dict[str, Any]) -> None:
        """Raises JobConflict where the folder has another."""
        there = self.identity()
        if there.get("layout") != identity.get("layout"):
            raise JobConflict(
                f"{self._store.address} was begun by another version of sightread, which cannot be gone on with; give "
                "this job another `output:`"
            )
        if lines := differences(there, identity):
            raise JobConflict(
                f"{self._store.address} holds the results of another spec; give this one another `output:`, "
                "or undo the change:\n  " + "\n  ".join(lines)
            )

    def identity(self) -> dict[str, Any]:
        """As it was claimed. Raises SpecError where no job is."""
        try:
            identity: dict[str, Any] = json.loads(read(self._store, _IDENTITY))
        except (OSError, ValueError) as error:
            raise SpecError(f"{self._store.address} holds no job: {error}") from error
        return identity

    def spec(self) -> dict[str, Any]:
        """The plain values of the spec that claimed it. Raises SpecError where no job is."""
        try:
            spec = yaml.safe_load(read(self._store, _SPEC))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SpecError(f"{self._store.address} holds no job: {error}") from error
        if not isinstance(spec, dict):
            raise SpecError(f"{self._store.address}/{_SPEC} holds {type(spec).__name__}, not a mapping of keys")
        return spec

    def has_inputs(self) -> bool:
        return self._store.stat(_INPUTS) is not None

    def write_inputs(self, inputs: pa.Table, skipped: dict[str, int]) -> None:
        table = inputs.replace_schema_metadata({"skipped": json.dumps(skipped)})
        self._store.put_if_absent(_INPUTS, _parquet(table))

    def read_inputs(self) -> tuple[pa.Table, dict[str, int]]:
        with self._store.open(_INPUTS) as file:
            table = pq.read_table(file)
        metadata = table.schema.metadata or {}
        return table.replace_schema_metadata(None), json.loads(metadata.get(b"skipped", b"{}"))

    def has_chunks(self, index: int) -> bool:
        return self._store.stat(_chunks(index)) is not None

    def write_chunks(self, index: int, chunks: pa.Table) -> None:
        self._store.put_if_absent(_chunks(index), _parquet(chunks))

    def read_chunks(self, index: int) -> pa.Table:
        with self._store.open(_chunks(index)) as file:
            return pq.read_table(file, schema=tables.CHUNKS)

    def write_summary(self, summary: dict[str, Any]) -> None:
        overwrite(self._store, _SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False).encode())


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
    return json.dumps(values[key], ensure_ascii=False) if key in values else "not set"


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, sub in value.items():
            yield from _flat(sub, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value:
        for index, sub in enumerate(value):
            yield from _flat(sub, f"{place}[{index}]")
    else:
        yield place, value
