"""Cut planned units into chunks. Pure: the same plan gives the same chunks with the same ids.

A chunk is decoded together and committed once per task. It holds units of one kind, from as many inputs as
fit, bounded by number and by decoded bytes: small enough to lose little when something dies, large enough
that a folder of single pictures does not become a million files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from operators.media.formats import FULL_INPUT_KINDS, VIDEO, full_input_kind_of
from operators.media.video import packed_index
from operators.store.chunk_id import ChunkId
from schemas.task import Task

FEW, MANY = 32, 512
SHARE = 1 / 16


@dataclass(frozen=True)
class Place:
    """Of the chunks that are cut: the slice of the results, and the round that asks."""

    slice: int = 0
    round: int = 0


_FIRST = Place()


def with_full_inputs(units: Iterable[dict[str, Any]], tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
    """PLANNED_UNITS rows in and out: an input that a task is asked about as a whole is one unit more, behind its
    pages or clips; these are left out where no task takes them.
    """
    for _, group in groupby(units, key=lambda unit: unit["input_id"]):
        parts = list(group)
        full_kind = full_input_kind_of(parts[0]["media"]) if parts[0]["media"] else None
        if full_kind is None or not tasks_for(full_kind, tasks):
            yield from parts
            continue
        if tasks_for(parts[0]["unit_kind"], tasks):
            yield from parts
        good = [unit for unit in parts if unit["error"] is None]
        ends = [unit["end_s"] for unit in good if unit["end_s"] is not None]
        yield {
            **(good or parts)[0],
            "unit_index": 0,
            "unit_count": 1,
            "unit_kind": full_kind,
            "page": None,
            "start_s": 0.0 if ends else None,
            "end_s": max(ends, default=None),
            "page_count": sum(unit["page"] is not None for unit in good) or None,
            "index": _index_of(parts) if parts[0]["media"] == VIDEO else None,
            "decoded_bytes": 0,  # it is decoded beside the engine
        }


def _index_of(clips: Sequence[dict[str, Any]]) -> str | None:
    """Of the whole video, so that it is not read through once more; it says too that its end is missing."""
    good = [clip for clip in clips if clip["error"] is None]
    return packed_index.joined(
        [clip.get("index") for clip in good],
        truncated=any(clip["error"]["kind"] == "truncated" for clip in clips if clip["error"] is not None),
    )


def cut(
    units: Iterable[dict[str, Any]],
    tasks: Sequence[Task],
    *,
    max_units: int | None,
    max_bytes: int,
    place: Place = _FIRST,
    before: int = 0,
) -> Iterator[dict[str, Any]]:
    """PLANNED_UNITS rows in, chunk rows out: {chunk_id, tasks, units}; an oversized unit is a chunk alone.

    max_units: of a chunk; None: the share SHARE of what was planned before it, at least FEW and at most MANY, so that
    first answers come early and a long job costs its driver little. before: units that were planned before these.

    A whole document or video is a chunk alone. Units that no task takes come in chunks without tasks, so that they
    are counted. An input of unknown kind is every task's to report.
    """
    open_chunks: dict[str | None, list[dict[str, Any]]] = {}
    open_bytes: dict[str | None, int] = {}
    for number, unit in enumerate(units, start=before):
        most = max_units or min(MANY, max(FEW, int(SHARE * number)))
        kind = unit["unit_kind"]
        size = unit["decoded_bytes"] or 0
        if kind in FULL_INPUT_KINDS:
            yield _chunk([unit], tasks_for(kind, tasks), place)
            continue
        chunk = open_chunks.setdefault(kind, [])
        if chunk and (len(chunk) >= most or open_bytes[kind] + size > max_bytes):
            yield _chunk(chunk, tasks_for(kind, tasks), place)
            chunk = open_chunks[kind] = []
        if not chunk:
            open_bytes[kind] = 0
        chunk.append(unit)
        open_bytes[kind] += size
    for kind, chunk in open_chunks.items():
        if chunk:
            yield _chunk(chunk, tasks_for(kind, tasks), place)


def tasks_for(unit_kind: str | None, tasks: Sequence[Task]) -> list[str]:
    """Names of the tasks that such a unit gets a row from."""
    return [task.name for task in tasks if unit_kind is None or unit_kind in task.unit_kinds]


def _chunk(units: list[dict[str, Any]], tasks: list[str], place: Place) -> dict[str, Any]:
    full = [unit["unit_kind"] for unit in units if unit["unit_kind"] in FULL_INPUT_KINDS]
    text = "\n".join([*full, *(f"{unit['input_id']} {unit['unit_index']}" for unit in units)])
    chunk_id = ChunkId(place.slice, place.round, hashlib.sha256(text.encode()).hexdigest()[:16])
    return {"chunk_id": str(chunk_id), "tasks": tasks, "units": units}
