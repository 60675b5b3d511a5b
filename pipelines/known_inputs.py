"""The inputs that a job has, held against those that are there now. Some thirty bytes each, however many: what tells
two states of an input apart is kept as a checksum. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.ids import NO_IDS, Ids, ids_of, places_in
from schemas import tables
from schemas.errors import SpecError

_STATE = ("size_bytes", "version", "modified_ns")
"""Of an input, what shows that it is another: where both listings know it."""
_NOT_THERE = ("not_found", "permission", "unreachable")
"""Kinds of errors that say nothing of what an input holds."""
_Sums = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Compared:
    """Of some listed inputs: rows that are new, and rows that changed. slices: of each row, -1 where it has none. gone:
    of those that cannot be had any more."""

    new: npt.NDArray[np.int64]
    changed: npt.NDArray[np.int64]
    slices: npt.NDArray[np.int32]
    gone: int


@dataclass
class _State:
    """columns: by name, a checksum of each row's value; 0 where it has none that says anything."""

    ids: Ids = field(default_factory=lambda: NO_IDS)
    is_error: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    slices: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    columns: dict[str, _Sums] = field(default_factory=dict)


class KnownInputs:
    """pieces: of the manifests of a job, in order; the last row of an input counts."""

    def __init__(self, pieces: Iterable[pa.Table]) -> None:
        self._types: dict[str, pa.DataType] = {}
        states = []
        for piece in pieces:
            self._types |= {name: type_ for name, type_ in _others(piece).items() if type_ != pa.null()}
            states.append(_state(piece))
        self._known = _in_order(states)
        self._is_seen = np.zeros(len(self._known.ids), bool)

    def compare(self, listed: pa.Table) -> Compared:
        """listed: some rows of a listing, each input once in all of them. An input that could not be had and can be had
        now is new. Raises SpecError where a column that comes along has another type now."""
        self._check_types(listed)
        state, known = _state(listed), self._known
        places = places_in(known.ids, state.ids)
        is_known = places >= 0
        self._is_seen[places[is_known]] = True
        was_error = is_known & _at(known.is_error, places)
        kinds = listed.column("error").to_pylist() if state.is_error.any() else [None] * listed.num_rows
        is_gone = np.array([kind is not None and kind["kind"] in _NOT_THERE for kind in kinds], bool)
        differs = np.zeros(listed.num_rows, bool)
        for name in known.columns.keys() & state.columns.keys():
            before, now = _at(known.columns[name], places), state.columns[name]
            differs |= (before != now) & (before != 0) & (now != 0)
        new = ~is_known | (was_error & ~state.is_error)
        broke = is_known & ~was_error & state.is_error
        changed = (broke & ~is_gone) | (is_known & (was_error == state.is_error) & differs)
        slices = np.where(is_known, _at(known.slices, places), -1).astype(np.int32)
        return Compared(np.flatnonzero(new), np.flatnonzero(changed), slices, int((broke & is_gone).sum()))

    def unseen(self) -> int:
        """Inputs that no listing that was compared has."""
        return int((~self._is_seen).sum())

    def _check_types(self, listed: pa.Table) -> None:
        for name, type_ in _others(listed).items():
            before = self._types.get(name, type_)
            if before != type_ and type_ != pa.null():
                raise SpecError(
                    f"inputs: the column {name!r} is {type_} now and was {before} in the inputs that this "
                    "output has; `types` says what the columns of a CSV are"
                )


def _others(inputs: pa.Table) -> dict[str, pa.DataType]:
    """The columns that come along."""
    return {column.name: column.type for column in list(inputs.schema)[len(tables.INPUTS) :]}


def _state(inputs: pa.Table) -> _State:
    columns = {name: _sums(inputs.column(name).to_pylist(), unknown=True) for name in _STATE}
    columns |= {f"+{name}": _sums(inputs.column(name).to_pylist(), unknown=False) for name in _others(inputs)}
    slices = inputs.column("slice").fill_null(-1).to_numpy().astype(np.int32)
    return _State(ids_of(inputs.column("input_id")), inputs.column("error").is_valid().to_numpy(), slices, columns)


def _sums(values: Iterable[Any], *, unknown: bool) -> _Sums:
    """unknown: whether no value says nothing, rather than that there is none."""
    return np.array(
        [0 if unknown and value is None else zlib.crc32(repr(value).encode()) or 1 for value in values], np.uint32
    )


def _at(values: npt.NDArray[Any], places: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """At each place; anything where it is -1."""
    return values[places] if len(values) else np.zeros(len(places), values.dtype)


def _in_order(states: list[_State]) -> _State:
    """All of them, by id, each in its last state."""
    if not states:
        return _State()
    ids = np.concatenate([state.ids for state in states])
    order = np.argsort(ids, kind="stable")
    order = order[np.append(ids[order][1:] != ids[order][:-1], True)] if len(ids) else order

    def column(name: str) -> _Sums:
        # a manifest without the column says nothing of it
        return np.concatenate([state.columns.get(name, np.zeros(len(state.ids), np.uint32)) for state in states])

    names = {name for state in states for name in state.columns}
    return _State(
        ids[order],
        np.concatenate([state.is_error for state in states])[order],
        np.concatenate([state.slices for state in states])[order],
        {name: column(name)[order] for name in names},
    )
