"""Measure the embedded engine beside its peers: same weights, same prompts, taken in turns in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from model.bench_peers import Ours, Page, Peer, Timing, Transformers, make_pages
from model.bench_shapes import config_json, random_network
from model.qwen3vl import Qwen3VL

OURS, BATCHED, SINGLE = "sightread", "transformers, batched", "transformers, single"


@dataclass
class Result:
    """Seconds of every round, and the most memory that a round took beyond what lay there before it."""

    name: str
    dtype: str
    pages: int
    prompt_tokens: int
    new_tokens: int
    prefill_s: list[float] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    same_tokens: float = 1.0  # share of the tokens that are ours

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens a second, of the median round."""
        return self.pages * self.prompt_tokens / statistics.median(self.prefill_s)

    @property
    def decode_rate(self) -> float:
        """Tokens a second after the first of each answer."""
        return self.pages * (self.new_tokens - 1) / statistics.median(self.decode_s)


@dataclass(frozen=True)
class Roofline:
    """Shares of what the device was measured to do: of its matrix rate in prefill, of its bandwidth in decode."""

    matrix_tflops: float
    bandwidth_gbs: float
    prefill_share: float
    decode_share: float


def measure(
    shape: str,
    *,
    device: str,
    text_layers: int | None,
    vision_blocks: int | None,
    dtype: str,
    prompts: int,
    tokens: int,
    page: tuple[int, int],
    rounds: int,
    note: Callable[[str], None] = lambda _: None,
) -> tuple[list[Result], Roofline | None]:
    """Results of ours, transformers batched and transformers page by page (two pages: it is slow). note is told
    what goes on. The first, uncounted round of each warms up."""
    config = config_json(shape, text_layers=text_layers, vision_blocks=vision_blocks)
    network = random_network(config, dtype=getattr(torch, dtype), device=device)
    pages = make_pages(config, prompts, *page)
    peers: list[tuple[str, Peer, list[Page]]] = [
        (OURS, Ours(network, device=device), pages),
        (BATCHED, Transformers(network, config, device=device, batch=prompts), pages),
        (SINGLE, Transformers(network, config, device=device, batch=1), pages[:2]),
    ]
    results = [Result(name, dtype, len(own), len(pages[0].input_ids), tokens) for name, _, own in peers]
    ours: Timing | None = None
    for number in range(rounds + 1):
        for (name, peer, own), result in zip(peers, results, strict=True):
            note(f"{dtype}, round {number} of {rounds}: {name}")
            gc.collect()
            with _peak_mb(device) as peak:
                timing = peer.run(own, tokens if number else 2)
            if not number:
                continue
            result.prefill_s.append(timing.prefill_s)
            result.decode_s.append(timing.decode_s)
            result.peak_mb = max(result.peak_mb, peak())
            if name == OURS:
                ours = timing
            assert ours is not None
            result.same_tokens = _same(ours, timing)
    return results, None if device == "cpu" else _roofline(network, results[0], page, device)


def ratio(peer: Result, ours: Result, phase: str) -> tuple[float, float, float]:
    """How many times faster ours is in a phase (prefill_s or decode_s), per token: of the medians, and the least and
    the most of any two rounds that stood side by side."""
    scale = ours.pages / peer.pages
    theirs, own = (getattr(each, phase) for each in (peer, ours))
    pairs = [scale * a / b for a, b in zip(theirs, own, strict=True)]
    return scale * statistics.median(theirs) / statistics.median(own), min(pairs), max(pairs)


def hardware(device: str) -> str:
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "CPU")
    return f"{name}, {torch.get_num_threads()} threads"


def _same(ours: Timing, theirs: Timing) -> float:
    pairs = [(a, b) for x, y in zip(ours.tokens, theirs.tokens, strict=False) for a, b in zip(x, y, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs)


class _peak_mb:  # noqa: N801  reads as a function
    """Context manager whose value, called within or after it, says how much memory rose above where it stood."""

    def __init__(self, device: str) -> None:
        self._device = device

    def __enter__(self) -> Callable[[], float]:
        if self._device != "cpu":
            torch.cuda.reset_peak_memory_stats(self._device)
            start = torch.cuda.memory_allocated(self._device)
            return lambda: (torch.cuda.max_memory_allocated(self._device) - start) / 1e6
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts here
        resting = _status_kb("VmRSS")
        return lambda: max(0.0, (_status_kb("VmHWM") - resting) / 1e3)

    def __exit__(self, *_: object) -> None:
        return None


def _status_kb(key: str) -> int:
    return int(Path("/proc/self/status").read_text(encoding="ascii").split(f"{key}:")[1].split()[0])


def _roofline(network: Qwen3VL, ours: Result, page: tuple[int, int], device: str) -> Roofline:
    """FLOPs: two a weight and token, and attention's two products; bytes: each weight once a step, and the keys and
    values of every token. Norms, rotary and activations are not counted."""
    text, vision = network.config.text, network.config.vision
    layers = sum(each.numel() for each in network.language_model.layers.parameters())
    head = text.hidden * text.vocabulary
    patches = page[0] * page[1] // vision.patch**2
    tower = sum(each.numel() for each in network.visual.blocks.parameters())
    length = ours.prompt_tokens
    flops = ours.pages * (
        2 * layers * length
        + 2 * text.layers * length**2 * text.heads * text.head_dim  # causal: half of 4
        + 2 * tower * patches
        + 4 * vision.depth * patches**2 * vision.hidden
    )
    kv_bytes = 2 * text.layers * text.kv_heads * text.head_dim * 2
    middle = length + ours.new_tokens / 2
    step_bytes = 2 * (layers + head) + ours.pages * middle * kv_bytes
    matrix, bandwidth = _matrix_rate(device), _bandwidth(device)
    return Roofline(
        matrix_tflops=matrix / 1e12,
        bandwidth_gbs=bandwidth / 1e9,
        prefill_share=flops / statistics.median(ours.prefill_s) / matrix,
        decode_share=step_bytes * (ours.new_tokens - 1) / statistics.median(ours.decode_s) / bandwidth,
    )


def _matrix_rate(device: str, side: int = 8192) -> float:
    """FLOP/s of a large bfloat16 product."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / min(_seconds(lambda: a @ a, device))


def _bandwidth(device: str, size: int = 1 << 30) -> float:
    """Bytes a second that a copy reads and writes."""
    a = torch.empty(size, device=device, dtype=torch.uint8)
    b = torch.empty_like(a)
    return 2 * size / min(_seconds(lambda: b.copy_(a), device))


def _seconds(act: Callable[[], object], device: str) -> Iterator[float]:
    for _ in range(20):
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        act()
        torch.cuda.synchronize(device)
        yield time.perf_counter() - started
