"""Whether the files of a log and its view are as they were written, and say the same: read to their last byte, a slice
of a task at a time. Changes nothing; knows no plan.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from operators.store import sealed
from operators.store.chunk_id import ChunkId
from operators.store.part_log import PARTS, PartLog, PartName, identity_of, name_in
from operators.store.shown import Piece, shown
from operators.store.store import Store
from operators.store.view import RESULTS, Held, Slice, held_in, key_of, place_of
from schemas.errors import JobConflict

_UNIT = ("input_id", "unit_index", "request_index")
Place = tuple[str, int]
"""Of a file of results: task and slice."""


@dataclass(frozen=True)
class Finding:
    """key: of the file. is_note: of what is no fault, and goes on by itself."""

    key: str
    text: str
    is_note: bool = False


@dataclass
class Inventory:
    """What lies in the folders of the log and the view. strangers: keys that no file of ours has."""

    parts: dict[Place, list[PartName]] = field(default_factory=dict)
    files: set[Place] = field(default_factory=set)
    strangers: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, store: Store) -> Inventory:
        there = cls()
        for key in store.list(PARTS):
            if (name := PartName.of(key)) is None:
                there.strangers.append(key)
            else:
                there.parts.setdefault((name.task, ChunkId.of(name.chunk_id).slice), []).append(name)
        for key in store.list(RESULTS):  # behind the log: what was pruned meanwhile is noted in the file by then
            if (place := place_of(key)) is None:
                there.strangers.append(key)
            else:
                there.files.add(place)
        return there

    @property
    def places(self) -> list[Place]:
        return sorted(self.parts.keys() | self.files)


@dataclass
class Checked:
    """A slice of a task. parts: those that are intact. broken: why others are not. file: None where there is none, or
    it is not as it was written. lacking: chunks that the file holds and the log should. differs: how the file is
    otherwise than log and footer say. unpublished: what the log has and the file has not."""

    place: Place
    parts: dict[PartName, pa.Table] = field(default_factory=dict)
    broken: dict[PartName, str] = field(default_factory=dict)
    file: Slice | None = None
    file_fault: str | None = None
    lacking: list[str] = field(default_factory=list)
    differs: str | None = None
    unpublished: list[PartName] = field(default_factory=list)

    @property
    def key(self) -> str:
        return key_of(*self.place)

    @property
    def held(self) -> Held:
        return self.file.held if self.file is not None else Held()

    def last(self) -> dict[str, PartName]:
        """The last revision that is intact, by chunk_id."""
        return {name.chunk_id: name for name in sorted(self.parts, key=lambda name: name.revision)}

    @property
    def is_sound(self) -> bool:
        return not (self.broken or self.file_fault or self.lacking or self.differs)

    def findings(self) -> Iterator[Finding]:
        for name, reason in self.broken.items():
            yield Finding(name.key, reason)
        if self.file_fault is not None:
            yield Finding(self.key, self.file_fault)
        for chunk_id in self.lacking:
            name = PartName(self.place[0], chunk_id, self.held.chunks[chunk_id])
            yield Finding(name.key, f"it is gone, and {self.key} holds its rows")
        if self.differs is not None:
            yield Finding(self.key, self.differs)
        if self.unpublished and self.file_fault is None:
            yield Finding(self.key, f"{len(self.unpublished)} parts of the log are not in it yet", is_note=True)


def check_slice(
    store: Store, place: Place, parts: Sequence[PartName] | None, *, floor: int, executor: Executor
) -> Checked:
    """parts: None: as they are now. floor: the round from which on a part must show in a file. Raises OSError,
    StoreLost."""
    checked = Checked(place)
    reading = executor.submit(_file, store, place)
    if parts is None:  # behind the file: what it holds was in the log before
        reading.result()
        parts = [name for names in PartLog(store).revisions(*place).values() for name in names]
    expected = any(ChunkId.of(name.chunk_id).round >= floor for name in parts)
    for name, read in zip(parts, executor.map(lambda name: _part(store, name), parts), strict=True):
        if isinstance(read, str):
            checked.broken[name] = read
        elif read is not None:
            checked.parts[name] = read
    file = reading.result()
    if isinstance(file, str):
        checked.file_fault = file
    elif file is not None:
        checked.file = file
    elif expected and checked.parts:
        checked.file_fault = f"it is not there, and the log has {len(checked.last())} parts of it"
    checked.unpublished = [name for name in checked.last().values() if not checked.held.has(name)]
    if checked.file is not None:
        names = {chunk_id: name.revision for chunk_id, name in _last(parts).items()}
        checked.lacking = [
            chunk_id
            for chunk_id, revision in checked.held.chunks.items()
            if chunk_id not in checked.held.pruned and names.get(chunk_id, -1) < revision
        ]
        checked.differs = _difference(checked, checked.file)
    return checked


def owner_of(store: Store, key: str) -> tuple[str, memoryview] | None:
    """Under which key a file belongs that lies elsewhere, by its intact seal and footer, and its bytes; None for what
    is none of ours. Raises OSError, StoreLost."""
    with store.open(key) as file:
        try:  # the footer first: a stranger's file may be large
            _, footer = sealed.opened(file)
            file.seek(0)
            data = memoryview(file.read())
            sealed.check_seal(data)
        except sealed.Broken:
            return None
    if (name := name_in(footer)) is not None:
        return name.key, data
    task, slice_ = footer.get("task"), footer.get("slice")
    if isinstance(task, str) and isinstance(slice_, int) and place_of(key_of(task, slice_)) == (task, slice_):
        return key_of(task, slice_), data
    return None


def intact(store: Store, key: str) -> bool:
    """Whether a file is there, of the name that its footer says. Raises OSError, StoreLost."""
    try:
        owner = owner_of(store, key)
    except FileNotFoundError:
        return False
    return owner is not None and owner[0] == key


def holds_all(store: Store, key: str, data: memoryview) -> bool:
    """Whether a file of results holds what another does, of which data is all. Raises OSError, StoreLost."""
    held = held_in(sealed.opened(io.BytesIO(data))[1])
    with store.open(key) as file:
        there = held_in(sealed.opened(file)[1])
    return all(there.chunks.get(chunk_id, -1) >= revision for chunk_id, revision in held.chunks.items())


def _last(names: Sequence[PartName]) -> dict[str, PartName]:
    return {name.chunk_id: name for name in sorted(names, key=lambda name: name.revision)}


def _part(store: Store, name: PartName) -> pa.Table | str | None:
    """Its rows; why it has none; None where it is gone by now."""
    try:
        with store.open(name.key) as file:
            rows, footer = sealed.read_checked(file)
    except FileNotFoundError:
        return None
    except sealed.Broken as error:
        return str(error)
    if (there := name_in(footer)) != name:
        return f"it is a copy of {there.key}" if there is not None else "its footer is none of a part"
    try:
        if footer.get("rows") != rows.num_rows or footer.get("identity") != identity_of(rows):
            return "its rows are not those that its footer tells of"
        if _values(rows, "chunk_id") - {name.chunk_id}:
            return "its rows are of another chunk"
    except KeyError as error:
        return f"it lacks the column {error}"
    return rows


def _file(store: Store, place: Place) -> Slice | str | None:
    key = key_of(*place)
    try:
        if (there := store.stat(key)) is None:
            return None
        with store.open(key) as file:
            rows, footer = sealed.read_checked(file)
    except FileNotFoundError:
        return None
    except sealed.Broken as error:
        return str(error)
    if (footer.get("task"), footer.get("slice")) != place:
        return f"its footer says that it is {footer.get('task')}/{footer.get('slice')}"
    held = held_in(footer)
    try:
        keys = list(
            zip(*(rows.column(name).to_pylist() for name in ("input_id", "unit_index", "request_index")), strict=True)
        )
        if footer.get("rows") != rows.num_rows or _values(rows, "chunk_id") - held.chunks.keys():
            return "its rows are not those that its footer tells of"
    except KeyError as error:
        return f"it lacks the column {error}"
    if len(set(keys)) < len(keys):
        return f"{len(keys) - len(set(keys))} units are in it twice"
    if not held.pruned.items() <= held.chunks.items():
        return "its footer contradicts itself"
    return Slice(rows, held, there.version)


def _difference(checked: Checked, file: Slice) -> str | None:
    """Of the file from what comes of the parts that it says it holds; what the log lacks is taken from the file."""
    wanted = {
        PartName(checked.place[0], chunk_id, revision)
        for chunk_id, revision in file.held.chunks.items()
        if chunk_id not in file.held.pruned
    }
    logged = [name for name in checked.parts if name in wanted]
    kept = file.held.chunks.keys() - {name.chunk_id for name in logged}
    base = Slice(file.of_chunks(kept), Held(dict.fromkeys(kept, 0), dict.fromkeys(kept, 0)), "")
    try:
        rows = shown([base.piece(), *(Piece.of(checked.parts[name], name.revision) for name in logged)])
    except JobConflict as error:
        return str(error)
    if rows.num_rows != file.rows.num_rows:
        return f"it has {file.rows.num_rows} rows, and by the log {rows.num_rows}"
    for name in dict.fromkeys([*rows.schema.names, *file.rows.schema.names]):
        if not _same(_column(rows, name), _column(file.rows, name)):
            return f"its column {name} is not what the log says"
    return None


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray | None:
    return rows.column(name) if name in rows.schema.names else None


def _same(one: pa.ChunkedArray | None, other: pa.ChunkedArray | None) -> bool:
    if one is None or other is None:
        there = one if one is not None else other
        return there is None or there.null_count == len(there)
    # of floats NaN is no equal of itself
    return one.equals(other) or repr(one.to_pylist()) == repr(other.to_pylist())


def _values(rows: pa.Table, name: str) -> set[str]:
    return set(pc.unique(rows.column(name)).to_pylist())
