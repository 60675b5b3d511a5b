"""The log of a job: a part for each chunk and task, put once and never changed. Knows nothing of Ray, models or columns
beyond those that name a unit.

    _job/parts/task=<task>/<slice>/<chunk_id>.parquet           what was answered
    _job/parts/task=<task>/<slice>/<chunk_id>.r00001.parquet    the same answers, checked or read again

The part in its place is the commit: the first writer wins whatever Ray runs twice, and a late attempt that finds the
part there checks by its footer that it holds the same units. A revision takes the place of the one before for whoever
reads the log, and both stay until they are pruned. What readers see is made from it: operators/store/view.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.store import sealed
from operators.store.addresses import store_at
from operators.store.chunk_id import ChunkId
from operators.store.store import Store, overwrite
from schemas.address import is_remote
from schemas.errors import JobConflict

PARTS = "_job/parts"
READS = 16
"""Parts that are read at once where a store answers over a network."""
_KEY = re.compile(rf"{PARTS}/task=([^/]*)/\d+/([0-9a-f-]+)(?:\.r(\d+))?\.parquet", re.ASCII)


@dataclass(frozen=True)
class PartName:
    """revision: 0 for what was answered."""

    task: str
    chunk_id: str
    revision: int = 0

    @classmethod
    def of(cls, key: str) -> PartName | None:
        """None for a key that no part has."""
        if (form := _KEY.fullmatch(key)) is None:
            return None
        name = cls(form[1], form[2], int(form[3] or 0))
        try:
            return name if name.key == key else None
        except ValueError:
            return None

    @property
    def key(self) -> str:
        """Raises ValueError for a chunk_id that is none."""
        suffix = f".r{self.revision:05d}" if self.revision else ""
        return f"{folder_of(self.task, ChunkId.of(self.chunk_id).slice)}/{self.chunk_id}{suffix}.parquet"


@dataclass(frozen=True)
class Part:
    """As it was read."""

    name: PartName
    rows: pa.Table
    footer: dict[str, Any]

    @classmethod
    def of(cls, name: PartName, rows: pa.Table) -> Part:
        """Of rows that lie elsewhere."""
        return cls(name, rows, _footer(name, rows))


class PartLog:
    @classmethod
    def at(cls, address: str) -> PartLog:
        """Raises SpecError for a scheme that no store is there for."""
        return cls(store_at(address))

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, task: str, chunk_id: str, rows: pa.Table) -> str:
        """Returns `committed`, or `duplicate` when a part with the same units is already there.

        Raises JobConflict when the part that is there holds other units; OSError when the store says no.
        """
        name = PartName(task, chunk_id)
        footer = _footer(name, rows)
        if self._store.put_if_absent(name.key, _sealed(rows, footer)):
            return "committed"
        with self._store.open(name.key) as file:
            try:
                _, there = sealed.opened(file)
            except sealed.Broken as error:
                raise self._no_part(name.key, error) from error
        if there != footer:
            raise JobConflict(
                f"{self._store.address}/{name.key} is there and holds other units than this attempt: "
                f"{there} against {footer}"
            )
        return "duplicate"

    def revise(self, part: Part, rows: pa.Table) -> None:
        """Other answers to the same units take the place of a part.

        Raises JobConflict when the units differ, or when someone else has revised it since it was read; OSError.
        """
        name = PartName(part.name.task, part.name.chunk_id, part.name.revision + 1)
        footer = _footer(name, rows)
        if any(part.footer[key] != footer[key] for key in ("rows", "identity")):
            raise JobConflict(
                f"{self._store.address}/{part.name.key} holds other units than what would take its place: "
                f"{part.footer} against {footer}"
            )
        if not self._store.put_if_absent(name.key, _sealed(rows, footer)):
            raise JobConflict(f"{self._store.address}/{part.name.key} was replaced by someone else since it was read")

    def tasks(self) -> list[str]:
        """Those that have a part."""
        return sorted({name.task for name in self._names(PARTS)})

    def parts(self, task: str, slice_: int | None = None) -> dict[str, PartName]:
        """By chunk_id, each in its last revision; of one slice of the results, or of all."""
        return {chunk_id: names[-1] for chunk_id, names in self.revisions(task, slice_).items()}

    def last(self, task: str, chunk_id: str) -> PartName:
        """The last revision of a part. Raises JobConflict where the log has none."""
        try:
            return self.parts(task, ChunkId.of(chunk_id).slice)[chunk_id]
        except (KeyError, ValueError):
            raise JobConflict(f"{self._store.address} has no part {chunk_id} of {task}") from None

    def put_beside(self, key: str, data: bytes) -> None:
        """A file of the job's store that no row is read from; the last writer wins. Raises OSError."""
        overwrite(self._store, key, data)

    def read(self, name: PartName, columns: Sequence[str] | None = None) -> Part:
        """With the columns that it was written with. Raises JobConflict when it is not one of ours; OSError."""
        with self._store.open(name.key) as file:
            try:
                rows, footer = sealed.read_checked(file, columns)
            except sealed.Broken as error:
                raise self._no_part(name.key, error) from error
        if (there := name_in(footer)) != name:
            raise self._no_part(name.key, ValueError(f"it is {there or 'something else'}"))
        return Part(name, rows, footer)

    def read_all(self, names: Sequence[PartName]) -> Iterator[Part]:
        """In order; several at once where a store answers over a network."""
        if not is_remote(self._store.address):
            yield from map(self.read, names)
            return
        with ThreadPoolExecutor(READS, thread_name_prefix="parts") as executor:
            yield from executor.map(self.read, names)

    def revisions(self, task: str, slice_: int | None = None) -> dict[str, list[PartName]]:
        """All that is there, by chunk_id, the last at last."""
        there: dict[str, list[PartName]] = {}
        for name in sorted(self._names(folder_of(task, slice_)), key=lambda name: name.revision):
            there.setdefault(name.chunk_id, []).append(name)
        return there

    def delete(self, name: PartName) -> None:
        """With all that it took the place of. Without it in the results too, the chunk is open again."""
        for revision in range(name.revision + 1):  # the last at last: an older one is never seen in its place
            self._store.delete(PartName(name.task, name.chunk_id, revision).key)

    def _names(self, folder: str) -> Iterator[PartName]:
        for key in self._store.list(folder):
            if (name := PartName.of(key)) is not None:
                yield name

    def _no_part(self, key: str, error: Exception) -> JobConflict:
        return JobConflict(
            f"{self._store.address}/{key} is not a part that sightread wrote ({error}); `sightread verify "
            f"{self._store.address} --repair` mends it"
        )


def folder_of(task: str, slice_: int | None = None) -> str:
    return f"{PARTS}/task={task}" if slice_ is None else f"{PARTS}/task={task}/{slice_:05d}"


def name_in(footer: dict[str, Any]) -> PartName | None:
    """Of the part that bears this footer; None where it is none of a part."""
    task, chunk_id, revision = (footer.get(key) for key in ("task", "chunk_id", "revision"))
    if not (isinstance(task, str) and isinstance(chunk_id, str) and isinstance(revision, int)):
        return None
    name = PartName(task, chunk_id, revision)
    try:
        return PartName.of(name.key)
    except ValueError:
        return None


def _footer(name: PartName, rows: pa.Table) -> dict[str, Any]:
    return {
        "chunk_id": name.chunk_id,
        "task": name.task,
        "revision": name.revision,
        "rows": rows.num_rows,
        "identity": identity_of(rows),
    }


def _sealed(rows: pa.Table, footer: dict[str, Any]) -> memoryview:
    """A part is read whole, by whoever makes the view."""
    return sealed.sealed(rows, footer, for_queries=False)


def identity_of(rows: pa.Table) -> str:
    """What attempts at a chunk must agree on: the units they answer; the answers may be sampled."""
    columns = (rows.column(name).to_pylist() for name in ("input_id", "unit_index", "request_index"))
    text = "\n".join(f"{input_id} {unit} {request}" for input_id, unit, request in zip(*columns, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()
