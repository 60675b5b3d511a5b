"""Which round was the last to ask about an input, for every task: what an earlier one planned of it gives way. Some
twelve bytes for each input of all rounds but a task's first. Pure, but for the reading of manifests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.folder import JobFolder
from pipelines.ids import NO_IDS, Ids, ids_of, places_in
from pipelines.rounds import Round

Numbers = npt.NDArray[np.int32]


class Generations:
    """last: by task, ids in order and the last generation of each. An id that is not among them was asked about once.

    A round counts by its chunk manifests; by its inputs, for all of its tasks, as far as it is not planned yet.
    """

    def __init__(self, last: Mapping[str, tuple[Ids, Numbers]] | None = None) -> None:
        self._last = last or {}

    @classmethod
    def of(cls, folder: JobFolder, rounds: Sequence[Round], tasks: Collection[str]) -> Generations:
        """Raises JobConflict for a manifest that cannot be read."""
        pieces: dict[str, list[tuple[Ids, int]]] = {}
        asked: set[str] = set()
        for round_ in rounds:
            names = round_.tasks.keys() & set(tasks)
            later = names & asked
            asked |= names
            if not later or round_.chunk_files:  # a task's first round, or units as they were planned before
                continue
            planned = folder.planned(round_.number)
            for index in range(folder.chunk_files(round_)):
                if index in planned:
                    for name, ids in _asked(folder.read_chunks(round_.number, index), later).items():
                        pieces.setdefault(name, []).append((ids, round_.number))
                else:
                    ids = ids_of(inputs_of(folder, round_, index).column("input_id"))
                    for name in later:
                        pieces.setdefault(name, []).append((ids, round_.number))
        return cls({name: _last(some) for name, some in pieces.items()})

    @classmethod
    def in_chunks(cls, chunks: pa.Table) -> Generations:
        """Of rows of CHUNKS that hold all rounds."""
        pieces: dict[str, list[tuple[Ids, int]]] = {}
        names = {name for names in chunks.column("tasks").to_pylist() for name in names}
        for name in names:
            ids, generations = _units(_of_task(chunks, name))
            for generation in np.unique(generations):
                pieces.setdefault(name, []).append((ids[generations == generation], int(generation)))
        return cls({name: _last(some) for name, some in pieces.items()})

    def of_task(self, task: str, ids: Ids, otherwise: Numbers) -> Numbers:
        """The last generation of each id. otherwise: of those that were asked about once."""
        known, numbers = self._last.get(task, (NO_IDS, np.empty(0, np.int32)))
        if not len(known):
            return otherwise
        places = places_in(known, ids)
        # of a round before those that are known here an id has no less than what it was asked about there
        return np.where(places >= 0, np.maximum(numbers[places], otherwise), otherwise).astype(np.int32)

    def current(self, task: str, units: pa.StructArray) -> list[bool]:
        """Which units of a chunk no later generation asks for. units: of PLANNED_UNITS."""
        generations = np.asarray(units.field("generation"), np.int32)
        if task not in self._last:
            return [True] * len(generations)
        mask: list[bool] = (self.of_task(task, ids_of(units.field("input_id")), generations) == generations).tolist()
        return mask


def inputs_of(folder: JobFolder, round_: Round, index: int) -> pa.Table:
    """A piece of the inputs of a round. Of an input that several of its manifests have, the last row counts. Raises
    JobConflict."""
    left = index
    for place, manifest in enumerate(round_.manifests):
        if left < (pieces := folder.pieces(manifest)):
            inputs = folder.read_piece(manifest, left)
            later = [ids_of(folder.read_ids(number)) for number in round_.manifests[place + 1 :]]
            if not later:
                return inputs
            again = np.isin(ids_of(inputs.column("input_id")), np.concatenate(later))
            return inputs.filter(pa.array(~again)) if again.any() else inputs
        left -= pieces
    raise IndexError(f"round {round_.number} has no piece {index}")


def _asked(chunks: pa.Table, tasks: Iterable[str]) -> dict[str, Ids]:
    """Ids by task."""
    return {task: np.unique(_units(some)[0]) for task in tasks if (some := _of_task(chunks, task)).num_rows}


def _of_task(chunks: pa.Table, task: str) -> pa.Table:
    mask = [task in names for names in chunks.column("tasks").to_pylist()]
    return chunks if all(mask) else chunks.filter(pa.array(mask, pa.bool_()))


def _units(chunks: pa.Table) -> tuple[Ids, Numbers]:
    """Id and generation of every unit."""
    units = pc.list_flatten(chunks.column("units"))
    return (
        ids_of(pc.struct_field(units, "input_id")),
        np.asarray(pc.struct_field(units, "generation").to_numpy(), np.int32),
    )


def _last(pieces: Sequence[tuple[Ids, int]]) -> tuple[Ids, Numbers]:
    ids = np.concatenate([ids for ids, _ in pieces])
    numbers = np.concatenate([np.full(len(ids), number, np.int32) for ids, number in pieces])
    order = np.lexsort((numbers, ids))
    ids, numbers = ids[order], numbers[order]
    is_last = np.append(ids[1:] != ids[:-1], True) if len(ids) else np.empty(0, bool)
    return ids[is_last], numbers[is_last]
