"""Write the inputs of a job and what was answered about them as tar shards in the layout of webdataset.

<key>.json          what is known of the input: its address, its media, the columns that came along
<key>.<task>.json   its rows of that task, a list
<key>.<suffix>      the input itself

The key is its input_id. Which inputs a shard holds follows from the input manifest alone, and a shard is put as a
whole, if it is absent: the same command goes on where one was stopped. `export.json` beside the shards says of which
export they are; another is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.media.formats import EPISODE, FORMATS, TEXT, media_of_name
from operators.store.inputs.cache import node_cache
from operators.store.inputs.opened_input import opened_input
from operators.store.shard_writer import Media, ShardWriter, mapped
from operators.store.store import Store, read
from operators.store.view import View
from pipelines.folder import JobFolder
from pipelines.rounds import Round, manifests_of
from schemas import tables
from schemas.address import is_remote, name_of
from schemas.errors import InputError, JobConflict, SpecError, StoreLost
from schemas.fetch import FetchSettings

MOST_SAMPLES = 5000
"""Of a shard."""
MOST_REMOTE_BYTES = 4 << 30
"""Of an input whose shard goes into a bucket: stores take no more at once than 5 GB."""
_CLAIM = "export.json"
_LOCATION = ("unit_index", "request_index", "unit_kind", "page", "start_s", "end_s")
_ANSWER = ("status", "error", "result", "text", "verified")


@dataclass(frozen=True)
class Shard:
    """address: where it lies. new: put there now. unreadable: inputs that cannot be read any more, and why; the shard
    has their answers alone. unanswered: inputs without any row."""

    address: str
    new: bool
    samples: int
    unreadable: tuple[str, ...] = ()
    unanswered: int = 0


def export(
    source: Store, target: Store, name: str, shard_bytes: int, settings: FetchSettings | None = None
) -> Iterator[Shard]:
    """name: of the shards, before their number. settings: of the job, to fetch its inputs.

    Raises SpecError where no job is, or nothing can be written; JobConflict where the target holds another export, or
    shards of anybody; StoreLost.
    """
    folder = JobFolder(source)
    rounds = folder.rounds()
    inputs = folder.read_inputs(manifests_of(rounds))
    shards = list(_cut(inputs, shard_bytes))
    width = max(6, len(str(len(shards))))
    keys = [f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:80]}-{number:0{width}d}.tar" for number in range(len(shards))]
    there = _claim(target, _identity(rounds, View(source), shard_bytes) | {"shards": keys[-1:]}, keys)
    slices = dict(zip(*(inputs.column(key).to_pylist() for key in ("input_id", "slice")), strict=True))
    answers = _Answers(View(source), inputs, slices)
    for key, rows in zip(keys, shards, strict=True):
        if key in there:
            yield Shard(f"{target.address}/{key}", new=False, samples=len(rows))
        else:
            yield _Export(target, answers, inputs, settings or FetchSettings()).write(key, rows)


def _cut(inputs: pa.Table, shard_bytes: int) -> Iterator[range]:
    """Rows of the manifest, a shard each."""
    start = size = 0
    for row, size_bytes in enumerate(inputs.column("size_bytes").to_pylist()):
        more = size_bytes or 0
        if row > start and (size + more > shard_bytes or row - start >= MOST_SAMPLES):
            yield range(start, row)
            start, size = row, 0
        size += more
    if inputs.num_rows:
        yield range(start, inputs.num_rows)


def _identity(rounds: Sequence[Round], view: View, shard_bytes: int) -> dict[str, Any]:
    job = json.dumps([round_.as_json() for round_ in rounds], sort_keys=True)
    held = [
        (task, slice_, sorted(view.held(task, slice_).chunks.items()))
        for task in view.tasks()
        for slice_ in view.slices(task)
    ]
    return {
        "job": hashlib.sha256(job.encode()).hexdigest(),
        "parts": hashlib.sha256(json.dumps(held).encode()).hexdigest(),
        "shard_bytes": shard_bytes,
    }


def _claim(target: Store, identity: dict[str, Any], keys: Sequence[str]) -> set[str]:
    """The shards that are there already. Raises SpecError, JobConflict, StoreLost."""
    another, claim = "give this one another --into", json.dumps(identity, indent=1).encode()
    try:
        there = set(target.list()) & set(keys)
        if target.put_if_absent(_CLAIM, claim):
            if there:
                raise JobConflict(f"{target.address} holds {min(there)} already, of no export; {another}")
            return there
        before = read(target, _CLAIM)
    except (OSError, InputError) as error:
        raise SpecError(f"--into: {target.address} cannot be written: {error}") from error
    if before != claim:
        raise JobConflict(
            f"{target.address} holds the shards of another export, or its job has more answers by now; {another}"
        )
    return there


@dataclass
class _Answers:
    """The rows of a job by input, a slice of the results at a time. slices: by input_id."""

    view: View
    inputs: pa.Table
    slices: dict[str, int]

    def __post_init__(self) -> None:
        self._tasks = self.view.tasks()
        self._read = lru_cache(maxsize=2)(self._rows_of_slice)

    def of(self, rows: range) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """input_id -> task -> rows, in order. rows: of the manifest."""
        input_ids = self.inputs.column("input_id")[rows.start : rows.stop].to_pylist()
        answers: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for slice_ in sorted({self.slices[input_id] for input_id in input_ids if input_id in self.slices}):
            for task, some in self._read(slice_).items():
                mine = pc.is_in(some.column("input_id"), pa.array(input_ids, pa.string()))
                for row in some.filter(mine).to_pylist():
                    answers.setdefault(row.pop("input_id"), {}).setdefault(task, []).append(row)
        return answers

    def _rows_of_slice(self, slice_: int) -> dict[str, pa.Table]:
        """By task."""
        read = {task: self.view.read(task, slice_) for task in self._tasks}
        return {
            task: there.rows.select(["input_id", *_LOCATION, *_ANSWER])
            for task, there in read.items()
            if there is not None
        }


@dataclass
class _Export:
    target: Store
    answers: _Answers
    inputs: pa.Table
    settings: FetchSettings
    unreadable: list[str] = field(default_factory=list)

    def write(self, key: str, rows: range) -> Shard:
        """Raises StoreLost."""
        answers = self.answers.of(rows)
        with os.fdopen(node_cache().temporary(), "w+b") as file:
            new = False

            def put() -> None:
                nonlocal new
                with mapped(file) as data:
                    new = self.target.put_if_absent(key, data)

            try:
                writer = ShardWriter(file, put)
                for row in self.inputs.slice(rows.start, len(rows)).to_pylist():
                    self._add(writer, row, answers.get(row["input_id"], {}))
                writer.close()
            except OSError as error:
                raise StoreLost(f"--into: {self.target.address}/{key} cannot be written: {error}") from error
        unanswered = sum(input_id not in answers for input_id in self._ids(rows))
        return Shard(f"{self.target.address}/{key}", new, len(rows), tuple(self.unreadable), unanswered)

    def _ids(self, rows: range) -> list[str]:
        ids: list[str] = self.inputs.column("input_id")[rows.start : rows.stop].to_pylist()
        return ids

    def _add(self, writer: ShardWriter, row: dict[str, Any], answers: dict[str, list[dict[str, Any]]]) -> None:
        others = {name: row[name] for name in row if name not in tables.INPUTS.names}
        about = {"input_id": row["input_id"], "input_uri": row["input_uri"], "media": row["media"], **others}
        texts = {"json": _json(about)}
        texts |= {f"{task}.json": _json([_plain(answer) for answer in some]) for task, some in sorted(answers.items())}
        if row["media"] in (TEXT, EPISODE) or row["error"] is not None:
            writer.add(row["input_id"], texts, None)
            return
        try:
            with opened_input(row["input_uri"], row["version"], self.settings) as opened:
                if is_remote(self.target.address) and os.fstat(opened.fd).st_size > MOST_REMOTE_BYTES:
                    raise InputError("too_large", f"a shard in a bucket holds {MOST_REMOTE_BYTES >> 30} GB")
                writer.add(row["input_id"], texts, Media(_suffix(row), opened.fd))
        except InputError as error:
            self.unreadable.append(f"{row['input_uri']}: {error}")
            writer.add(row["input_id"], texts, None)


def _suffix(row: dict[str, Any]) -> str:
    """By which it is known again."""
    name = name_of(row["input_uri"])
    if media_of_name(name) is not None:
        return PurePosixPath(name).suffix.lower()[1:]
    return next((kind.extensions[0][1:] for kind in FORMATS if kind.media == row["media"] and kind.extensions), "bin")


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer.get(name) for name in (*_LOCATION, *_ANSWER)}


def _json(value: Any) -> bytes:
    return json.dumps(_finite(value), ensure_ascii=False, default=str).encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
