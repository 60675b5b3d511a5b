"""The parent's side of a decoder child: orders, deadlines, and what a death or a hang costs.

A unit at which the child dies is tried once more in a fresh one, since the death may have come from outside; a
second death is that unit's failure. A hang is a failure at once. The units behind it go on in a fresh child,
unless the same input has done this too often.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from operators.processes.child import Child, Limits, spawn
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import ChildDied, Failure

GIVE_UP = 3
"""Units of one order that may take the child down until the rest of the order is given up."""
ORDERS_PER_CHILD = 200
"""A child is then replaced, whatever native code leaked in it."""

_ENVIRONMENT = {
    # native libraries start a thread per core and reserve address space for each, which RLIMIT_AS counts
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
}


class Sandbox:
    """One decoder child, started when it is needed. For one thread at a time."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._settings = settings
        self._child: Child | None = None
        self._orders = 0

    def probe(self, path: str, media: str | None) -> dict[str, Any]:
        """{media, units} or {media, error}: what operators/media/decoder_child.py says of the file. Never raises."""
        order = {"path": path, "media": media, "settings": asdict(self._settings)}
        for attempt in (1, 2):
            try:
                return dict(self._order(order).answer().head)
            except ChildDied as death:
                if death.kind == "timeout" or attempt == 2:
                    return {"media": media, "error": asdict(Failure("probe", death.kind, str(death), attempt))}
        raise AssertionError

    def decode(self, path: str, media: str, units: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
        """One row of DECODED for each unit, in order. Never raises."""
        pending = list(units)
        attempts = taken_down = 0
        while pending:
            if taken_down >= GIVE_UP:
                message = f"not tried: this file took its decoder down {taken_down} times before"
                for _ in pending:
                    yield failed(Failure("decode", "crashed", message))
                return
            try:
                order = self._order(
                    {"path": path, "media": media, "settings": asdict(self._settings), "units": pending}
                )
                while pending:
                    yield order.unit()
                    pending.pop(0)
                    attempts = 0
            except ChildDied as death:
                attempts += 1
                if death.kind == "timeout" or attempts == 2:
                    taken_down += 1
                    yield failed(Failure("decode", death.kind, str(death), attempts))
                    pending.pop(0)
                    attempts = 0

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    @property
    def child_pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def _order(self, order: dict[str, Any]) -> _Order:
        if self._orders >= ORDERS_PER_CHILD:
            self.close()
        if self._child is None:
            limits = Limits(memory_mb=self._settings.memory_mb)
            self._child = spawn(
                "operators.media.decoder_child", limits=limits, name="the decoder", variables=_ENVIRONMENT
            )
            self._orders = 0
        self._orders += 1
        running = _Order(self, self._child, self._settings.timeout_s)
        try:
            self._child.channel.send(order)
        except OSError:
            raise self.on_exit() from None
        return running

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

    def answer(self) -> Any:
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
            for each in frame.fds:
                os.close(each)
        return batch


def failed(failure: Failure) -> pa.RecordBatch:
    """A row of DECODED that holds nothing but the failure."""
    return pa.RecordBatch.from_pylist([{"error": asdict(failure), "decode_s": 0.0}], schema=tables.DECODED)
