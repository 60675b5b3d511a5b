"""Whether an output is as it was written: every file of log and view to its last byte, both against each other, and
both against what was planned. Changes nothing; what repairs it is pipelines/repair.py.

An output that somebody writes to meanwhile is looked at twice before anything is said about a slice of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from operators.store.chunk_id import ChunkId
from operators.store.part_log import PartName
from operators.store.soundness import Checked, Finding, Inventory, Place, check_slice, owner_of
from operators.store.store import Store
from operators.store.view import key_of
from pipelines.folder import JobFolder
from pipelines.generations import Generations
from pipelines.rounds import Round, definitions, floors
from schemas import tables
from schemas.errors import JobConflict, SpecError

READS = 8
"""Files that are read at once."""
Unit = tuple[str, int]
"""input_id and unit_index."""


def _quiet(done: int, total: int) -> None:
    """Shows nothing."""


@dataclass
class Plan:
    """What an output was asked for, as far as its manifests can be read. chunks: rows of CHUNKS. findings: of the files
    that say so."""

    rounds: list[Round] = field(default_factory=list)
    chunks: pa.Table = field(default_factory=tables.CHUNKS.empty_table)
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._generations = Generations.in_chunks(self.chunks)
        self._of_place: dict[Place, dict[str, int]] = {}  # chunk_id -> row
        columns = (self.chunks.column(name).to_pylist() for name in ("chunk_id", "tasks"))
        for row, (chunk_id, tasks) in enumerate(zip(*columns, strict=True)):
            for task in tasks:
                self._of_place.setdefault((task, ChunkId.of(chunk_id).slice), {})[chunk_id] = row

    @classmethod
    def of(cls, folder: JobFolder) -> Plan:
        findings: list[Finding] = []
        pieces = [tables.CHUNKS.empty_table()]
        try:
            rounds = folder.rounds()
        except JobConflict as error:
            return cls(findings=[Finding("_job/rounds", str(error))])
        for round_ in rounds:
            try:
                for manifest in round_.manifests:
                    for piece in range(folder.pieces(manifest)):
                        folder.read_piece(manifest, piece)
                planned = folder.planned(round_.number)
                for index in range(folder.chunk_files(round_)):
                    if index in planned:
                        chunks = folder.read_chunks(round_.number, index)
                        for chunk_id in chunks.column("chunk_id").to_pylist():
                            ChunkId.of(chunk_id)
                        pieces.append(chunks)
            except (JobConflict, ValueError) as error:
                findings.append(Finding(f"round {round_.number}", str(error)))
        return cls(rounds, pa.concat_tables(pieces), findings)

    @property
    def tasks(self) -> Collection[str]:
        return definitions(self.rounds)

    @property
    def places(self) -> Collection[Place]:
        return self._of_place

    def floor(self, task: str) -> int:
        """The round from which on rows of a task have the type that they have now."""
        return floors(self.rounds).get(task, 0)

    def planned(self, place: Place) -> Collection[str]:
        return self._of_place.get(place, {})

    def units(self, place: Place, chunk_id: str) -> set[Unit]:
        """Those of a chunk that no later generation asks for."""
        row = self._of_place.get(place, {}).get(chunk_id)
        if row is None:
            return set()
        units = self.chunks.column("units")[row].values
        plain = zip(*(units.field(name).to_pylist() for name in ("input_id", "unit_index")), strict=True)
        current = self._generations.current(place[0], units)
        return {unit for unit, is_current in zip(plain, current, strict=True) if is_current}


@dataclass
class Verified:
    """faulty: places that need repair. open_units: by task, those planned that nobody answered yet. less_than_before:
    whether some of them had an answer when the last run ended."""

    plan: Plan
    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    rows: int = 0
    strangers: list[str] = field(default_factory=list)
    faulty: list[Place] = field(default_factory=list)
    open_units: dict[str, int] = field(default_factory=dict)
    less_than_before: bool = False

    @property
    def faults(self) -> int:
        return sum(not finding.is_note for finding in self.findings)


def verify(store: Store, progress: Callable[[int, int], None] = _quiet) -> Verified:
    """progress: is told of files. Raises SpecError where no job is, JobConflict for another layout; OSError,
    StoreLost."""
    folder = JobFolder(store)
    folder.open()
    plan = Plan.of(folder)
    verified = Verified(plan, list(plan.findings))
    inventory = Inventory.of(store)
    total = sum(map(len, inventory.parts.values())) + len(inventory.files) + len(inventory.strangers)
    for key in inventory.strangers:
        verified.strangers.append(key)
        verified.findings.append(Finding(key, _stranger(store, key)))
    verified.files = len(inventory.strangers)
    with ThreadPoolExecutor(READS, thread_name_prefix="verify") as executor:
        for place in sorted({*inventory.places, *plan.places}):
            parts = inventory.parts.get(place, [])
            checked = look(store, plan, place, parts, executor)
            lost = [*lost_chunks(plan, checked)]
            if not checked.is_sound or lost:  # who writes meanwhile may have been between two of the files
                checked = look(store, plan, place, None, executor)
                lost = [*lost_chunks(plan, checked)]
            _take(verified, checked, lost)
            verified.files += len(parts) + (place in inventory.files)
            progress(verified.files, total)
    _against_the_last_run(folder, verified)
    return verified


def look(store: Store, plan: Plan, place: Place, parts: Sequence[PartName] | None, executor: Executor) -> Checked:
    """parts: None: as they are now. Raises OSError, StoreLost."""
    return check_slice(store, place, parts, floor=plan.floor(place[0]), executor=executor)


def lost_chunks(plan: Plan, checked: Checked) -> Iterator[tuple[str, int]]:
    """Chunks that count as answered, and how many of their units have no row in log or view."""
    there = _units(checked.file.rows) if checked.file is not None else set()
    for name in checked.unpublished:
        there |= _units(checked.parts[name])
    for chunk_id in checked.held.chunks.keys() | checked.last().keys():
        if lost := plan.units(checked.place, chunk_id) - there:
            yield chunk_id, len(lost)


def _units(rows: pa.Table) -> set[Unit]:
    return set(zip(*(rows.column(name).to_pylist() for name in ("input_id", "unit_index")), strict=True))


def _take(verified: Verified, checked: Checked, lost: Sequence[tuple[str, int]]) -> None:
    plan, place = verified.plan, checked.place
    findings = [*checked.findings()]
    verified.rows += checked.file.rows.num_rows if checked.file is not None else 0
    for chunk_id, number in lost:
        findings.append(Finding(checked.key, f"{number} units of {chunk_id} are in neither log nor results"))
    there = {*checked.held.chunks, *(name.chunk_id for name in (*checked.parts, *checked.broken))}
    if not plan.findings:  # or one cannot tell
        unplanned = sorted(there - {*plan.planned(place)})
        findings += [
            Finding(checked.key, f"nobody planned {chunk_id}, which it or the log holds") for chunk_id in unplanned
        ]
    if not checked.is_sound or lost:
        verified.faulty.append(place)
    verified.findings += findings
    answered = checked.held.chunks.keys() | checked.last().keys()
    for chunk_id in plan.planned(place):
        if chunk_id not in answered and (left := plan.units(place, chunk_id)):
            verified.open_units[place[0]] = verified.open_units.get(place[0], 0) + len(left)


def _stranger(store: Store, key: str) -> str:
    try:
        owner = owner_of(store, key)
    except OSError as error:
        return f"no file of ours, and it cannot be read: {error}"
    return "no file of ours" if owner is None else f"a copy of {owner[0]}"


def _against_the_last_run(folder: JobFolder, verified: Verified) -> None:
    """What the last run left complete, and what is open by now."""
    try:
        summary = folder.read_summary()
    except SpecError as error:
        verified.findings.append(Finding("_job/summary.json", str(error)))
        return
    if summary.get("complete") is True and summary.get("rounds") == len(verified.plan.rounds):
        names = summary.get("tasks")
        for task, units in verified.open_units.items():
            if isinstance(names, dict) and task in names:
                text = f"{units} units of {task} have no answer any more, which the last run left complete"
                verified.less_than_before = True
                verified.findings.append(Finding(key_of(task, 0).rpartition("/")[0], text))
