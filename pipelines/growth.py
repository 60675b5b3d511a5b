"""What a job is to do beyond what it was asked before: inputs that are new or changed, tasks that are new or done anew.
Each becomes a round (pipelines/rounds.py), written before any work. Knows nothing of Ray.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.store.view import View
from pipelines.folder import MOST_DIFFERENCES, SLICE, JobFolder, differences
from pipelines.job import Job
from pipelines.listing import Listing
from pipelines.rounds import Kind, Round, definitions, floors, lacking, manifests_of, now, who
from schemas import tables
from schemas.errors import JobConflict, SpecError

_STATE = ("size_bytes", "version", "modified_ns")
"""Of an input, what shows that it is another: where both listings know it."""
_NOT_THERE = ("not_found", "permission", "unreachable")
"""Kinds of errors that say nothing of what an input holds."""


@dataclass(frozen=True)
class Difference:
    """A listing against the inputs that a job has. new, changed: rows of the listing. gone: inputs that it lacks."""

    new: pa.Table
    changed: pa.Table
    gone: int


def compare(manifests: Sequence[pa.Table], listed: pa.Table) -> Difference:
    """manifests: of the inputs of the job so far, the last row of each counts. An input that could not be had and can
    be had now is new; one that cannot be had any more is gone. Raises SpecError where a column that comes along has
    another type now."""
    known: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        _check_types(manifest, listed)
        known |= {row["input_id"]: row for row in _compared(manifest)}
    new, changed, gone = [], [], 0
    for place, row in enumerate(_compared(listed)):
        before = known.pop(row["input_id"], None)
        if before is None or (before["error"] is not None and row["error"] is None):
            new.append(place)
        elif before["error"] is None and row["error"] is not None:
            gone += row["error"]["kind"] in _NOT_THERE
            changed += [place] * (row["error"]["kind"] not in _NOT_THERE)
        elif _differs(before, row):
            changed.append(place)
    return Difference(_rows(listed, new), _rows(listed, changed), gone + len(known))


def _compared(inputs: pa.Table) -> list[dict[str, Any]]:
    """Of each input what is held against another listing: without its address."""
    rows: list[dict[str, Any]] = inputs.drop_columns(["input_uri", "media"]).to_pylist()
    return rows


def _differs(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """A column that one of the two listings does not have says nothing, nor does a state that it does not know."""
    if any(before[key] != now[key] and before[key] is not None and now[key] is not None for key in _STATE):
        return True
    others = (before.keys() & now.keys()) - {*tables.INPUTS.names}
    return any(before[key] != now[key] and repr(before[key]) != repr(now[key]) for key in others)  # NaN is NaN


def _check_types(there: pa.Table, listed: pa.Table) -> None:
    for field in listed.schema:
        if field.name in there.schema.names:
            before = there.schema.field(field.name).type
            if before != field.type and pa.null() not in (before, field.type):
                raise SpecError(
                    f"inputs: the column {field.name!r} is {field.type} now and was {before} in the inputs that this "
                    "output has; `types` says what the columns of a CSV are"
                )


def _rows(table: pa.Table, places: list[int]) -> pa.Table:
    return table.take(pa.array(places, pa.int64()))


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
    """The rounds with those that are to follow. listing: of now; None where new inputs are left for later. changed:
    whether inputs that changed are asked about again. redo: tasks that are done anew; of those that are under way, what
    is open.

    May be killed at any time and called again. Raises SpecError, StoreLost, JobConflict.
    """
    grown = list(rounds)
    spec = job.spec.model_dump(mode="json")

    def add(kind: Kind, manifests: Iterable[int], tasks: Iterable[str], **counts: int) -> None:
        round_ = Round(
            len(grown), kind, tuple(manifests), {name: job.definitions[name] for name in tasks}, now(), who(), spec,
            counts,
        )  # fmt: skip
        folder.drop_chunks(round_.number)  # a retry that was killed before its round was there may have left some
        folder.add_round(round_)
        grown.append(round_)

    redo = [name for name in redo if not _is_under_way(job, folder, view, grown, name)]
    if redo and (manifests := manifests_of(grown)):
        before = definitions(grown)
        retired = [name for name in redo if before[name].get("output") != job.definitions[name].get("output")]
        add("redo", manifests, redo, **{f"retired {name}": 1 for name in retired})
    for name, number in floors(grown).items():
        view.retire(name, number)
    difference = None
    if listing is not None and grown:
        difference = compare([folder.read_inputs([number]) for number in manifests_of(grown)], listing.inputs)
    elif listing is not None:
        difference = Difference(listing.inputs, listing.inputs.slice(0, 0), 0)
    names = [task.name for task in job.tasks]
    if difference is not None:
        fresh = pa.concat_tables([difference.new, difference.changed]) if changed else difference.new
        brought = fresh.num_rows > 0 or not grown
        if brought:
            folder.write_inputs(len(grown), fresh)
        folder.write_listing(
            {
                "at": now(),
                "inputs": listing.inputs.num_rows if listing is not None else 0,
                "skipped": dict(listing.skipped) if listing is not None else {},
                "new": difference.new.num_rows if grown else 0,
                "changed": difference.changed.num_rows,
                "asked_again": difference.changed.num_rows if changed else 0,
                "gone": difference.gone,
            }
        )
        if brought:
            number = len(grown)
            mine = [name for name in names if not lacking(grown, [name], manifests_of(grown))]
            # a task that lacks more is asked about all of it in one round of its own
            again = fresh.num_rows - difference.new.num_rows
            add("inputs" if grown else "first", [number], mine or names, new=difference.new.num_rows, changed=again)
    for lacked, some in lacking(grown, names, manifests_of(grown)).items():
        add("task", lacked, some)
    return grown


def _is_under_way(job: Job, folder: JobFolder, view: View, rounds: Sequence[Round], task: str) -> bool:
    """Whether a task is being done anew as it is defined now, and something of that is open: what the same command
    again goes on with."""
    anew = [round_ for round_ in rounds if round_.kind == "redo" and task in round_.tasks]
    if not anew or differences(anew[-1].tasks[task], job.definitions[task]):
        return False
    last, committed = anew[-1], view.committed(task)
    later = manifests_of(round_ for round_ in rounds[last.number + 1 :] if round_.defines and task in round_.tasks)
    elsewhere = set(folder.read_inputs(later).column("input_id").to_pylist())
    for index in range(math.ceil(folder.read_inputs(last.manifests).num_rows / SLICE)):
        if not folder.has_chunks(last.number, index):
            return True
        chunks = folder.read_chunks(last.number, index).select(["chunk_id", "tasks", "units"])
        for chunk_id, names, units in zip(*(column.to_pylist() for column in chunks.columns), strict=True):
            if task in names and chunk_id not in committed and {unit["input_id"] for unit in units} - elsewhere:
                return True
    return False
