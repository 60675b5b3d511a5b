"""Delete from the log what the results hold. Afterwards a file of results is the only place of those rows: a broken one
cannot be made anew from the log, and its units are asked again.

The file notes first which parts the log may lack, then they are deleted; a kill between the two costs nothing, and the
same again goes on. A part goes only if its file of results was read whole with its seal intact just now, and shows for
every row of the part that row, or one that came in its place.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from operators.code_check.row_check import is_pending
from operators.store.part_log import Part, PartLog, PartName
from operators.store.store import Store
from operators.store.view import Slice, View
from pipelines.catalogue import bind
from pipelines.folder import JobFolder
from schemas.errors import JobConflict
from schemas.spec import JobSpec

_COLUMNS = ("input_id", "unit_index", "request_index", "generation", "status", "verified")


@dataclass
class Freed:
    """Of one task. kept: parts that the results do not stand in for yet, or that wait for a code check. unreadable:
    what is wrong with files, because of which all parts of a slice stay."""

    task: str
    parts: int = 0
    size_bytes: int = 0
    kept: int = 0
    unreadable: tuple[str, ...] = ()


def compact(store: Store, specs: Mapping[str, JobSpec], older_than_s: float = 0.0) -> Iterator[Freed]:
    """specs: by task, the one that it was defined in. older_than_s: since a part was written. Raises OSError,
    StoreLost, SpecError."""
    JobFolder(store).open()
    view = View(store)
    for name, spec in specs.items():
        task = next(task for task in map(bind, spec.tasks) if task.name == name)
        freed = Freed(name)
        for slice_ in view.slices(name):
            try:
                _compact(store, name, slice_, freed, older_than_s, checks_code=task.code_check is not None)
            except JobConflict as error:
                freed.unreadable += (str(error),)
        yield freed


def _compact(store: Store, task: str, slice_: int, freed: Freed, older_than_s: float, *, checks_code: bool) -> None:
    """Raises JobConflict for a file or part that is not as it was written."""
    view, log = View(store), PartLog(store)
    logged = log.revisions(task, slice_)
    if (file := view.read(task, slice_)) is None:
        return
    shown = _Shown(file)
    names: list[PartName] = []
    for name in (revisions[-1] for revisions in logged.values()):
        if not (file.held.has(name) and _is_older(store, name, older_than_s)):
            freed.kept += 1
        elif file.held.pruned.get(name.chunk_id, -1) >= name.revision or shown.stands_in_for(
            log.read(name, _COLUMNS), checks_code=checks_code
        ):
            names.append(name)
        else:
            freed.kept += 1
    view.prune(task, slice_, (name.chunk_id for name in names))
    noted = view.held(task, slice_).pruned
    for name in names:
        if noted.get(name.chunk_id, -1) < name.revision:
            freed.kept += 1
            continue
        for revision in logged[name.chunk_id]:
            there = store.stat(revision.key)
            freed.size_bytes += there.size_bytes if there is not None else 0
        log.delete(name)
        freed.parts += 1


class _Shown:
    """What a file of results shows, to be held against parts."""

    def __init__(self, file: Slice) -> None:
        self._generations: dict[str, int] = {}
        self._units = set()
        for input_id, unit, request, generation in _rows(file.rows):
            self._units.add((input_id, unit, request))
            self._generations[input_id] = max(self._generations.get(input_id, -1), generation)

    def stands_in_for(self, part: Part, *, checks_code: bool) -> bool:
        if checks_code and any(map(is_pending, part.rows.select(["status", "verified"]).to_pylist())):
            return False
        return all(
            (input_id, unit, request) in self._units or generation < self._generations.get(input_id, -1)
            for input_id, unit, request, generation in _rows(part.rows)
        )


def _rows(rows: pa.Table) -> Iterator[tuple[str, int, int, int]]:
    return zip(*(rows.column(name).to_pylist() for name in _COLUMNS[:4]), strict=True)


def _is_older(store: Store, name: PartName, older_than_s: float) -> bool:
    if older_than_s <= 0:
        return True
    there = store.stat(name.key)
    return there is not None and there.modified_s is not None and time.time() - there.modified_s >= older_than_s
