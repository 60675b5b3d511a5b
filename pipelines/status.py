"""How a job stands, read from its output alone, also while a run goes on: what was asked for, what is there, who works
at it. Needs no inputs, no engine and none of the job's tasks; changes nothing. Knows no terminal.

Units are counted by the chunk manifests, by listings and by footers; rows by six columns of the files that readers
see. What is read while others write is of slightly different moments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from operators.store.chunk_id import ChunkId
from operators.store.lease import holder_of, is_beating
from operators.store.part_log import PARTS, PartName
from operators.store.results import Results
from operators.store.store import Store, sizes
from operators.store.view import RESULTS, Held, View
from pipelines.event_log import read_events, read_progress
from pipelines.folder import JobFolder
from pipelines.rounds import Round, definitions, manifests_of
from pipelines.summary.utilization import UtilizationSummary
from schemas.address import is_remote
from schemas.errors import JobConflict, SpecError
from schemas.state import STATES, faults, states

EVENTS = 10
READS = 8
"""Manifests and footers that are read at once where a store answers over a network."""
_TRIES = 3
"""At a file that is replaced while it is read."""
_COLUMNS = ("chunk_id", "attempt", "status", "error", "model", "verified")
_COUNTED = ("chunk_id", "attempt", "state", "kind", "model")
_T = TypeVar("_T")
_U = TypeVar("_U")


@dataclass
class Units:
    """Planned, one for each task that takes it: those that readers see, that only the log has by now, and the rest."""

    planned: int = 0
    published: int = 0
    unpublished: int = 0
    open: int = 0

    def add(self, units: int, place: str) -> None:
        """place: published, unpublished or open."""
        self.planned += units
        setattr(self, place, getattr(self, place) + units)


@dataclass
class Rows:
    """That readers see. ok: with an answer; states: by how far they can be believed (schemas/state.py); failed: by
    kind."""

    rows: int = 0
    ok: int = 0
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    failed: dict[str, int] = field(default_factory=dict)

    def add(self, rows: int, state: str, kind: str | None) -> None:
        """kind: of a failure."""
        self.rows += rows
        self.states[state] += rows
        self.ok += rows if state != "failed" else 0
        if state == "failed":
            kind = kind or "unknown"
            self.failed[kind] = self.failed.get(kind, 0) + rows


@dataclass
class TaskStatus:
    """again: units that were asked once more, beside those that were planned. faults: doubtful rows by what is wrong
    with them. retried_rows: that an attempt after the first answered. models: rows by the model that answered."""

    units: Units = field(default_factory=Units)
    again: Units = field(default_factory=Units)
    rows: Rows = field(default_factory=Rows)
    faults: dict[str, int] = field(default_factory=dict)
    retried_rows: int = 0
    models: dict[str, int] = field(default_factory=dict)


@dataclass
class RoundStatus:
    """about: what it is about; `again`: inputs that the job had before. inputs: of it, 0 for a retry. manifests,
    expected: chunk manifests that are there, of those that there will be: fewer while the run still plans. units: that
    it asks for, whatever a later round asks anew. rows: that readers see of it."""

    number: int
    kind: str
    began: str
    by: str
    tasks: list[str]
    about: dict[str, int]
    inputs: int = 0
    manifests: int = 0
    expected: int = 0
    units: Units = field(default_factory=Units)
    rows: Rows = field(default_factory=Rows)


@dataclass
class Files:
    """unpublished: parts of the log that no file of the results holds yet."""

    files: int
    bytes: int
    unpublished: int = 0


@dataclass(frozen=True)
class Status:
    """job: the name in the last spec; None where nothing was asked for yet. holder: of the lease, and whether its heart
    `beats`. progress: what the last run wrote down of itself, with its `age_s`. utilization: of the last run that asked
    an engine. problems: files that are not as they were written."""

    output: str
    job: str | None
    holder: dict[str, Any] | None
    progress: dict[str, Any] | None
    utilization: UtilizationSummary | None
    inputs: dict[str, Any]
    tasks: dict[str, TaskStatus]
    rounds: list[RoundStatus]
    log: Files
    view: Files
    problems: list[str]
    events: list[dict[str, Any]]

    @property
    def planning(self) -> bool:
        """Whether inputs are not cut into chunks yet: the units are more than is counted."""
        return any(round_.manifests < round_.expected for round_ in self.rounds)


@dataclass(frozen=True)
class _Chunk:
    """units: by input and generation."""

    id: ChunkId
    tasks: list[str]
    units: dict[tuple[str, int], int]
    again: bool


def status_of(store: Store, *, events: int = EVENTS) -> Status:
    """events: of the last ones, how many. Raises SpecError where no job is, JobConflict for one of another version or
    manifests that are broken; OSError, StoreLost."""
    folder = JobFolder(store)
    folder.open()
    rounds = folder.rounds()
    listing = folder.read_listing()
    ids = _Ids(folder)
    shown = [_round(folder, round_, ids, manifests_of(rounds)) for round_ in rounds]
    chunks = [chunk for round_ in shown for chunk in _chunks(store, folder, round_)]
    logged = sizes(store, PARTS)
    seen = sizes(store, RESULTS)
    names = sorted({*definitions(rounds), *View(store).tasks()})
    tasks = {name: TaskStatus() for name in names}
    problems: list[str] = []
    of_log = _last(logged)
    held = {name: _held(store, name, problems) for name in names}
    _count_units(chunks, tasks, shown, of_log, held)
    for name in names:
        try:
            counted, by_fault = _again(partial(_rows, store, name))
            tasks[name].faults = dict(by_fault.most_common())
            _count_rows(tasks[name], shown, counted)
        except JobConflict as error:
            problems.append(f"{error}")
    progress = _progress(store)
    waiting = sum(not _holds(held.get(name.task, {}), name) for name in of_log.values())
    return Status(
        output=store.address,
        job=str(rounds[-1].spec.get("name")) if rounds else None,
        holder=_holder(store),
        progress=progress,
        utilization=_utilization(progress, folder),
        inputs={"asked": len(ids.of(manifests_of(rounds))), "listing": listing or None},
        tasks=tasks,
        rounds=shown,
        log=Files(len(logged), sum(logged.values()), waiting),
        view=Files(len(seen), sum(seen.values())),
        problems=list(dict.fromkeys(problems)),
        events=read_events(store, events) if events else [],
    )


# what was asked for


class _Ids:
    """The inputs of manifests, each read once."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._known: dict[int, set[str]] = {}

    def of(self, manifests: Iterable[int]) -> set[str]:
        ids: set[str] = set()
        for number in manifests:
            if number not in self._known:
                self._known[number] = set(self._folder.read_ids(number).to_pylist())
            ids |= self._known[number]
        return ids


def _round(folder: JobFolder, round_: Round, ids: _Ids, manifests: Sequence[int]) -> RoundStatus:
    """manifests: of the job; those of before it count."""
    inputs, about = ids.of(round_.manifests), dict(round_.counts)
    if round_.kind in ("first", "inputs"):  # they are listed while it goes on
        before = ids.of(number for number in manifests if number < round_.number)
        counts = {"new": len(inputs - before), "again": len(inputs & before)}
        about |= {what: number for what, number in counts.items() if number}
    return RoundStatus(
        *(round_.number, round_.kind, round_.began, round_.by, sorted(round_.tasks), about),
        inputs=len(inputs),
        expected=round_.chunk_files or folder.chunk_files(round_),
    )


def _chunks(store: Store, folder: JobFolder, round_: RoundStatus) -> Iterator[_Chunk]:
    """Of a round, as far as it is planned; counts the manifests that are there."""

    planned = sorted(index for index in folder.planned(round_.number) if index < round_.expected)
    round_.manifests = len(planned)
    for table in _in_order(store, partial(folder.read_chunks, round_.number), planned):
        columns = (table.column(key).to_pylist() for key in ("chunk_id", "tasks"))
        for chunk_id, tasks, units in zip(*columns, table.column("units"), strict=True):
            fields = [units.values.field(key).to_pylist() for key in ("input_id", "generation")]
            again = max(units.values.field("attempt").to_pylist(), default=1) > 1
            yield _Chunk(ChunkId.of(chunk_id), tasks, Counter(zip(*fields, strict=True)), again)


def _count_units(
    chunks: Sequence[_Chunk],
    tasks: dict[str, TaskStatus],
    rounds: Sequence[RoundStatus],
    of_log: dict[tuple[str, str], PartName],
    held: dict[str, dict[int, Held]],
) -> None:
    latest: dict[tuple[str, str], int] = {}
    for chunk in chunks:
        for name in chunk.tasks:
            for input_id, generation in chunk.units:
                latest[name, input_id] = max(latest.get((name, input_id), -1), generation)
    for chunk in chunks:
        for name in chunk.tasks:
            if name not in tasks:
                continue
            slice_ = held[name].get(chunk.id.slice, Held())
            logged = (name, str(chunk.id)) in of_log
            place = "published" if str(chunk.id) in slice_.chunks else "unpublished" if logged else "open"
            units = chunk.units.items()
            current = sum(number for (input_id, generation), number in units if latest[name, input_id] == generation)
            (tasks[name].again if chunk.again else tasks[name].units).add(current, place)
            # what a later round asks anew is open in no round
            every = current if place == "open" else sum(chunk.units.values())
            rounds[chunk.id.round].units.add(every, place)


# what is there


def _last(keys: Iterable[str]) -> dict[tuple[str, str], PartName]:
    """Parts of the log by task and chunk_id, each in its last revision."""
    last: dict[tuple[str, str], PartName] = {}
    for name in filter(None, map(PartName.of, keys)):
        place = name.task, name.chunk_id
        if place not in last or last[place].revision < name.revision:
            last[place] = name
    return last


def _held(store: Store, task: str, problems: list[str]) -> dict[int, Held]:
    """By slice, what the files of a task hold."""
    view = View(store)
    slices = view.slices(task)

    def read(slice_: int) -> Held | JobConflict:
        try:
            return _again(lambda: view.held(task, slice_))
        except JobConflict as error:
            return error

    held = {}
    for slice_, there in zip(slices, _in_order(store, read, slices), strict=True):
        if isinstance(there, Held):
            held[slice_] = there
        else:
            problems.append(f"{there}")
    return held


def _holds(held: dict[int, Held], name: PartName) -> bool:
    return held.get(ChunkId.of(name.chunk_id).slice, Held()).has(name)


def _rows(store: Store, task: str) -> tuple[Counter[tuple[str, int, str, str | None, str]], Counter[str]]:
    """Rows of a task by chunk, attempt, state, kind of failure and model; those in doubt by fault. Raises
    JobConflict."""
    counted: Counter[tuple[str, int, str, str | None, str]] = Counter()
    by_fault: Counter[str] = Counter()
    try:
        for batch in Results(store).rows(task, _COLUMNS):
            columns = {name: batch.column(name) for name in ("chunk_id", "attempt", "model")}
            columns |= {"state": states(batch), "kind": pc.struct_field(batch.column("error"), "kind")}
            grouped = pa.table(columns).group_by([*_COUNTED])
            for row in grouped.aggregate([([], "count_all")]).to_pylist():
                counted[row["chunk_id"], row["attempt"], row["state"], row["kind"], row["model"]] += row["count_all"]
            by_fault.update(faults(batch))
    except (pa.ArrowException, ValueError) as error:
        raise JobConflict(f"{Results(store).folder}: the files of {task} cannot be read: {error}") from error
    return counted, by_fault


def _count_rows(
    task: TaskStatus, rounds: Sequence[RoundStatus], counted: Counter[tuple[str, int, str, str | None, str]]
) -> None:
    for (chunk_id, attempt, state, kind, model), rows in counted.items():
        task.rows.add(rows, state, kind)
        task.retried_rows += rows if attempt > 1 else 0
        task.models[model] = task.models.get(model, 0) + rows
        number = ChunkId.of(chunk_id).round
        if number < len(rounds):  # else it came since they were read
            rounds[number].rows.add(rows, state, kind)


# who works at it


def _holder(store: Store) -> dict[str, Any] | None:
    if (holder := holder_of(store)) is None:
        return None
    facts = {key: getattr(holder, key) for key in ("who", "what", "since", "left_by")}
    return {**facts, "beats": is_beating(store)}


def _progress(store: Store) -> dict[str, Any] | None:
    if (progress := read_progress(store)) is None:
        return None
    try:
        age_s = (datetime.now(UTC) - datetime.fromisoformat(progress["at"])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return {**progress, "age_s": None}
    return {**progress, "age_s": max(0.0, round(age_s, 1))}


def _utilization(progress: Mapping[str, Any] | None, folder: JobFolder) -> UtilizationSummary | None:
    """Of the run that goes on or was the last, or of the last one that came to its end and had asked something."""
    use = UtilizationSummary.of((progress or {}).get("utilization"))
    if use is not None:
        return use
    try:
        return UtilizationSummary.of(folder.read_summary().get("engine"))
    except SpecError:
        return None


# how it is read


def _in_order(store: Store, read: Callable[[_T], _U], items: Iterable[_T]) -> Iterator[_U]:
    """In order; several at once where a store answers over a network."""
    if not is_remote(store.address):
        yield from map(read, items)
        return
    with ThreadPoolExecutor(READS, thread_name_prefix="status") as executor:
        yield from executor.map(read, items)


def _again(read: Callable[[], _T]) -> _T:
    """Raises JobConflict for what is no better when it is read again; OSError."""
    for _ in range(_TRIES - 1):
        try:
            return read()
        except (JobConflict, OSError):  # it may have been replaced meanwhile
            continue
    return read()
