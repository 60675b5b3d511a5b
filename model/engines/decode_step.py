"""One more token for the rows of an engine: a function over tensors that stay where they are, the same on a CPU and on a
GPU. It waits for nothing and asks the host nothing, so on a GPU it is captured as a graph (step_graphs.py).

Shapes: S slots and one more, which is nobody's; R rows of a step; V vocabulary; H, G, D of the network.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.engines.sampler import Variant, sample
from model.engines.slot_sampler import SlotSampler
from model.engines.step_graphs import CudaCapture, StepGraphs
from model.network.compiled import compile_layers, keep_code, plain_layers
from model.network.kv_cache import BlockCache
from model.network.language import KVCache
from model.network.qwen3vl import Qwen3VL

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """logprob: by the network alone, before penalties, grammar and temperature; NaN: there was nothing to choose."""

    token_id: int
    logprob: float


class DecodeStep:
    """What it holds of a slot: its last token, how many tokens the cache has of it, and what is added to the index of a
    token for its position. network: in eval mode, weights on `device`."""

    def __init__(self, network: Qwen3VL, cache: BlockCache, sampler: SlotSampler) -> None:
        self._network, self._cache, self._sampler = network, cache, sampler
        self._idle = cache.slots
        rows, device = cache.slots + 1, cache.device
        self._ids_S = torch.zeros(rows, dtype=torch.int64, device=device)
        self._lengths_S = torch.zeros_like(self._ids_S)
        self._deltas_S = torch.zeros_like(self._ids_S)
        self._grows_S = torch.ones_like(self._ids_S)  # by how much a step lengthens a slot
        self._grows_S[self._idle] = 0
        self._kernel: Any = None
        self._graphs: StepGraphs | None = None

    def begin(self, slots: Sequence[int], ids_R: Tensor, lengths: Sequence[int], deltas: Sequence[int]) -> None:
        """These slots hold so many tokens each, and go on with these."""
        slots_R, lengths_R, deltas_R = torch.tensor([slots, lengths, deltas], device=self._cache.device)
        self._ids_S[slots_R], self._lengths_S[slots_R], self._deltas_S[slots_R] = ids_R, lengths_R, deltas_R

    def choose(self, slots: Sequence[int], logits_RV: Tensor) -> tuple[Tensor, list[Choice]]:
        """A token for each of some slots, from logits that are there already; on the device, and as the host sees it."""
        variant = self._sampler.prepare(slots)
        ids_R, logprobs_R = sample(
            logits_RV, torch.tensor(slots, device=logits_RV.device), self._sampler.state, variant
        )
        return ids_R, _choices(_packed(ids_R, logprobs_R))

    def run(self, slots: Sequence[int]) -> list[Choice]:
        """One more token for each of some slots."""
        variant = self._sampler.prepare(slots)
        self._cache.grow(dict.fromkeys(slots, 1))
        if self._graphs is not None:
            return _choices(self._graphs.run(slots, variant))
        return _choices(self._step(self._rows(slots), self._attention(slots), variant))

    def logits(self, slots: Sequence[int]) -> Tensor:
        """[R, V] for some slots, whose last token this takes up. Nothing is chosen: `begin` says how they go on."""
        self._cache.grow(dict.fromkeys(slots, 1))
        return self._logits(self._rows(slots), self._attention(slots))

    def prepare_device(self) -> None:
        """On a GPU, before the first request: what can be compiled and captured is, and what cannot is left as it is,
        with the reason in the log."""
        network, config = self._network, self._network.config.text
        _log.warning("compiling the network for this GPU, about a minute the first time; kept in %s", keep_code())

        def use_kernel() -> None:
            module = importlib.import_module("model.network.triton_decode")
            self._kernel = module.DecodeKernel(
                rows=self._idle, heads=config.heads, kv_heads=config.kv_heads, head_dim=config.head_dim,
                device=self._cache.device,
            )  # fmt: skip
            self._idle_step(1)

        def compile_parts() -> None:
            compile_layers(network)
            for rows in {self._idle, 1}:
                self._idle_step(rows)

        def capture() -> None:
            graphs = StepGraphs(self._fixed_step, slots=self._idle, device=self._cache.device, capture=CudaCapture())
            for rows in {self._idle, 1}:
                graphs.run([self._idle] * rows, Variant())
            self._graphs = graphs

        if not _try("our kernel for attention", use_kernel):
            self._kernel = None
            return
        if not _try("compiled layers", compile_parts):
            plain_layers(network)
        _try("CUDA graphs", capture)

    def _idle_step(self, rows: int) -> None:
        self._fixed_step(torch.full((rows,), self._idle, device=self._cache.device), Variant()).tolist()

    def _fixed_step(self, slots_R: Tensor, variant: Variant) -> Tensor:
        """Without a number of the host's in it."""
        return self._step(slots_R, self._kernel_attention(slots_R), variant)

    def _step(self, slots_R: Tensor, attention: KVCache, variant: Variant) -> Tensor:
        """[2, R]: ids and log-probabilities."""
        logits_RV = self._logits(slots_R, attention)
        ids_R, logprobs_R = sample(logits_RV, slots_R, self._sampler.state, variant)
        self._ids_S[slots_R] = ids_R
        return _packed(ids_R, logprobs_R)

    def _logits(self, slots_R: Tensor, attention: KVCache) -> Tensor:
        places_R = self._lengths_S[slots_R] + self._deltas_S[slots_R]
        hidden_1RE = self._network(self._ids_S[slots_R][None], places_R.expand(3, 1, -1), cache=attention)
        self._lengths_S[slots_R] += self._grows_S[slots_R]
        return self._network.logits(hidden_1RE[0])

    def _rows(self, slots: Sequence[int]) -> Tensor:
        return torch.tensor(slots, device=self._cache.device)

    def _attention(self, slots: Sequence[int]) -> KVCache:
        return self._cache.decode(slots) if self._kernel is None else self._kernel_attention(self._rows(slots))

    def _kernel_attention(self, slots_R: Tensor) -> KVCache:
        return self._kernel.over(self._cache, slots_R, self._lengths_S[slots_R])


def _try(what: str, act: Callable[[], None]) -> bool:
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
