"""The parent's side of a decoder child: opened files, orders, deadlines, and what a death or a hang costs.

A unit at which the child dies is tried once more in a fresh one, since the death may have come from outside; a
second death is that unit's failure. A hang is a failure at once. But the form of a document may be what hangs or
crashes, so its first such page is tried once more without what is filled in. The units behind it go on in a fresh
child: what one of them did says nothing about the others. But a file that did this often is in a hurry from then on,
and one that has lost too much time is given up.

A unit hangs where its child shows no progress (operators/media/progress.py) for `timeout_s`, or has no answer after
LONGEST times that, both of time in which it could have worked (operators/media/patience.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

from operators.media.decoder_wire import DECODED, LOCKED, PROBED, check_units, unpack_unit
from operators.media.episode import SCREEN, screens, version_of
from operators.media.formats import DOCUMENT, EPISODE, VIDEO
from operators.media.patience import LOOK_S, Patience
from operators.media.source import opened_source
from operators.processes.child import Child, Frame, Limits, Messages, spawn
from schemas import tables
from schemas.address import name_of
from schemas.decode import DecodeSettings
from schemas.errors import ChildDied, Failure, InputError
from schemas.input_uri import text_of, uri_of
from schemas.unit import Locator

LONGEST = 10
"""An answer may take as many times timeout_s, as long as there is progress. So much may be lost in one go through the
units of an input too, until the rest of them is given up."""
HURRY_AFTER = 3
"""Units of an input that may take the child down, until the others get HURRY of the time, and one attempt."""
HURRY = 0.1
WITHOUT_FORM = 0.5
"""Of the time, for the second try of a page, without its document's form."""
START_S = 60.0
"""Within which a child is there, however loaded the machine. No file is blamed for more."""
QUICK_S = 0.2
"""An answer that begins within this, or a tenth of timeout_s, is one whose child needs not be looked at."""
MOST_SIGNS_PER_S = 20
ORDERS_PER_LOOK = 200
GROWTH = 0.125
"""A child is replaced whose address space has grown by more than this share of its limit since its first order, of
what native code leaks: looked at once in so many orders."""
ORDERS_PER_CHILD = 2_000
"""And so is one that has had so many: what a file did to it does not stay for ever."""

_ENVIRONMENT = {
    # native libraries start a thread per core and reserve address space for each, which RLIMIT_AS counts
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    # Arrow starts a thread as it is imported, which could not be locked down
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class _NotReady(ChildDied):
    """The child did not come to look into the file."""


@dataclass(frozen=True)
class _Part:
    """A file of an input, and the units that lie in it. version: that it must have. prefix: of messages about the
    file."""

    address: str
    version: str | None
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
        self._first_mb = 0  # of address space, after its first order
        self.lacks: set[str] = set()
        """What its children lacked to be locked down (operators/processes/isolation.py)."""

    def probe(self, address: str, media: str | None, version: str | None = None) -> dict[str, Any]:
        """{media, version, units} or {media, error}: the units of an input as operators/units.py has them. address: its
        input_uri. version: that it must have, or None; in the answer, that it has. Raises StoreLost and nothing
        else."""
        for attempt in (1, 2):
            try:
                if media == EPISODE:
                    return self._probe_screens(address)
                return self._probe_file(_Part(address, version, media, []))
            except InputError as error:
                return {"media": media, "error": asdict(_failure("probe", error))}
            except ChildDied as death:
                self.close(death)
                if _is_hang(death) or attempt == 2:
                    return {"media": media, "error": asdict(Failure("probe", death.kind, str(death), attempt))}
        raise AssertionError

    def decode(
        self,
        address: str,
        media: str,
        units: Sequence[Locator],
        settings: DecodeSettings | None = None,
        *,
        length: float = 1.0,
        version: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """One row of DECODED for each unit, in order. address: its input_uri. length: of a unit, in usual ones; with
        progress, its answer may take as many times as long. version: that the input must have, None for any. Raises
        StoreLost and nothing else."""
        settings = settings or self._settings
        pending = list(units)
        attempts = taken_down = 0
        lost_s = 0.0
        may_leave_form_out, left_at = media == DOCUMENT, 0
        try:
            files = screens(address, settings.fetch) if media == EPISODE else None
            if files is not None and version not in (None, version_of(files)):
                raise InputError("changed", "the screens of the folder were changed after they were listed")
        except InputError as error:
            yield from (failed(_failure("decode", error)) for _ in pending)
            return
        while pending:
            if lost_s >= LONGEST * length * settings.timeout_s:
                message = f"not tried: others of this file cost its decoders {lost_s:.0f} s before"
                for _ in pending:
                    yield failed(Failure("decode", "crashed", message))
                return
            hurry = taken_down >= HURRY_AFTER
            time_s = settings.timeout_s * (HURRY if hurry else WITHOUT_FORM if left_at == len(pending) else 1.0)
            began_s, order = time.monotonic(), None
            try:
                if files is None:
                    part = _Part(address, version, media, pending[:])
                else:
                    part = _screen(files, pending[0])
                head = {"units": [vars(unit) for unit in part.units]}
                order = self._order(part, _with_time(settings, time_s), head, length)
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
                lost_s += order.spent_s() if order is not None else time.monotonic() - began_s
                self.close(death)
                attempts += 1
                is_last = _is_hang(death) or attempts >= 2 or (hurry and not isinstance(death, _NotReady))
                if is_last and may_leave_form_out:
                    # it may be the document's form that hangs, at each of its pages
                    settings, may_leave_form_out, left_at = replace(settings, draw_forms=False), False, len(pending)
                elif is_last:
                    if left_at == len(pending):  # it was not
                        settings = replace(settings, draw_forms=True)
                    why = f"{death}; {taken_down} others of this file hung or crashed before" if hurry else str(death)
                    # who ran out of memory ended by itself
                    taken_down += death.kind != "out_of_memory"
                    yield failed(Failure("decode", death.kind, why, attempts))
                    pending.pop(0)
                    attempts = 0

    def try_lock_down(self) -> ChildDied | None:
        """Start a child as for any file, and fill `lacks`; why that cannot be done."""
        try:
            self._probe_file(_Part(uri_of(__file__), None, None, []))
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

    def _probe_file(self, part: _Part) -> dict[str, Any]:
        """Raises InputError for a file that cannot be opened, ChildDied."""
        order = self._order(part, self._settings, {})
        return {**order.probed(), "version": order.version}

    def _probe_screens(self, folder: str) -> dict[str, Any]:
        """One unit for each, page counting from 1. Decoding will say what is wrong with one. Raises InputError for the
        folder, ChildDied."""
        units = []
        files = screens(folder, self._settings.fetch)
        for number, (address, version) in enumerate(files, start=1):
            try:
                frames = self._probe_file(_Part(address, version, SCREEN, [])).get("units")
            except InputError:  # it cannot be opened, or is empty
                frames = None
            units.append({"page": number, "decoded_bytes": frames[0]["decoded_bytes"] if frames else 0})
        return {"media": EPISODE, "units": units, "version": version_of(files)}

    def _order(self, part: _Part, settings: DecodeSettings, head: dict[str, Any], length: float = 1.0) -> _Order:
        """Raises InputError for a file that cannot be opened, ChildDied."""
        try:
            with opened_source(part.address, part.version, settings.fetch) as source:
                if not source.size_bytes and not part.prefix:
                    raise InputError("empty_file", "the file is empty")
                by_name = "units" in head and part.media == VIDEO and settings.video_backend == "decord"
                child = self._ready(settings.memory_mb, _identity(source.fd) if by_name else None)
                order = _Order(child, part.media, settings, length, source.version)
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
        if (self._memory_mb, self._named_file) != (memory_mb, named_file) or self._is_worn():
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

    def _is_worn(self) -> bool:
        """Whether the child is to be replaced, for what it holds or has seen."""
        if self._child is None or self._orders >= ORDERS_PER_CHILD:
            return True
        if self._orders == 1:
            self._first_mb = self._child.address_space_mb
        if self._orders % ORDERS_PER_LOOK:
            return False
        return self._child.address_space_mb - self._first_mb > GROWTH * self._memory_mb


class _Order:
    """An order under way, and its answers, each within its time. media: as it was ordered. version: of its file."""

    def __init__(
        self, child: Child, media: str | None, settings: DecodeSettings, length: float, version: str | None
    ) -> None:
        self._child = child
        self.version = version
        self._media = media
        self._settings = settings
        self._whole_s = LONGEST * length * settings.timeout_s
        self._limits_s = START_S, START_S  # without progress, and with
        self._patience: Patience | None = None  # where the answer is not there soon
        self._sent_s = self._waiting_s = time.monotonic()
        self._signs = 0

    def send(self, head: dict[str, Any], fd: int) -> None:
        """Raises ChildDied."""
        try:
            # a child that starts takes a large order only when it is there
            self._child.send({**head, "settings": _plain(self._settings)}, fds=[fd], deadline=self._sent_s + START_S)
        except ChildDied as death:
            raise _NotReady(death.kind, str(death)) from death

    def lacks(self) -> set[str]:
        """What a new child says first, before it looks into the file. Raises ChildDied."""
        try:
            return set(self._frame(LOCKED).head["lacks"])
        except ChildDied as death:
            late = f"{self._child.name} was not ready within {START_S:g} s"
            raise _NotReady(death.kind, late if death.kind == "timeout" else str(death)) from death

    def probed(self) -> dict[str, Any]:
        """{media, units} or {media, error}. Raises ChildDied."""
        answer = self._answer(PROBED).head
        media = answer["media"]
        try:
            if self._media not in (None, media):
                raise ValueError(f"{media} for {self._media}")
            return answer if "error" in answer else {"media": media, "units": check_units(media, answer["units"])}
        except ValueError as error:
            raise self._nonsense(error) from error

    def unit(self) -> pa.RecordBatch:
        """The next decoded unit, its pictures mapped rather than copied. Raises ChildDied."""
        frame = self._answer(DECODED)
        try:
            if "error" in frame.head:
                return failed(Failure(**frame.head["error"]), frame.head["decode_s"])
            assert self._media is not None
            return unpack_unit(frame.head["unit"], frame.fds, self._media, self._settings)
        except (ValueError, OSError) as error:
            raise self._nonsense(error) from error
        finally:
            _close(frame)

    def spent_s(self) -> float:
        """With the answer that is waited for, or was last."""
        return time.monotonic() - self._waiting_s if self._patience is None else self._patience.spent_s()

    def _answer(self, messages: Messages) -> Frame:
        """The next one, signs of progress aside. Raises ChildDied."""
        self._limits_s, self._patience = (self._settings.timeout_s, self._whole_s), None
        self._waiting_s = time.monotonic()
        while "progress" in (frame := self._frame(messages)).head:
            _close(frame)
            self._signs += 1
            # it tells them while nobody waits for it too
            if self._signs > MOST_SIGNS_PER_S * (1 + time.monotonic() - self._sent_s):
                raise self._nonsense(f"{self._signs} signs of progress")
            self._patient().restart_idle()
        return frame

    def _patient(self) -> Patience:
        """From now on."""
        self._patience = self._patience or Patience(self._child, *self._limits_s)
        return self._patience

    def _frame(self, messages: Messages) -> Frame:
        """Raises ChildDied."""
        if self._patience is not None or not self._child.begins(min(QUICK_S, self._limits_s[0] / 10)):
            patience = self._patient()
            while not self._child.begins(min(LOOK_S, left_s := patience.left_s())):
                if left_s == 0:
                    raise ChildDied("timeout", self._late(patience))
        # what has begun is there soon
        frame_s = min(self._settings.timeout_s, messages.bounds.frame_s or self._settings.timeout_s)
        try:
            return self._child.receive(messages, time.monotonic() + frame_s)
        except ChildDied as death:
            if death.kind != "timeout":
                raise
            raise ChildDied("timeout", f"{self._child.name} broke off in its answer for {frame_s:g} s") from death

    def _late(self, patience: Patience) -> str:
        """A limit that was stretched is named with its key all the same."""
        if patience.is_over:
            within = f"answer within {self._whole_s:g} s, {self._whole_s / self._settings.timeout_s:g} times"
            return f"{self._child.name} gave no {within} decode.timeout_s"
        return f"{self._child.name} gave no sign of progress within {self._settings.timeout_s:g} s (decode.timeout_s)"

    def _nonsense(self, error: Exception | str) -> ChildDied:
        return ChildDied("crashed", f"{self._child.name} sent nonsense: {error}"[:300])


@lru_cache(maxsize=8)
def _plain(settings: DecodeSettings) -> dict[str, Any]:
    """As every order says them; nobody changes it."""
    return asdict(settings)


@lru_cache(maxsize=8)
def _with_time(settings: DecodeSettings, timeout_s: float) -> DecodeSettings:
    return replace(settings, timeout_s=timeout_s)


def _is_hang(death: ChildDied) -> bool:
    """At the file. A second attempt would take as long."""
    return death.kind == "timeout" and not isinstance(death, _NotReady)


def _close(frame: Frame) -> None:
    for fd in frame.fds:
        os.close(fd)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _screen(files: Sequence[tuple[str, str | None]], unit: Locator) -> _Part:
    """A screen of an episode: a picture like any other. Raises InputError."""
    assert unit.page is not None
    if unit.page > len(files):
        raise InputError("not_found", f"the folder holds {len(files)} screens by now")
    address, version = files[unit.page - 1]
    return _Part(address, version, SCREEN, [Locator()], f"{text_of(name_of(address))}: ")


def _failure(stage: str, error: InputError) -> Failure:
    return Failure(stage, error.kind, str(error)[:500])


def failed(failure: Failure, decode_s: float = 0.0) -> pa.RecordBatch:
    """A row of DECODED that holds nothing but the failure."""
    return pa.RecordBatch.from_pylist([{"error": asdict(failure), "decode_s": decode_s}], schema=tables.DECODED)
