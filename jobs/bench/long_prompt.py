"""Prefill one very long prompt, as the embedded engine does, and see what memory it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from jobs.bench.peer_worker import forget_peak, peak_mb
from model.engines.encoder_cache import VisualCursor
from model.engines.runner import Runner, Sequence
from model.engines.torch_engine import PREFILL_TOKENS
from model.network.positions import positions

STEP_MB = 256
"""For the activations of one step, whatever came before it, of a network of nano's width."""


@dataclass(frozen=True)
class Long:
    """grown_mb: the most that was resident, less what was when the network was loaded. cache_mb: keys and values."""

    tokens: int
    steps: int
    seconds: float
    grown_mb: float
    cache_mb: float

    @property
    def bound_mb(self) -> float:
        """The cache grows in doublings, and while it does, one layer's old half stands beside the new whole."""
        return 2.5 * self.cache_mb + STEP_MB


def read_long(folder: Path, tokens: int, say: Callable[[str], None]) -> Long:
    """A prompt of text on the CPU, in float32. Positions go beyond what the checkpoint was trained for, so nothing can
    be said of its answer. say is told how far it is."""
    runner = Runner.load(folder, dtype="float32", device="cpu", slots=1)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 256, (tokens,), generator=generator).tolist()
    visual_ids = (runner.network.config.image_id, runner.network.config.video_id)
    places, delta = positions(ids, [], visual_ids)
    sequence = Sequence.of(ids, places, delta, VisualCursor([]), visual_ids)
    forget_peak("cpu")
    loaded = peak_mb("cpu")
    started = said = time.monotonic()
    steps = 0
    with torch.inference_mode():
        for start in range(0, tokens, PREFILL_TOKENS):
            logits = runner.prefill([(sequence, start, min(PREFILL_TOKENS, tokens - start))])
            steps += 1
            if time.monotonic() - said > 5:
                said = time.monotonic()
                say(f"{start:,} of {tokens:,} tokens, {peak_mb('cpu') - loaded:.0f} MB")
    assert bool(logits.isfinite().all())
    return Long(tokens, steps, time.monotonic() - started, peak_mb("cpu") - loaded, tokens * runner.token_bytes / 1e6)
