"""The chunk manifests of an output as they lie there, and what of them is open: for commands that ask again, and plan
nothing. Knows nothing of decoders.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from operators.store.chunk_id import ChunkId
from operators.store.view import View
from pipelines.folder import JobFolder
from pipelines.generations import Generations
from pipelines.rounds import Round
from schemas import tables
from schemas.errors import JobConflict


@dataclass(frozen=True)
class Manifests:
    """chunks: rows of CHUNKS of all rounds. generations: which of them is asked for. committed:
    (task, chunk_id). unplanned: retries that were stopped before their inputs were opened anew. opened: (task,
    input_id) that they are about."""

    chunks: pa.Table
    generations: Generations
    committed: set[tuple[str, str]]
    unplanned: frozenset[int] = frozenset()
    opened: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def read(cls, folder: JobFolder, view: View, rounds: Sequence[Round], tasks: Collection[str]) -> Manifests:
        """tasks: of whose chunks is asked whether they are committed. Raises JobConflict where a run was stopped before
        all was planned."""
        pieces, unplanned, opened = [tables.CHUNKS.empty_table()], set(), set[tuple[str, str]]()
        for round_ in rounds:
            files, planned = folder.chunk_files(round_), folder.planned(round_.number)
            there = [index for index in range(files) if round_.chunk_files or index in planned]
            if len(there) < files and round_.defines:
                raise JobConflict(
                    "output: a run was stopped before it had looked into all inputs; `sightread run` with its spec "
                    "goes on, and then rows can be asked for again"
                )
            if len(there) < files:
                unplanned.add(round_.number)
                inputs = folder.read_inputs(round_.manifests).column("input_id").to_pylist()
                opened |= {(name, input_id) for input_id in inputs for name in round_.tasks}
            pieces += [folder.read_chunks(round_.number, index) for index in there]
        chunks = pa.concat_tables(pieces)
        committed = {(name, chunk_id) for name in tasks for chunk_id in view.committed(name)}
        return cls(chunks, Generations.in_chunks(chunks), committed, frozenset(unplanned), frozenset(opened))

    def open_retries(self, rounds: Sequence[Round], tasks: Collection[str]) -> list[int]:
        """The retries that are still to ask for rows of these tasks."""
        retries = {round_.number for round_ in rounds if not round_.defines and set(tasks) & round_.tasks.keys()}
        still = set(retries & self.unplanned)
        for row, (chunk_id, names) in enumerate(
            zip(self.chunks.column("chunk_id").to_pylist(), self.chunks.column("tasks").to_pylist(), strict=True)
        ):
            if ChunkId.of(chunk_id).round not in retries - still:
                continue
            units = self.chunks.column("units")[row].values
            for name in set(names) & set(tasks):
                is_current = any(self.generations.current(name, units))
                if is_current and (name, chunk_id) not in self.committed:
                    still.add(ChunkId.of(chunk_id).round)
        return sorted(still)
