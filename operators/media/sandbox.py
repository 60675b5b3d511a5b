"""The parent's side of a decoder child: opened files, orders, deadlines, and what a death or a hang costs.

A unit at which the child dies is tried once more in a fresh one, since the death may have come from outside; a
second death is that unit's failure. A hang is a failure at once. The units behind it go on in a fresh child,
unless the same input has done this too often.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from operators.media.episode import screens
from operators.media.formats import EPISODE, VIDEO, media_of_name
from operators.media.source import opened_file
from operators.processes.channel import Frame
from operators.processes.child import LACKS, Child, Limits, spawn
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import ChildDied, Failure, InputError
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
        """{media, units} or {media, error}: the units of an input as operators/units.py has them. Never raises."""
        for attempt in (1, 2):
            try:
                return self._probe_screens(Path(path)) if media == EPISODE else self._probe_file(Path(path), media)
            except InputError as error:
                return {"media": media, "error": asdict(_failure("probe", error))}
            except ChildDied as death:
                if death.kind == "timeout" or attempt == 2:
                    return {"media": media, "error": asdict(Failure("probe", death.kind, str(death), attempt))}
        raise AssertionError

    def decode(
        self, path: str, media: str, units: Sequence[Locator], settings: DecodeSettings | None = None
    ) -> Iterator[pa.RecordBatch]:
        """One row of DECODED for each unit, in order. Never raises."""
        settings = settings or self._settings
        pending = list(units)
        attempts = taken_down = 0
        try:
            files = screens(Path(path)) if media == EPISODE else None
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
                part = _Part(Path(path), media, pending[:]) if files is None else _screen(files, pending[0])
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

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    @property
    def child_pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def _probe_file(self, path: Path, media: str | None) -> dict[str, Any]:
        """Raises InputError for a file that cannot be opened, ChildDied."""
        frame = self._order(_Part(path, media, []), self._settings, {}).answer()
        for fd in frame.fds:  # nothing was asked that needs one
            os.close(fd)
        return frame.head

    def _probe_screens(self, folder: Path) -> dict[str, Any]:
        """One unit for each, page counting from 1. Decoding will say what is wrong with one. Raises InputError for the
        folder, ChildDied."""
        units = []
        for number, path in enumerate(screens(folder), start=1):
            try:
                frames = self._probe_file(path, media_of_name(path.name)).get("units")
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
                running = _Order(self, child, settings.timeout_s)
                order = {"address": source.address, "media": part.media, "prefix": part.prefix, "by_name": by_name}
                try:
                    child.channel.send({**head, **order, "settings": asdict(settings)}, fds=[source.fd])
                except OSError:
                    raise self.on_exit() from None
                if self._orders == 1:
                    self.lacks |= set(running.lacks())
        except InputError as error:
            raise InputError(error.kind, f"{part.prefix}{error}") from error
        return running

    def _ready(self, memory_mb: int, named_file: tuple[int, int] | None) -> Child:
        """A child with that limit, which may open that file by its name and no other: it cannot be allowed another once
        it is locked down."""
        if self._orders >= ORDERS_PER_CHILD or (self._memory_mb, self._named_file) != (memory_mb, named_file):
            self.close()
        if self._child is None:
            limits = Limits(memory_mb=memory_mb)
            self._child = spawn(
                "operators.media.decoder_child", limits=limits, name="the decoder", variables=_ENVIRONMENT
            )
            self._memory_mb, self._named_file = memory_mb, named_file
            self._orders = 0
        self._orders += 1
        return self._child

    def on_exit(self, reason: ChildDied | None = None) -> ChildDied:
        """Reap the child; how it died."""
        assert self._child is not None
        death = reason or self._child.exit_reason()
        self.close()
        return death


class _Order:
    """An order under way: its answers, each within the deadline."""

    def __init__(self, sandbox: Sandbox, child: Child, timeout_s: float) -> None:
        self._sandbox = sandbox
        self._child = child
        self._timeout_s = timeout_s

    def answer(self) -> Frame:
        """The next frame. Raises ChildDied."""
        try:
            frame = self._child.channel.recv(self._timeout_s)
        except TimeoutError:
            late = ChildDied("timeout", f"the decoder gave no answer within {self._timeout_s:g} s")
            raise self._sandbox.on_exit(late) from None
        except (OSError, ValueError) as error:
            raise self._sandbox.on_exit(ChildDied("crashed", f"the decoder spoke nonsense: {error}")) from error
        if frame is None:
            raise self._sandbox.on_exit()
        return frame

    def lacks(self) -> list[str]:
        """What a new child says first, before it looks at the file. Raises ChildDied."""
        frame = self.answer()
        lacks = frame.head.get("lacks")
        if frame.fds or not isinstance(lacks, list) or not {*map(str, lacks)} <= LACKS.keys():
            raise self._sandbox.on_exit(ChildDied("crashed", "the decoder did not say how it is locked down"))
        return lacks

    def unit(self) -> pa.RecordBatch:
        """The next decoded unit, mapped rather than copied. Raises ChildDied."""
        frame = self.answer()
        try:
            (memory,) = frame.fds
            size = os.fstat(memory).st_size
            buffer = pa.py_buffer(mmap.mmap(memory, size, prot=mmap.PROT_READ))
            batch = pa.ipc.open_stream(buffer).read_next_batch()
            batch.validate(full=True)
            if not batch.schema.equals(tables.DECODED) or batch.num_rows != 1:
                raise ValueError("a batch of another form")
        except (ValueError, OSError, pa.ArrowException) as error:
            raise self._sandbox.on_exit(ChildDied("crashed", f"the decoder sent nonsense: {error}")) from error
        finally:
            for fd in frame.fds:
                os.close(fd)
        return batch


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _screen(files: list[Path], unit: Locator) -> _Part:
    """A screen of an episode: a picture like any other. Raises InputError."""
    assert unit.page is not None
    if unit.page > len(files):
        raise InputError("not_found", f"the folder holds {len(files)} screens by now")
    path = files[unit.page - 1]
    return _Part(path, media_of_name(path.name), [Locator()], f"{path.name}: ")


def _failure(stage: str, error: InputError) -> Failure:
    return Failure(stage, error.kind, str(error)[:500])


def failed(failure: Failure) -> pa.RecordBatch:
    """A row of DECODED that holds nothing but the failure."""
    return pa.RecordBatch.from_pylist([{"error": asdict(failure), "decode_s": 0.0}], schema=tables.DECODED)
