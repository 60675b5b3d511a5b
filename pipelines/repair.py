"""Make an output sound again from what log and view still hold. What neither has is open afterwards, to be asked again.

Every step leaves an output that the next repair goes on with. Of strangers' files nothing is deleted: only what bears
our seal, intact, and lies under another name than its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from operators.store.chunk_id import ChunkId
from operators.store.part_log import PartLog, PartName
from operators.store.soundness import Checked, Place, holds_all, intact, owner_of
from operators.store.store import Store
from operators.store.view import View, place_of
from pipelines.verify import READS, Plan, Verified, look, lost_chunks


def repair(store: Store, verified: Verified) -> Iterator[str]:
    """A line for whatever is done. Raises OSError, StoreLost, JobConflict."""
    for key in verified.strangers:
        yield from _to_its_place(store, verified.plan, key)
    for place in verified.faulty:
        yield from _fix(store, verified.plan, place)
    view = View(store)
    for task in verified.plan.tasks:
        for slice_ in view.slices(task):
            view.publish(task, slice_)


def _to_its_place(store: Store, plan: Plan, key: str) -> Iterator[str]:
    """Remove a copy; where what it was copied from is gone or broken, the copy takes its place if it is of this job."""
    try:
        owner = owner_of(store, key)
    except OSError:  # gone, or nothing that can be read
        return
    if owner is None or owner[0] == key:
        return
    target, data = owner
    if not intact(store, target) and _is_planned(plan, target):
        store.delete(target)
        store.put_if_absent(target, data)
        yield f"{target}: put back from {key}"
    if intact(store, target) and (PartName.of(target) is not None or holds_all(store, target, data)):
        store.delete(key)
        yield f"{key}: a copy of {target}, removed"


def _is_planned(plan: Plan, key: str) -> bool:
    if (name := PartName.of(key)) is not None:
        return name.chunk_id in plan.planned((name.task, ChunkId.of(name.chunk_id).slice))
    return place_of(key) in plan.places


def _fix(store: Store, plan: Plan, place: Place) -> Iterator[str]:
    task, slice_ = place
    view, log = View(store), PartLog(store)
    with ThreadPoolExecutor(READS, thread_name_prefix="repair") as executor:
        checked = look(store, plan, place, None, executor)
        for name in checked.broken:
            yield from _to_its_place(store, plan, name.key)
        checked = look(store, plan, place, None, executor)
        if noted := _only_in_the_file(checked):
            view.prune(task, slice_, noted)
            yield f"{checked.key}: holds {len(noted)} parts from now on that the log has lost"
        for name in checked.broken:
            store.delete(name.key)
            there = checked.held.chunks.keys() | checked.last().keys()
            yield f"{name.key}: removed" + ("" if name.chunk_id in there else "; its units are to be asked again")
        if checked.file_fault is not None:
            if any(ChunkId.of(chunk_id).round >= plan.floor(task) for chunk_id in checked.last()):
                view.restore(task, slice_)
                yield f"{checked.key}: made anew from {len(checked.last())} parts of the log"
            else:
                store.delete(checked.key)
                yield f"{checked.key}: removed; the log has nothing of it"
        elif checked.differs is not None:
            view.rebuild(task, slice_)
            yield f"{checked.key}: made anew from the log"
        else:
            view.publish(task, slice_)
        checked = look(store, plan, place, None, executor)
        if checked.differs is not None or checked.file_fault is not None:
            view.restore(task, slice_)
            checked = look(store, plan, place, None, executor)
        if lost := [chunk_id for chunk_id, _ in lost_chunks(plan, checked)]:
            for chunk_id, name in log.parts(task, slice_).items():
                if chunk_id in lost:
                    log.delete(name)
            view.rebuild(task, slice_, without=lost)
            yield f"{checked.key}: {len(lost)} chunks are to be asked again"


def _only_in_the_file(checked: Checked) -> list[str]:
    """Chunks that the file holds and the log does not, or no longer once what is broken is gone."""
    last = checked.last()
    broken = {name.chunk_id for name in checked.broken} | {*checked.lacking}
    held = checked.held.chunks
    lost = PartName("", "", -1)
    return sorted(chunk_id for chunk_id in broken & held.keys() if last.get(chunk_id, lost).revision < held[chunk_id])
