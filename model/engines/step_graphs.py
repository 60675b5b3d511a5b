"""A step of the engine as CUDA graphs: one for each number of rows and each kind of step, captured when it is first
needed. Knows nothing of what a step computes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

Run = Callable[[], Tensor]
Kind = TypeVar("Kind", bound=Hashable)


def row_counts(slots: int) -> list[int]:
    """Of the graphs: a step of a number between has rows that are nobody's, a third of it at most beyond four."""
    counts = [1, 2, 4]
    while counts[-1] < slots:
        power = 1 << (counts[-1].bit_length() - 1)
        counts.append(power * 3 // 2 if counts[-1] == power else power * 2)
    return [count for count in counts if count < slots] + [slots]


class StepGraphs(Generic[Kind]):
    """step: [R] slots and its kind -> a tensor with R columns; fit to be captured, and harmless for the slot `idle`,
    which is nobody's. slots: rows at most. capture: of a function without arguments one that does the same again."""

    def __init__(
        self, step: Callable[[Tensor, Kind], Tensor], *, slots: int, idle: int, capture: Callable[[Run], Run]
    ) -> None:
        self._step, self._capture, self._idle = step, capture, idle
        self.counts = row_counts(slots)
        self._captured: dict[tuple[int, Kind], tuple[Tensor, Run]] = {}
        self._captures = True

    def run(self, slots_R: Tensor, kind: Kind) -> Tensor:
        """What the step gives for some slots, until the next call."""
        rows = len(slots_R)
        count = next(count for count in self.counts if count >= rows)
        captured = self._captured.get((count, kind))
        if captured is None and self._captures:
            captured = self._add(slots_R.new_full((count,), self._idle), kind)
        if captured is None:
            return self._step(slots_R, kind)
        fixed, replay = captured
        fixed[:rows] = slots_R
        fixed[rows:] = self._idle
        return replay()[:, :rows]

    def _add(self, slots_R: Tensor, kind: Kind) -> tuple[Tensor, Run] | None:
        """slots_R: nobody's, for this runs the step a few times."""
        try:
            captured = slots_R, self._capture(lambda: self._step(slots_R, kind))
        except Exception as error:  # noqa: BLE001  a GPU is slower without it, not useless
            self._captures = False
            _log.warning("decoding without CUDA graphs: %s: %s", type(error).__name__, f"{error}"[:500])
            return None
        self._captured[len(slots_R), kind] = captured
        return captured


class CudaCapture:
    """Graphs share one pool of memory: only one runs at a time, and what it gives is read before the next. Raises
    before anything is captured where the step waits for the device: a capture that fails leaves torch's memory pool
    and the thread's stream as they are in the midst of it."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # one, for each has a workspace of its own

    def __call__(self, run: Run) -> Run:
        current = torch.cuda.current_stream()
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            run()  # what is compiled, loaded or set aside the first time
            with _waits_refused():
                run()
        current.wait_stream(self._side)
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads may use the device meanwhile
            with torch.cuda.graph(graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"):
                out = run()
        finally:
            torch.cuda.set_stream(current)  # torch does not go back to it when the end of a capture fails

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay


@contextmanager
def _waits_refused() -> Iterator[None]:
    """Whatever has the host wait for the device raises RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is a prototype, which may overlook something
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
