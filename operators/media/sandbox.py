"""The parent's side of a decoder child: opened files, orders, deadlines, and what a death or a hang costs.

A unit at which the child dies is tried once more in a fresh one, since the death may have come from outside; a
second death is that unit's failure. A hang is a failure at once. The units behind it go on in a fresh child,
unless the same input has done this too often.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from operators.media.decoder_wire import DECODED, LOCKED, PROBED, check_units, unpack_unit
from operators.media.episode import SCREEN, screens
from operators.media.formats import EPISODE, VIDEO
from operators.media.source import opened_file
from operators.processes.child import Child, Limits, spawn
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import ChildDied, Failure, InputError
from schemas.input_uri import path_of, text_of
from schemas.unit import Locator

GIVE_UP = 3
"""Units of one input that may take the child down until the rest of it is given up."""
ORDERS_PER_CHILD = 200
"""A child is then replaced, whatever native code leaked in it."""

_ENVIRONMENT = {
    # native libraries start a thread per core and reserve address space for each, which RLIMIT_AS counts
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    # Arrow starts a thread as it is imported, which could not be locked down
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


@dataclass(frozen=True)
class _Part:
    """A file of an input, and the units that lie in it. prefix: of messages about the file."""

    path: Path
    media: str | None
    units: list[Locator]
    prefix: str = ""


class Sandbox:
    """One decoder child, started when it is needed. For one thread at a time. settings: of orders that bring none."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._settings = settings
        self._child: Child | None = None
        self._memory_mb = 0
        self._named_file: tuple[int, int] | None = None  # what the child may open by name: device and inode
        self._orders = 0
        self.lacks: set[str] = set()
        """What its children lacked to be locked down (operators/processes/isolation.py)."""

    def probe(self, path: str, media: str | None) -> dict[str, Any]:
        """{media, units} or {media, error}: the units of an input as operators/units.py has them. path: or its
        input_uri. Never raises."""
        for attempt in (1, 2):
            try:
                file = path_of(path)
                return self._probe_screens(file) if media == EPISODE else self._probe_file(file, media)
            except InputError as error:
                return {"media": media, "error": asdict(_failure("probe", error))}
            except ChildDied as death:
                self.close(death)
                if death.kind == "timeout" or attempt == 2:
                    return {"media": media, "error": asdict(Failure("probe", death.kind, str(death), attempt))}
        raise AssertionError

    def decode(
        self, path: str, media: str, units: Sequence[Locator], settings: DecodeSettings | None = None
    ) -> Iterator[pa.RecordBatch]:
        """One row of DECODED for each unit, in order. path: or its input_uri. Never raises."""
        settings = settings or self._settings
        pending = list(units)
        attempts = taken_down = 0
        try:
            files = screens(path_of(path)) if media == EPISODE else None
        except InputError as error:
            yield from (failed(_failure("decode", error)) for _ in pending)
            return
        while pending:
            if taken_down >= GIVE_UP:
                message = f"not tried: this file took its decoder down {taken_down} times before"
                for _ in pending:
                    yield failed(Failure("decode", "crashed", message))
                return
            try:
                part = _Part(path_of(path), media, pending[:]) if files is None else _screen(files, pending[0])
                order = self._order(part, settings, {"units": [asdict(unit) for unit in part.units]})
                for _ in part.units:
                    yield order.unit()
                    pending.pop(0)
                    attempts = 0
            except GeneratorExit:
                self.close()  # it would answer the rest of this order to the next one
                raise
            except InputError as error:
                unread = len(pending) if files is None else 1
                yield from (failed(_failure("decode", error)) for _ in range(unread))
                del pending[:unread]
                attempts = 0
            except ChildDied as death:
                self.close(death)
                attempts += 1
                if death.kind == "timeout" or attempts == 2:
                    taken_down += 1
                    yield failed(Failure("decode", death.kind, str(death), attempts))
                    pending.pop(0)
                    attempts = 0

    def try_lock_down(self) -> ChildDied | None:
        """Start a child as for any file, and fill `lacks`; why that cannot be done."""
        try:
            self._probe_file(Path(__file__), None)
        except ChildDied as death:
            return death
        return None

    def close(self, death: ChildDied | None = None) -> None:
        """Safe to call again. death: of the child, for the log."""
        if self._child is not None:
            self._child.kill(death)
            self._child = None

    @property
    def child_pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def _probe_file(self, path: Path, media: str | None) -> dict[str, Any]:
        """Raises InputError for a file that cannot be opened, ChildDied."""
        return self._order(_Part(path, media, []), self._settings, {}).probed()

    def _probe_screens(self, folder: Path) -> dict[str, Any]:
        """One unit for each, page counting from 1. Decoding will say what is wrong with one. Raises InputError for the
        folder, ChildDied."""
        units = []
        for number, path in enumerate(screens(folder), start=1):
            try:
                frames = self._probe_file(path, SCREEN).get("units")
            except InputError:  # it cannot be opened, or is empty
                frames = None
            units.append({"page": number, "decoded_bytes": frames[0]["decoded_bytes"] if frames else 0})
        return {"media": EPISODE, "units": units}

    def _order(self, part: _Part, settings: DecodeSettings, head: dict[str, Any]) -> _Order:
        """Raises InputError for a file that cannot be opened, ChildDied."""
        try:
            with opened_file(part.path) as source:
                if not source.size_bytes and not part.prefix:
                    raise InputError("empty_file", "the file is empty")
                by_name = "units" in head and part.media == VIDEO and settings.video_backend == "decord"
                child = self._ready(settings.memory_mb, _identity(source.fd) if by_name else None)
                order = _Order(child, part.media, settings)
                about = {"address": source.address, "media": part.media, "prefix": part.prefix, "by_name": by_name}
                order.send({**head, **about}, source.fd)
                if self._orders == 1:
                    self.lacks |= order.lacks()
        except InputError as error:
            raise InputError(error.kind, f"{part.prefix}{error}") from error
        return order

    def _ready(self, memory_mb: int, named_file: tuple[int, int] | None) -> Child:
        """A child with that limit, which may open that file by its name and no other: it cannot be allowed another once
        it is locked down. Raises ChildDied."""
        if self._orders >= ORDERS_PER_CHILD or (self._memory_mb, self._named_file) != (memory_mb, named_file):
            self.close()
        if self._child is not None and self._child.begins(0):  # it speaks unasked, or has ended
            self.close()
        if self._child is None:
            limits = Limits(memory_mb=memory_mb)
            try:
                self._child = spawn(
                    "operators.media.decoder_child", limits=limits, name="the decoder", variables=_ENVIRONMENT
                )
            except OSError as error:
                raise ChildDied("crashed", f"the decoder cannot be started: {error}") from error
            self._memory_mb, self._named_file = memory_mb, named_file
            self._orders = 0
        self._orders += 1
        return self._child


class _Order:
    """An order under way: its answers, each within the deadline. media: as it was ordered."""

    def __init__(self, child: Child, media: str | None, settings: DecodeSettings) -> None:
        self._child = child
        self._media = media
        self._settings = settings
        self._first_by: float | None = None

    def send(self, head: dict[str, Any], fd: int) -> None:
        """Raises ChildDied."""
        self._first_by = deadline = self._deadline()
        self._child.send({**head, "settings": asdict(self._settings)}, fds=[fd], deadline=deadline)

    def lacks(self) -> set[str]:
        """What a new child says first, before it looks into the file. Raises ChildDied."""
        with self._in_time():
            return set(self._child.receive(LOCKED, self._first_by).head["lacks"])

    def probed(self) -> dict[str, Any]:
        """{media, units} or {media, error}. Raises ChildDied."""
        with self._in_time():
            answer = self._child.receive(PROBED, self._deadline()).head
        media = answer["media"]
        try:
            if self._media not in (None, media):
                raise ValueError(f"{media} for {self._media}")
            return answer if "error" in answer else {"media": media, "units": check_units(media, answer["units"])}
        except ValueError as error:
            raise self._nonsense(error) from error

    def unit(self) -> pa.RecordBatch:
        """The next decoded unit, its pictures mapped rather than copied. Raises ChildDied."""
        with self._in_time():
            frame = self._child.receive(DECODED, self._deadline())
        try:
            if "error" in frame.head:
                return failed(Failure(**frame.head["error"]), frame.head["decode_s"])
            assert self._media is not None
            return unpack_unit(frame.head["unit"], frame.fds, self._media, self._settings)
        except (ValueError, OSError) as error:
            raise self._nonsense(error) from error
        finally:
            for fd in frame.fds:
                os.close(fd)

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Says of what is late by how much it was to be there."""
        try:
            yield
        except ChildDied as death:
            if death.kind != "timeout":
                raise
            late = f"{self._child.name} gave no answer within {self._settings.timeout_s:g} s"
            raise ChildDied("timeout", late) from death

    def _deadline(self) -> float:
        """Of the next answer. The first has to be there in time after the order, whatever was said before it."""
        first_by, self._first_by = self._first_by, None
        return first_by or time.monotonic() + self._settings.timeout_s

    def _nonsense(self, error: Exception) -> ChildDied:
        return ChildDied("crashed", f"{self._child.name} sent nonsense: {error}"[:300])


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _screen(files: list[Path], unit: Locator) -> _Part:
    """A screen of an episode: a picture like any other. Raises InputError."""
    assert unit.page is not None
    if unit.page > len(files):
        raise InputError("not_found", f"the folder holds {len(files)} screens by now")
    path = files[unit.page - 1]
    return _Part(path, SCREEN, [Locator()], f"{text_of(path.name)}: ")


def _failure(stage: str, error: InputError) -> Failure:
    return Failure(stage, error.kind, str(error)[:500])


def failed(failure: Failure, decode_s: float = 0.0) -> pa.RecordBatch:
    """A row of DECODED that holds nothing but the failure."""
    return pa.RecordBatch.from_pylist([{"error": asdict(failure), "decode_s": decode_s}], schema=tables.DECODED)
