"""A step of the engine: logits for some slots, and a token for each of them. On a GPU it is compiled and captured as
graphs, as far as that can be; what cannot stays as it is, with the reason in the log.

Shapes: R rows of a step; V vocabulary.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.engines.sampler import Variant, sample
from model.engines.slot_sampler import SlotSampler
from model.engines.step_graphs import CudaCapture, StepGraphs
from model.network.decoder import Decoder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """logprob: by the network alone, before penalties, grammar and temperature; NaN: there was nothing to choose."""

    token_id: int
    logprob: float


class DecodeStep:
    def __init__(self, decoder: Decoder, sampler: SlotSampler) -> None:
        self._decoder, self._sampler = decoder, sampler
        self._graphs: StepGraphs[tuple[Variant, int]] | None = None

    def choose(self, slots: Sequence[int], logits_RV: Tensor) -> tuple[Tensor, list[Choice]]:
        """A token for each of some slots, from logits that are there already; on the device, and as the host sees
        it."""
        variant = self._sampler.prepare(slots)
        slots_R = torch.tensor(slots, device=logits_RV.device)
        ids_R, logprobs_R = sample(logits_RV, slots_R, self._sampler.state, variant)
        return ids_R, _choices(_packed(ids_R, logprobs_R))

    def run(self, slots: Sequence[int]) -> list[Choice]:
        """One more token for each of some slots."""
        variant = self._sampler.prepare(slots)
        if self._graphs is not None:
            slots_R = self._decoder.rows(slots)
            return _choices(self._graphs.run(slots_R, (variant, self._decoder.programs(slots))))
        logits_RV = self._decoder.logits(slots)
        return _choices(self._go_on(torch.tensor(slots, device=logits_RV.device), logits_RV, variant))

    def capture(self, slots: Sequence[int]) -> None:
        """Where steps are graphs: those that do what these slots want, of any number of rows and any length. Else each
        is captured when it is needed first, in a quarter of a second."""
        if self._graphs is None:
            return
        variant = self._sampler.prepare(slots)
        for rows, programs in itertools.product(self._graphs.counts, self._decoder.all_programs()):
            idle_R = torch.full((rows,), self._decoder.idle, device=self._decoder.device)
            self._graphs.run(idle_R, (variant, programs)).tolist()

    def prepare_device(self) -> None:
        """On a GPU, before the first request."""
        decoder = self._decoder
        _log.warning(
            "preparing the network for this GPU: about a minute the first time; code is kept in %s",
            decoder.code_folder(),
        )
        if _attempt("our kernel for attention", decoder.use_kernel):
            _attempt("compiled layers", decoder.compile)
            _attempt("CUDA graphs", self._capture)

    def _capture(self) -> None:
        idle, device = self._decoder.idle, self._decoder.device
        graphs = StepGraphs(self._fixed, slots=idle, idle=idle, capture=CudaCapture())
        for rows in {idle, 1}:
            graphs.run(torch.full((rows,), idle, device=device), (Variant(), self._decoder.programs([]))).tolist()
        self._graphs = graphs

    def _fixed(self, slots_R: Tensor, kind: tuple[Variant, int]) -> Tensor:
        variant, programs = kind
        return self._go_on(slots_R, self._decoder.fixed_logits(slots_R, programs), variant)

    def _go_on(self, slots_R: Tensor, logits_RV: Tensor, variant: Variant) -> Tensor:
        """[2, R]: ids and log-probabilities."""
        ids_R, logprobs_R = sample(logits_RV, slots_R, self._sampler.state, variant)
        self._decoder.go_on(slots_R, ids_R)
        return _packed(ids_R, logprobs_R)


def _attempt(what: str, act: Callable[[], None]) -> bool:
    """Whether it could be done; a GPU is slower without, not useless."""
    try:
        act()
    except Exception as error:  # noqa: BLE001  torch, Triton and drivers have no common error
        _log.warning("decoding without %s: %s: %s", what, type(error).__name__, f"{error}"[:500])
        return False
    return True


def _packed(ids_R: Tensor, logprobs_R: Tensor) -> Tensor:
    """As one tensor, so that the host waits once: float64 holds every id."""
    return torch.stack((ids_R.double(), logprobs_R.double()))


def _choices(packed_2R: Tensor) -> list[Choice]:
    ids, logprobs = packed_2R.tolist()
    return [Choice(int(token_id), logprob) for token_id, logprob in zip(ids, logprobs, strict=True)]
