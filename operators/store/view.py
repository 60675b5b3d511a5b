"""The results of a job as readers see them: of each task a file for every slice of the inputs, made from the log.

    results/task=<task>/part-<slice>.parquet

At every moment a unit has at most one row in it. Publishing takes what the log has and the file lacks, and replaces the
file only if it is still the one that was read: any process may do it, at any time, again and again, and nothing but the
log decides what comes out. The file's footer lists the chunks that it holds, and those whose parts were pruned from the
log, which no late part of the same name can ever change. A file is read with its seal, so that nothing broken is ever
written anew as if it were sound. Which of several rows of a unit is shown: operators/store/shown.py. Knows nothing of
Ray or of what the rows say.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from operators.store import sealed
from operators.store.chunk_id import ChunkId
from operators.store.file_columns import footer_of
from operators.store.part_log import Part, PartLog, PartName
from operators.store.shown import Piece, is_late, nothing, shown
from operators.store.store import Store
from schemas.errors import JobConflict

RESULTS = "results"
_KEY = re.compile(rf"{RESULTS}/task=([^/]*)/part-(\d{{5,}})\.parquet", re.ASCII)
_PATIENCE = 5
"""Times that a part which was listed may be gone when it is read."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """What a file of the view says that it holds: the last revision of each chunk, by chunk_id. pruned: those of them
    that the log may lack."""

    chunks: dict[str, int] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)

    def has(self, name: PartName) -> bool:
        return self.chunks.get(name.chunk_id, -1) >= name.revision

    def only_here(self, parts: Mapping[str, PartName]) -> dict[str, int]:
        """The chunks that must be kept from the file, since the log has no such revision of them, or no longer the
        say."""
        return {
            chunk_id: revision
            for chunk_id, revision in self.chunks.items()
            if chunk_id not in parts
            or parts[chunk_id].revision < revision
            or parts[chunk_id].revision <= self.pruned.get(chunk_id, -1)
        }


@dataclass(frozen=True)
class Slice:
    """As it was read. version: of the file."""

    rows: pa.Table
    held: Held
    version: str

    def of_chunks(self, chunk_ids: Collection[str]) -> pa.Table:
        return self.rows.filter(pa.array([row in chunk_ids for row in _chunk_ids(self.rows)], pa.bool_()))

    def piece(self) -> Piece:
        """The rows as they count beside others."""
        named = self.rows.select(["generation", "chunk_id"])
        rank = max(
            (
                (row["generation"], row["chunk_id"] in self.held.pruned, self.held.chunks.get(row["chunk_id"], 0))
                for row in named.group_by(named.schema.names, use_threads=False).aggregate([]).to_pylist()
            ),
            default=Piece(self.rows).rank,
        )
        return Piece(self.rows, rank)


_EMPTY = Slice(nothing(), Held(), "")


class View:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._log = PartLog(store)

    def slices(self, task: str) -> list[int]:
        """Of which there is a file."""
        return sorted(slice_ for _, slice_ in self._places(f"{RESULTS}/task={task}"))

    def tasks(self) -> list[str]:
        return sorted({task for task, _ in self._places(RESULTS)})

    def _places(self, folder: str) -> list[tuple[str, int]]:
        return [place for place in map(place_of, self._store.list(folder)) if place is not None]

    def held(self, task: str, slice_: int) -> Held:
        """Of the footer alone; nothing where there is no file. Raises JobConflict for one that is none of ours."""
        key = key_of(task, slice_)
        try:
            return held_in(footer_of(self._store, key))
        except FileNotFoundError:
            return Held()
        except sealed.Broken as error:
            raise self._no_file(key, error) from error

    def committed(self, task: str) -> set[str]:
        """The chunk_id of every chunk that is in the log or in the view."""
        there = set(self._log.parts(task))
        for slice_ in self.slices(task):
            there |= self.held(task, slice_).chunks.keys()
        return there

    def publish(self, task: str, slice_: int) -> bool:
        """Take in what the log has; whether there was anything. Raises JobConflict, OSError."""
        held = self.held(task, slice_)  # the footer alone: most slices of a large output have nothing new
        if all(map(held.has, self._log.parts(task, slice_).values())):
            return False
        return self._swap(task, slice_, lambda former, parts: self._grown(former, parts))

    def parts(self, task: str, slice_: int) -> Iterator[Part]:
        """Those of a slice, from the log; what was pruned from it, as far as it is shown. Raises JobConflict."""
        there = self.read(task, slice_) or _EMPTY
        logged = self._log.parts(task, slice_)
        kept = there.held.only_here(logged)
        for chunk_id, revision in kept.items():
            yield Part.of(PartName(task, chunk_id, revision), there.of_chunks({chunk_id}))
        yield from self._log.read_all([name for chunk_id, name in logged.items() if chunk_id not in kept])

    def publish_all(self, tasks: Iterable[str], floors: Mapping[str, int]) -> int:
        """Of all slices that the log has parts of, since the rounds in `floors`; how many files were written."""
        written = 0
        for task in tasks:
            chunks = map(ChunkId.of, self._log.parts(task))
            slices = {chunk.slice for chunk in chunks if chunk.round >= floors.get(task, 0)}
            written += sum(self.publish(task, slice_) for slice_ in sorted(slices))
        return written

    def rebuild(self, task: str, slice_: int, *, without: Sequence[str] = ()) -> bool:
        """Make a file anew from the log, with what only the file has by now. without: chunks that are open again."""
        return self._swap(task, slice_, lambda former, parts: self._anew(former, parts, frozenset(without)))

    def restore(self, task: str, slice_: int) -> None:
        """Make a file that is gone or broken from the log alone: what was pruned is lost with it. Raises JobConflict,
        OSError."""
        key = key_of(task, slice_)
        while True:
            there = self._store.stat(key)
            rows, held = self._anew(_EMPTY, self._log.parts(task, slice_), frozenset())
            if not held.chunks:
                self._store.delete(key)
                return
            data = _file(task, slice_, rows, held)
            if (
                self._store.put_if_absent(key, data)
                if there is None
                else self._store.replace_if_same(key, data, there.version)
            ):
                return

    def prune(self, task: str, slice_: int, chunk_ids: Iterable[str]) -> None:
        """Note that the log may lack these chunks, which the file holds. Before they are deleted."""
        names = frozenset(chunk_ids)

        def noted(former: Slice, _: dict[str, PartName]) -> tuple[pa.Table, Held] | None:
            more = {name: former.held.chunks[name] for name in names & former.held.chunks.keys()}
            if more.items() <= former.held.pruned.items():
                return None
            return former.rows, Held(former.held.chunks, former.held.pruned | more)

        self._swap(task, slice_, noted)

    def retire(self, task: str, before: int) -> None:
        """Take the files of a task away that hold only chunks of rounds before this one: its rows are to be of another
        type from then on. Raises JobConflict."""
        for slice_ in self.slices(task):
            if all(ChunkId.of(chunk_id).round < before for chunk_id in self.held(task, slice_).chunks):
                self._store.delete(key_of(task, slice_))

    def read(self, task: str, slice_: int) -> Slice | None:
        """None where there is no file. Raises JobConflict for one that is not as it was written; OSError."""
        key = key_of(task, slice_)
        if (there := self._store.stat(key)) is None:
            return None
        try:
            with self._store.open(key) as file:
                rows, footer = sealed.read_checked(file)
        except FileNotFoundError:
            return None
        except sealed.Broken as error:
            raise self._no_file(key, error) from error
        if (footer.get("task"), footer.get("slice")) != (task, slice_):
            raise self._no_file(key, ValueError(f"it is of {footer.get('task')}/{footer.get('slice')}"))
        return Slice(rows, held_in(footer), there.version)

    def _swap(
        self,
        task: str,
        slice_: int,
        change: Callable[[Slice, dict[str, PartName]], tuple[pa.Table, Held] | None],
    ) -> bool:
        """Replace a file by what a change makes of it and the log; again while others replace it too."""
        key = key_of(task, slice_)
        vanished = 0
        while True:
            former = self.read(task, slice_)
            try:
                changed = change(former or _EMPTY, self._log.parts(task, slice_))
            except FileNotFoundError:  # a part that was taken out since it was listed
                if (vanished := vanished + 1) > _PATIENCE:
                    raise
                continue
            if changed is None or (former is None and not changed[1].chunks):
                return False
            data = _file(task, slice_, *changed)
            if former is None:
                done = self._store.put_if_absent(key, data)
            else:
                done = self._store.replace_if_same(key, data, former.version)
            if done:
                _log.debug("%s: %d rows of %d chunks", key, changed[0].num_rows, len(changed[1].chunks))
                del former, changed, data
                # Arrow keeps what it let go, for this thread alone: 70 MB of a slice of 32,768 small rows
                pa.default_memory_pool().release_unused()
                return True

    def _grown(self, former: Slice, parts: dict[str, PartName]) -> tuple[pa.Table, Held] | None:
        new = {chunk_id: name for chunk_id, name in parts.items() if not former.held.has(name)}
        if not new:
            return None
        if new.keys() & former.held.chunks.keys():
            return self._anew(former, parts, frozenset())  # an answer that was revised may lose its place to another
        read = list(self._log.read_all(list(new.values())))
        if any(is_late(former.rows, part.rows) for part in read):
            return self._anew(former, parts, frozenset())
        return _merged(former, read, former.held.pruned)

    def _anew(self, former: Slice, parts: dict[str, PartName], without: frozenset[str]) -> tuple[pa.Table, Held]:
        kept = {chunk_id: held for chunk_id, held in former.held.only_here(parts).items() if chunk_id not in without}
        pruned = {chunk_id: revision for chunk_id, revision in former.held.pruned.items() if chunk_id in kept}
        base = Slice(former.of_chunks(kept), Held(kept, kept), former.version)
        new = [name for chunk_id, name in parts.items() if chunk_id not in without and chunk_id not in kept]
        return _merged(base, list(self._log.read_all(new)), pruned)

    def _no_file(self, key: str, error: Exception) -> JobConflict:
        return JobConflict(
            f"{self._store.address}/{key} is not as sightread wrote it ({error}); `sightread verify "
            f"{self._store.address} --repair` mends it"
        )


def key_of(task: str, slice_: int) -> str:
    return f"{RESULTS}/task={task}/part-{slice_:05d}.parquet"


def place_of(key: str) -> tuple[str, int] | None:
    """Task and slice; None for a key that no file of the view has."""
    if (form := _KEY.fullmatch(key)) is None or key_of(form[1], int(form[2])) != key:
        return None
    return form[1], int(form[2])


def _file(task: str, slice_: int, rows: pa.Table, held: Held) -> memoryview:
    footer = {"task": task, "slice": slice_, "rows": rows.num_rows, "chunks": held.chunks, "pruned": held.pruned}
    return sealed.sealed(rows, footer)


def held_in(footer: dict[str, Any]) -> Held:
    chunks, pruned = footer.get("chunks"), footer.get("pruned")
    return Held(_revisions(chunks), _revisions(pruned))


def _revisions(value: Any) -> dict[str, int]:
    return value if isinstance(value, dict) and all(isinstance(number, int) for number in value.values()) else {}


def _merged(base: Slice, new: Sequence[Part], pruned: dict[str, int]) -> tuple[pa.Table, Held]:
    """The rows of a file with those of parts, and what it holds then."""
    rows = shown([base.piece(), *(Piece.of(part.rows, part.name.revision) for part in new)])
    chunks = base.held.chunks | {part.name.chunk_id: part.name.revision for part in new}
    return rows, Held(dict(sorted(chunks.items())), dict(sorted(pruned.items())))


def _chunk_ids(rows: pa.Table) -> list[str]:
    ids: list[str] = rows.column("chunk_id").to_pylist()
    return ids
