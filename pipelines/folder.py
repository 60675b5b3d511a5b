"""The folder of a job: what it keeps under `_job/`, and which parts are committed. Knows nothing of Ray.

<output>/results/task=<task>/part-<chunk_id>.parquet   the rows; a part in its place is committed
<output>/_job/identity.json    the keys that change answers; another job may not use the folder
<output>/_job/spec.yaml        the spec as it was understood
<output>/_job/inputs/          the input manifest, written before any work
<output>/_job/chunks/          the chunk manifest, a file for every SLICE inputs
<output>/_job/summary.json     the audit of the last run
<output>/_job/logs/            what runs log and engines print
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from operators.commit import create_if_absent, sweep_temporaries
from schemas import tables
from schemas.errors import JobConflict

SLICE = 512
"""Inputs that are probed and chunked together: what a kill during the probe costs at most."""


class JobFolder:
    def __init__(self, output: Path) -> None:
        self.output = output
        self.job = output / "_job"
        self.tmp = self.job / "tmp"

    def claim(self, identity: dict[str, Any], spec: dict[str, Any]) -> None:
        """Make the folder this job's, or find that it is. Raises JobConflict with the difference."""
        path = self.job / "identity.json"
        text = json.dumps(identity, indent=1, sort_keys=True, ensure_ascii=False)
        sweep_temporaries(self.tmp)
        if create_if_absent(path, self.tmp, lambda temporary: temporary.write_text(text, encoding="utf-8")):
            dump = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
            create_if_absent(
                self.job / "spec.yaml", self.tmp, lambda temporary: temporary.write_text(dump, encoding="utf-8")
            )
            return
        there = json.loads(path.read_text(encoding="utf-8"))
        if lines := differences(there, identity):
            raise JobConflict(
                f"{self.output} holds the results of another spec; give this one another `output:`, "
                "or undo the change:\n  " + "\n  ".join(lines)
            )

    @property
    def _inputs(self) -> Path:
        return self.job / "inputs" / "part-00000.parquet"

    def has_inputs(self) -> bool:
        return self._inputs.exists()

    def write_inputs(self, inputs: pa.Table, skipped: dict[str, int]) -> None:
        table = inputs.replace_schema_metadata({"skipped": json.dumps(skipped)})
        create_if_absent(self._inputs, self.tmp, lambda temporary: pq.write_table(table, temporary))

    def read_inputs(self) -> tuple[pa.Table, dict[str, int]]:
        table = pq.read_table(self._inputs)
        metadata = table.schema.metadata or {}
        return table.replace_schema_metadata(None), json.loads(metadata.get(b"skipped", b"{}"))

    def chunk_file(self, index: int) -> Path:
        return self.job / "chunks" / f"part-{index:05d}.parquet"

    def write_chunks(self, index: int, chunks: pa.Table) -> None:
        create_if_absent(self.chunk_file(index), self.tmp, lambda temporary: pq.write_table(chunks, temporary))

    def read_chunks(self, index: int) -> pa.Table:
        return pq.read_table(self.chunk_file(index), schema=tables.CHUNKS)

    def committed(self, tasks: list[str]) -> set[tuple[str, str]]:
        """(chunk_id, task) of every part that is in its place."""
        return {
            (path.name.removeprefix("part-").removesuffix(".parquet"), task)
            for task in tasks
            for path in (self.output / "results" / f"task={task}").glob("part-*.parquet")
        }

    def write_summary(self, summary: dict[str, Any]) -> None:
        self.tmp.mkdir(parents=True, exist_ok=True)
        temporary = self.tmp / "summary.json"
        temporary.write_text(json.dumps(summary, indent=1, ensure_ascii=False), encoding="utf-8")
        temporary.replace(self.job / "summary.json")


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
