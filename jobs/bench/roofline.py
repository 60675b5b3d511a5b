"""What the embedded engine's work costs at least, in FLOPs and bytes, and what a device was measured to do: how near
the one comes to the other. Norms, rotary, activations and the embedding of tokens are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from model.network.config import Config
from model.network.qwen3vl import Qwen3VL


@dataclass(frozen=True)
class Ceilings:
    """matrix_flops: FLOP/s of a large product in the dtype of the weights. bandwidth: bytes a second that a copy reads
    and writes."""

    matrix_flops: float
    bandwidth: float


@dataclass(frozen=True)
class Work:
    """What a network of this configuration has to do. itemsize: bytes of a weight, and of a key or value."""

    config: Config
    itemsize: int

    def prefill_flops(self, pages: Sequence[tuple[int, int]]) -> float:
        """Of prompts of (tokens in all, patches of their one picture): two for each weight and each row that it is
        applied to, and attention's two products."""
        text, vision = self.config.text, self.config.vision
        network = _network(self.config)
        tower = _weights(network.visual.patch_embed) + _weights(network.visual.blocks)
        mergers = _weights(network.visual.merger) + _weights(network.visual.deepstack_merger_list)
        active = _weights(network.language_model.layers)
        if text.experts is not None:
            active -= text.layers * 3 * text.hidden * text.experts.ffn * (text.experts.count - text.experts.per_token)
        return sum(
            2 * tower * patches
            + 2 * mergers * patches / vision.merge**2
            + 4 * vision.depth * patches**2 * vision.hidden
            + 2 * active * tokens
            + 2 * text.layers * tokens**2 * text.heads * text.head_dim  # causal: half of 4
            + 2 * text.hidden * text.vocabulary  # for the last token
            for tokens, patches in pages
        )

    def step_bytes(self, lengths: Sequence[float]) -> float:
        """Of one decode step over rows of those lengths: each weight of the language model once, of experts at most
        those that the tokens are routed to; and the keys and values of every token so far."""
        text = self.config.text
        read = _weights(_network(self.config).language_model.layers)
        if text.experts is not None:
            expert = text.layers * 3 * text.hidden * text.experts.ffn
            read -= expert * max(0, text.experts.count - text.experts.per_token * len(lengths))
        return self.itemsize * (read + text.hidden * text.vocabulary) + sum(lengths) * text.kv_bytes(self.itemsize)


def measure_ceilings(device: str, dtype: torch.dtype, *, side: int | None = None, size: int | None = None) -> Ceilings:
    """Some seconds. side: of the matrices. size: bytes that are copied."""
    side = side or (2048 if device == "cpu" else 8192)
    size = size or (1 << 28 if device == "cpu" else 1 << 30)
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    flops = 2 * side**3 / _seconds(lambda: matrix @ matrix, device)
    source = torch.zeros(size, device=device, dtype=torch.uint8)
    target = torch.zeros_like(source)
    return Ceilings(matrix_flops=flops, bandwidth=2 * size / _seconds(lambda: target.copy_(source), device))


def settle(device: str) -> None:
    """Wait for what the device was told to do."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _network(config: Config) -> Qwen3VL:
    with torch.device("meta"):
        return Qwen3VL(config)


def _weights(module: torch.nn.Module) -> int:
    """Of its matrices: vectors (norms, biases) are not counted."""
    return sum(weight.numel() for weight in module.parameters() if weight.dim() > 1)


def _seconds(act: Callable[[], object], device: str, times: int = 20, most_s: float = 2.0) -> float:
    """The least of some runs, of which three are made however long they take."""
    least, began = float("inf"), time.perf_counter()
    for number in range(times):
        settle(device)
        started = time.perf_counter()
        act()
        settle(device)
        least = min(least, time.perf_counter() - started)
        if number >= 2 and time.perf_counter() - began > most_s:
            break
    return least
