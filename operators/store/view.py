"""The results of a job as readers see them: of each task a file for every slice of the inputs, made from the log.

    results/task=<task>/part-<slice>.parquet

At every moment a unit has at most one row in it. Publishing takes what the log has and the file lacks, and replaces the
file only if it is still the one that was read: any process may do it, at any time, again and again, and nothing but the
log decides what comes out. The file's footer lists the chunks that it holds, and those whose parts were pruned from the
log, which no late part of the same name can ever change. Knows nothing of Ray or of what the rows say.

Which of several rows of a unit is shown: one of the last generation that asked for it (a changed input, a task that was
done anew); of these an answer before a failure; of these the last attempt. What a changed input no longer has is gone
with the first row that tells so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from operators.store import sealed
from operators.store.chunk_id import ChunkId
from operators.store.part_log import Part, PartLog, PartName
from operators.store.store import Store
from schemas import tables
from schemas.errors import JobConflict

RESULTS = "results"
_KEY = re.compile(rf"{RESULTS}/task=([^/]*)/part-(\d{{5,}})\.parquet", re.ASCII)
_ORDER = ("input_uri", "input_id", "unit_index", "request_index")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """What a file of the view says that it holds: the last revision of each chunk, by chunk_id. pruned: those of them
    that the log may lack."""

    chunks: dict[str, int] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)

    def has(self, name: PartName) -> bool:
        return self.chunks.get(name.chunk_id, -1) >= name.revision


@dataclass(frozen=True)
class Slice:
    """As it was read. version: of the file."""

    rows: pa.Table
    held: Held
    version: str


class View:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._log = PartLog(store)

    def slices(self, task: str) -> list[int]:
        """Of which there is a file."""
        keys = (_KEY.fullmatch(key) for key in self._store.list(f"{RESULTS}/task={task}"))
        return [int(key[2]) for key in keys if key is not None]

    def tasks(self) -> list[str]:
        return sorted({key[1] for key in map(_KEY.fullmatch, self._store.list(RESULTS)) if key is not None})

    def held(self, task: str, slice_: int) -> Held:
        """Of the footer alone; nothing where there is no file. Raises JobConflict for one that is none of ours."""
        key = key_of(task, slice_)
        try:
            with self._store.open(key) as file:
                _, footer = sealed.opened(file)
        except FileNotFoundError:
            return Held()
        except sealed.Broken as error:
            raise self._no_file(key, error) from error
        return _held(footer)

    def committed(self, task: str) -> set[str]:
        """The chunk_id of every chunk that is in the log or in the view."""
        there = set(self._log.parts(task))
        for slice_ in self.slices(task):
            there |= self.held(task, slice_).chunks.keys()
        return there

    def publish(self, task: str, slice_: int) -> bool:
        """Take in what the log has; whether there was anything. Raises JobConflict, OSError."""
        return self._swap(task, slice_, lambda former, parts: self._grown(former, parts))

    def parts(self, task: str, slice_: int) -> Iterator[Part]:
        """Those of a slice, from the log; what was pruned from it, as far as it is shown. Raises JobConflict."""
        logged = self._log.parts(task, slice_)
        there = self.read(task, slice_)
        for chunk_id, revision in there.held.pruned.items() if there is not None else ():
            if there is not None and chunk_id not in logged:
                rows = there.rows.filter(pa.array([row == chunk_id for row in _chunk_ids(there.rows)], pa.bool_()))
                yield Part.of(PartName(task, chunk_id, revision), rows)
        yield from self._log.read_all(list(logged.values()))

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
        """Make a file that is gone or broken from the log alone: what was pruned is lost with it. Raises OSError."""
        key = key_of(task, slice_)
        rows, held = self._anew(Slice(_nothing(), Held(), ""), self._log.parts(task, slice_), frozenset())
        self._store.delete(key)
        if held.chunks:
            self._store.put_if_absent(key, _file(task, slice_, rows, held))

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
        """None where there is no file. Raises JobConflict for one that is none of ours."""
        key = key_of(task, slice_)
        if (there := self._store.stat(key)) is None:
            return None
        try:
            with self._store.open(key) as file:
                parquet, footer = sealed.opened(file)
                return Slice(parquet.read().replace_schema_metadata(None), _held(footer), there.version)
        except FileNotFoundError:
            return None
        except (sealed.Broken, pa.ArrowException, OSError) as error:
            raise self._no_file(key, error) from error

    def _swap(
        self,
        task: str,
        slice_: int,
        change: Callable[[Slice, dict[str, PartName]], tuple[pa.Table, Held] | None],
    ) -> bool:
        """Replace a file by what a change makes of it and the log; again while others replace it too."""
        key = key_of(task, slice_)
        while True:
            former = self.read(task, slice_)
            changed = change(former or Slice(_nothing(), Held(), ""), self._log.parts(task, slice_))
            if changed is None or (former is None and not changed[1].chunks):
                return False
            data = _file(task, slice_, *changed)
            if former is None:
                done = self._store.put_if_absent(key, data)
            else:
                done = self._store.replace_if_same(key, data, former.version)
            if done:
                _log.debug("%s: %d rows of %d chunks", key, changed[0].num_rows, len(changed[1].chunks))
                return True

    def _grown(self, former: Slice, parts: dict[str, PartName]) -> tuple[pa.Table, Held] | None:
        new = {chunk_id: name for chunk_id, name in parts.items() if not former.held.has(name)}
        if not new:
            return None
        if new.keys() & former.held.chunks.keys() and former.held.chunks.keys() - former.held.pruned <= parts.keys():
            return self._anew(former, parts, frozenset())  # an answer that was revised may lose its place to another
        return _merged(former, list(self._log.read_all(list(new.values()))), former.held.pruned)

    def _anew(self, former: Slice, parts: dict[str, PartName], without: frozenset[str]) -> tuple[pa.Table, Held]:
        kept = {
            chunk_id: revision
            for chunk_id, revision in former.held.pruned.items()
            if chunk_id not in without and (chunk_id not in parts or parts[chunk_id].revision <= revision)
        }
        only_here = former.rows.filter(pa.array([row in kept for row in _chunk_ids(former.rows)], pa.bool_()))
        base = Slice(only_here, Held(kept), former.version)
        names = [name for chunk_id, name in parts.items() if chunk_id not in without and chunk_id not in kept]
        return _merged(base, list(self._log.read_all(names)), kept)

    def _no_file(self, key: str, error: Exception) -> JobConflict:
        return JobConflict(
            f"{self._store.address}/{key} is not as sightread wrote it ({error}); `sightread verify "
            f"{self._store.address} --repair` mends it"
        )


def key_of(task: str, slice_: int) -> str:
    return f"{RESULTS}/task={task}/part-{slice_:05d}.parquet"


def _file(task: str, slice_: int, rows: pa.Table, held: Held) -> memoryview:
    footer = {"task": task, "slice": slice_, "rows": rows.num_rows, "chunks": held.chunks, "pruned": held.pruned}
    return sealed.sealed(rows, footer)


def _held(footer: dict[str, Any]) -> Held:
    chunks, pruned = footer.get("chunks"), footer.get("pruned")
    return Held(chunks if isinstance(chunks, dict) else {}, pruned if isinstance(pruned, dict) else {})


def _nothing() -> pa.Table:
    return tables.results_schema(pa.null(), []).empty_table()


def _chunk_ids(rows: pa.Table) -> list[str]:
    ids: list[str] = rows.column("chunk_id").to_pylist()
    return ids


def _merged(former: Slice, new: Sequence[Part], pruned: dict[str, int]) -> tuple[pa.Table, Held]:
    """The rows of a file with those of parts, and what it holds then."""
    revised = {part.name.chunk_id for part in new}
    kept = former.rows.filter(pa.array([row not in revised for row in _chunk_ids(former.rows)], pa.bool_()))
    chunks = former.held.chunks | {part.name.chunk_id: part.name.revision for part in new}
    rows = shown([kept, *(part.rows for part in new)])
    return rows, Held(dict(sorted(chunks.items())), dict(sorted(pruned.items())))


def shown(pieces: Sequence[pa.Table]) -> pa.Table:
    """Of several rows of a unit the one that readers see, in order of the inputs.

    Rows whose result has another type than those of the last generation are left out: their task is being done anew.
    Raises JobConflict where columns that came along do not fit together.
    """
    pieces = [piece.replace_schema_metadata(None) for piece in pieces if piece.num_rows]
    if not pieces:
        return _nothing()
    last = max(pieces, key=lambda piece: max(piece.column("generation").to_pylist())).schema.field("result").type
    pieces = [piece for piece in pieces if piece.schema.field("result").type == last]
    rows = pa.concat_tables(_of_one_schema(pieces))
    return rows.take(pa.array(_places(rows), pa.int64()))


def _of_one_schema(pieces: Sequence[pa.Table]) -> list[pa.Table]:
    """Raises JobConflict."""
    try:
        schema = pa.unify_schemas(list(dict.fromkeys(piece.schema for piece in pieces)), promote_options="permissive")
        return [with_schema(piece, schema) for piece in pieces]
    except pa.ArrowException as error:
        raise JobConflict(f"the rows of two parts do not fit together: {error}") from error


def with_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Columns that the table lacks are null."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.schema.names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _places(rows: pa.Table) -> list[int]:
    """Of the rows that are shown, in their order."""
    names = ("input_id", "unit_index", "request_index", "generation", "attempt", "status", "unit_count", "chunk_id")
    plain = list(zip(*(rows.column(name).to_pylist() for name in names), strict=True))
    newest: dict[str, tuple[int, int]] = {}  # input -> generation, units that it has there
    of_unit: dict[tuple[str, int], int] = {}  # unit -> generation
    for input_id, unit, _, generation, *_, unit_count, _ in plain:
        newest[input_id] = max(newest.get(input_id, (-1, 0)), (generation, unit_count))
        of_unit[input_id, unit] = max(of_unit.get((input_id, unit), -1), generation)
    best: dict[tuple[str, int, int], tuple[Any, ...]] = {}
    for place, (input_id, unit, request, generation, attempt, status, _, chunk_id) in enumerate(plain):
        if generation < of_unit[input_id, unit]:
            continue
        if generation < newest[input_id][0] and unit >= newest[input_id][1]:
            continue
        rank = (status == "ok", attempt, chunk_id, place)
        best[input_id, unit, request] = max(best.get((input_id, unit, request), ()), rank)
    places = [rank[-1] for rank in best.values()]
    keys = list(zip(*(rows.column(name).to_pylist() for name in _ORDER), strict=True))
    return sorted(places, key=keys.__getitem__)
