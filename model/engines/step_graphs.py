"""A step of the engine as CUDA graphs: one for each number of rows and each kind of sampling, captured when it is first
needed. Knows nothing of what a step computes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model.engines.sampler import Variant

_log = logging.getLogger(__name__)

Run = Callable[[], Tensor]


def row_counts(slots: int) -> list[int]:
    """Of the graphs: a step of a number between has rows that are nobody's, a third of it at most beyond four."""
    counts = [1, 2, 4]
    while counts[-1] < slots:
        power = 1 << (counts[-1].bit_length() - 1)
        counts.append(power * 3 // 2 if counts[-1] == power else power * 2)
    return [count for count in counts if count < slots] + [slots]


class StepGraphs:
    """step: [R] slots and a variant -> a tensor with R columns; fit to be captured, and harmless for the slot `slots`,
    which is nobody's. capture: of a function without arguments one that does the same again."""

    def __init__(
        self, step: Callable[[Tensor, Variant], Tensor], *, slots: int, device: str, capture: Callable[[Run], Run]
    ) -> None:
        self._step, self._capture, self._idle, self._device = step, capture, slots, device
        self._counts = row_counts(slots)
        self._captured: dict[tuple[int, Variant], tuple[Tensor, Run]] = {}
        self._captures = True

    def run(self, slots: Sequence[int], variant: Variant) -> Tensor:
        """What the step gives for some slots, until the next call."""
        count = next(count for count in self._counts if count >= len(slots))
        rows = torch.tensor([*slots, *[self._idle] * (count - len(slots))], device=self._device)
        captured = self._captured.get((count, variant))
        if captured is None and self._captures:
            captured = self._add(count, variant)
        if captured is None:
            return self._step(rows, variant)[:, : len(slots)]
        slots_R, replay = captured
        slots_R.copy_(rows)
        return replay()[:, : len(slots)]

    def _add(self, count: int, variant: Variant) -> tuple[Tensor, Run] | None:
        """Over rows that are nobody's, for it runs the step a few times."""
        slots_R = torch.full((count,), self._idle, device=self._device)
        try:
            replay = self._capture(lambda: self._step(slots_R, variant))
        except Exception as error:  # noqa: BLE001  a GPU is slower without it, not useless
            self._captures = False
            _log.warning("steps run without CUDA graphs: %s: %s", type(error).__name__, error)
            return None
        self._captured[count, variant] = slots_R, replay
        return slots_R, replay


class CudaCapture:
    """Graphs share one pool of memory: only one runs at a time, and what it gives is read before the next."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Run) -> Run:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # what is compiled, loaded or set aside the first time
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads may use the device meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            out = run()

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay
