"""What a job is to do beyond what it was asked before: inputs that are new or changed, tasks that are new or done anew.
Each becomes a round (pipelines/rounds.py); inputs are written to it while they are listed. Knows nothing of Ray.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.store.view import View
from pipelines.folder import MOST_DIFFERENCES, JobFolder, differences
from pipelines.ids import ids_of
from pipelines.job import Job
from pipelines.known_inputs import Compared, KnownInputs
from pipelines.listing import LARGEST_PIECE, PATIENCE_S, PIECE, Listing
from pipelines.rounds import Kind, Round, definitions, floors, lacking, manifests_of, now, who
from pipelines.slices import Slices, expected_units
from schemas import tables
from schemas.errors import JobConflict, SpecError


def check_tasks(job: Job, rounds: Sequence[Round], view: View, redo: Collection[str]) -> list[str]:
    """The tasks of the job that are to be done anew: those that `redo` names, and those that changed before anything
    was answered. Raises JobConflict, with the difference, where another changed; SpecError for a name that is none."""
    there = definitions(rounds)
    if unknown := sorted(set(redo) - job.definitions.keys()):
        raise SpecError(f"--redo: {unknown[0]!r} is no task of this spec")
    if early := sorted(set(redo) - there.keys()):
        raise SpecError(f"--redo: {early[0]!r} was not asked for yet")
    anew = []
    for name, definition in job.definitions.items():
        if name not in there:
            continue
        lines = differences({name: there[name]}, {name: definition})
        if name in redo or (lines and not view.committed(name)):
            anew.append(name)
        elif lines:
            more = f"; and {len(lines) - MOST_DIFFERENCES} more" if len(lines) > MOST_DIFFERENCES else ""
            raise JobConflict(
                f"{job.output} holds answers of another {name}: {'; '.join(lines[:MOST_DIFFERENCES])}{more}; undo the "
                f"change, give this job another `output:`, or have all of {name} asked anew with --redo {name}"
            )
    return anew


def grow(
    job: Job,
    folder: JobFolder,
    view: View,
    rounds: Sequence[Round],
    redo: Sequence[str],
    listing: Listing | None,
    *,
    changed: bool,
) -> list[Round]:
    """The rounds with those that are to follow, of a listing that is there as a whole: as `begin` and `Intake`, and
    raises what they do."""
    grown = begin(job, folder, view, rounds, redo)
    if listing is None:
        return grown
    intake = Intake(job, folder, grown, changed=changed)
    intake.take(listing.inputs)
    intake.close(listing.skipped)
    return intake.rounds


def begin(job: Job, folder: JobFolder, view: View, rounds: Sequence[Round], redo: Sequence[str]) -> list[Round]:
    """The rounds with those of tasks that are to follow, about the inputs that there are. redo: tasks that are done
    anew; of those that are under way, what is open.

    May be killed at any time and called again. Raises SpecError, StoreLost, JobConflict.
    """
    grown = list(rounds)
    redo = [name for name in redo if not _is_under_way(job, folder, view, grown, name)]
    if redo and (manifests := manifests_of(grown)):
        before = definitions(grown)
        retired = [name for name in redo if before[name].get("output") != job.definitions[name].get("output")]
        _add(job, folder, grown, "redo", manifests, redo, **{f"retired {name}": 1 for name in retired})
    for name, number in floors(grown).items():
        view.retire(name, number)
    for lacked, some in lacking(grown, [task.name for task in job.tasks], manifests_of(grown)).items():
        _add(job, folder, grown, "task", lacked, some)
    return grown


def _add(
    job: Job, folder: JobFolder, grown: list[Round], kind: Kind, manifests: Iterable[int], tasks: Iterable[str],
    **counts: int,
) -> None:  # fmt: skip
    spec, defined = job.spec.model_dump(mode="json"), {name: job.definitions[name] for name in tasks}
    round_ = Round(len(grown), kind, tuple(manifests), defined, now(), who(), spec, counts)
    if round_.number not in round_.manifests:
        folder.drop(round_.number)  # a retry that was killed before its round was there may have left some
    folder.add_round(round_)
    grown.append(round_)


class Intake:
    """Takes a listing in, a piece after the other: what is new of it, and what changed, becomes a round of its own, in
    pieces that are written as soon as they are large enough. changed: whether inputs that changed are asked about
    again.

    May be killed at any time: a further listing brings what this one did not. For one thread at a time.
    """

    def __init__(self, job: Job, folder: JobFolder, rounds: Sequence[Round], *, changed: bool) -> None:
        self.rounds = list(rounds)
        """With the round of this listing, from its first piece on."""
        self.inputs = self.asked = 0
        """That were listed, and that became inputs of the round."""
        self._job, self._folder, self._with_changed = job, folder, changed
        places = [(manifest, piece) for manifest in manifests_of(rounds) for piece in range(folder.pieces(manifest))]
        self._known = KnownInputs(folder.read_piece(*place) for place in places)
        self._slices = slices_after(folder, places)
        self._is_first = not self.rounds
        self._counts: Counter[str] = Counter()
        self._waiting: list[pa.Table] = []
        self._pieces, self._size, self._since_s = 0, PIECE, time.monotonic()

    @property
    def number(self) -> int:
        """Of the round that this listing brings, or would bring."""
        return len(self.rounds) - (self._pieces > 0)

    def take(self, listed: pa.Table) -> None:
        """Raises SpecError where a column that comes along has another type now; StoreLost, JobConflict."""
        compared = self.compare(listed)
        places = np.concatenate([compared.new, compared.changed]) if self._with_changed else compared.new
        if len(places):
            fresh = listed.take(pa.array(places))
            self._waiting.append(self._with_slices(fresh, compared.slices[places].tolist()))
            self.asked += len(places)
        waiting = sum(piece.num_rows for piece in self._waiting)
        if waiting >= self._size or (waiting and time.monotonic() - self._since_s > PATIENCE_S):
            self._flush()

    def compare(self, listed: pa.Table) -> Compared:
        """Count what is new, changed or gone. Raises SpecError."""
        compared = self._known.compare(listed)
        self.inputs += listed.num_rows
        self._counts.update(new=len(compared.new), changed=len(compared.changed), gone=compared.gone)
        return compared

    def close(self, skipped: Mapping[str, int], *, of: str = "") -> None:
        """The listing is at its end. skipped: what it left out, by reason. of: the run that listed. Raises StoreLost,
        JobConflict."""
        if self._waiting or not self.rounds:
            self._flush()
        grown = not self._is_first
        self._folder.write_listing(
            {
                "at": now(),
                "inputs": self.inputs,
                "skipped": dict(skipped),
                "new": self._counts["new"] if grown else 0,
                "changed": self._counts["changed"],
                "asked_again": self._counts["changed"] if self._with_changed else 0,
                "gone": self._counts["gone"] + self._known.unseen(),
                "of": of,
                "over": True,
            }
        )

    def _with_slices(self, fresh: pa.Table, slices: Sequence[int]) -> pa.Table:
        columns = (fresh.column(key).to_pylist() for key in ("media", "size_bytes"))
        of_each = [
            known if known >= 0 else self._slices.of(media, size_bytes)
            for known, media, size_bytes in zip(slices, *columns, strict=True)
        ]
        place = tables.INPUTS.get_field_index("slice")
        return fresh.set_column(place, tables.INPUTS.field("slice"), [pa.array(of_each, pa.int32())])

    def _flush(self) -> None:
        """Write what waits: a piece and the rest of a long listing in pieces of their largest size."""
        schema = tables.INPUTS.empty_table()
        try:
            fresh = pa.concat_tables([schema, *self._waiting], promote_options="default")
        except pa.ArrowException as error:
            raise SpecError(f"inputs: the tables do not fit together: {' '.join(str(error).split())}") from error
        for start in range(0, max(1, fresh.num_rows), LARGEST_PIECE):
            if not self._pieces:
                self._folder.drop(len(self.rounds))
            self._folder.write_piece(self.number, self._pieces, fresh.slice(start, LARGEST_PIECE))
            if not self._pieces:
                number, names = len(self.rounds), [task.name for task in self._job.tasks]
                _add(self._job, self._folder, self.rounds, "first" if self._is_first else "inputs", [number], names)
            self._pieces += 1
        self._waiting, self._since_s = [], time.monotonic()
        if fresh.num_rows >= self._size:
            self._size = min(LARGEST_PIECE, 2 * self._size)


def slices_after(folder: JobFolder, places: Iterable[tuple[int, int]]) -> Slices:
    """As the manifests of a job left them."""
    last = units = 0
    for place in places:
        piece = folder.read_piece(*place).select(["slice", "media", "size_bytes"])
        if (highest := pc.max(piece.column("slice")).as_py() or 0) > last:
            last, units = highest, 0
        of_last = piece.filter(pc.equal(piece.column("slice"), last))
        columns = (of_last.column(key).to_pylist() for key in ("media", "size_bytes"))
        units += sum(map(expected_units, *columns))
    return Slices(last, units)


def _is_under_way(job: Job, folder: JobFolder, view: View, rounds: Sequence[Round], task: str) -> bool:
    """Whether a task is being done anew as it is defined now, and something of that is open: what the same command
    again goes on with."""
    anew = [round_ for round_ in rounds if round_.kind == "redo" and task in round_.tasks]
    if not anew or differences(anew[-1].tasks[task], job.definitions[task]):
        return False
    last, committed = anew[-1], view.committed(task)
    later = manifests_of(round_ for round_ in rounds[last.number + 1 :] if round_.defines and task in round_.tasks)
    elsewhere = ids_of(pa.chunked_array([c for m in later for c in folder.read_ids(m).chunks], pa.string()))
    planned = folder.planned(last.number)
    for index in range(folder.chunk_files(last)):
        if index not in planned:
            return True
        chunks = folder.read_chunks(last.number, index).select(["chunk_id", "tasks", "units"])
        for chunk_id, names, units in zip(*(column.to_pylist() for column in chunks.columns), strict=True):
            if task in names and chunk_id not in committed:
                ids = ids_of(pa.array([unit["input_id"] for unit in units], pa.string()))
                if not np.isin(ids, elsewhere).all():
                    return True
    return False
