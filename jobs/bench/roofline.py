"""What the embedded engine's work costs at least, in FLOPs and bytes, and what a CUDA device was measured to do: how
near the one comes to the other. Norms, rotary, activations and the embedding of tokens are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.network.config import Config
from model.network.qwen3vl import Qwen3VL


@dataclass(frozen=True)
class Work:
    """prefill_flops of all prompts; decode_bytes of one step over all of them."""

    prefill_flops: float
    decode_bytes: float


@dataclass(frozen=True)
class Roofline:
    """Shares of what the device was measured to do: of its matrix rate in prefill, of its bandwidth in decode."""

    matrix_tflops: float
    bandwidth_gbs: float
    prefill_share: float
    decode_share: float


def count(config: Config, *, prompts: int, prompt_tokens: int, patches: int, new_tokens: int, itemsize: int) -> Work:
    """prompts of one picture of so many patches, and prompt_tokens in all. itemsize: bytes of a weight.

    FLOPs: two for each weight and each row that it is applied to, and attention's two products. Bytes: each weight
    of the language model once, of experts at most those that the tokens are routed to; and the keys and values of
    every token so far, in the middle of the answer.
    """
    text, vision = config.text, config.vision
    network = _network(config)
    tower = _weights(network.visual.patch_embed) + _weights(network.visual.blocks)
    mergers = _weights(network.visual.merger) + _weights(network.visual.deepstack_merger_list)
    layers, head = _weights(network.language_model.layers), text.hidden * text.vocabulary
    active, read = layers, layers
    if text.experts is not None:
        expert = text.layers * 3 * text.hidden * text.experts.ffn
        active -= expert * (text.experts.count - text.experts.per_token)
        read -= expert * max(0, text.experts.count - text.experts.per_token * prompts)
    flops = prompts * (
        2 * tower * patches
        + 2 * mergers * patches / vision.merge**2
        + 4 * vision.depth * patches**2 * vision.hidden
        + 2 * active * prompt_tokens
        + 2 * text.layers * prompt_tokens**2 * text.heads * text.head_dim  # causal: half of 4
        + 2 * head  # for the last token
    )
    kv_bytes = text.kv_bytes(itemsize)
    step = itemsize * (read + head) + prompts * (prompt_tokens + new_tokens / 2) * kv_bytes
    return Work(prefill_flops=flops, decode_bytes=step)


def roofline(work: Work, *, prefill_s: float, step_s: float, device: str) -> Roofline:
    """step_s: seconds of one decode step."""
    matrix, bandwidth = _matrix_rate(device), _bandwidth(device)
    return Roofline(
        matrix_tflops=matrix / 1e12,
        bandwidth_gbs=bandwidth / 1e9,
        prefill_share=work.prefill_flops / prefill_s / matrix,
        decode_share=work.decode_bytes / step_s / bandwidth,
    )


def _network(config: Config) -> Qwen3VL:
    with torch.device("meta"):
        return Qwen3VL(config)


def _weights(module: torch.nn.Module) -> int:
    """Of its matrices: vectors (norms, biases) are not counted."""
    return sum(weight.numel() for weight in module.parameters() if weight.dim() > 1)


def _matrix_rate(device: str, side: int = 8192) -> float:
    """FLOP/s of a large bfloat16 product."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / _seconds(lambda: a @ a, device)


def _bandwidth(device: str, size: int = 1 << 30) -> float:
    """Bytes a second that a copy reads and writes."""
    a = torch.empty(size, device=device, dtype=torch.uint8)
    b = torch.empty_like(a)
    return 2 * size / _seconds(lambda: b.copy_(a), device)


def _seconds(act: Callable[[], object], device: str, times: int = 20) -> float:
    """The least of some runs."""
    least = float("inf")
    for _ in range(times):
        _settle(device)
        started = time.perf_counter()
        act()
        _settle(device)
        least = min(least, time.perf_counter() - started)
    return least


def _settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
