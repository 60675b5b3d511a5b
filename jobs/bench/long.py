"""`sightread bench long`: memory that a very long prompt takes on the CPU; minutes.

It is prefilled as the embedded engine does it. Knows nothing of jobs.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from jobs.arguments import count
from jobs.bench.peer_worker import forget_peak, peak_mb
from jobs.display import console_for
from model.engines.encoder_cache import VisualCursor
from model.engines.runner import Runner, Sequence
from model.engines.torch_engine import PREFILL_TOKENS
from model.network.hub import resolve
from model.network.kv_cache import tokens_for
from model.network.positions import positions
from schemas.checkout import NANO

STEP_MB = 256
"""For the activations of one step, whatever came before it, of a network of nano's width."""


@dataclass(frozen=True)
class LongPrompt:
    """grown_mb: the most that was resident, less what was when the network was loaded. cache_mb: keys and values."""

    tokens: int
    steps: int
    seconds: float
    grown_mb: float
    cache_mb: float

    @property
    def bound_mb(self) -> float:
        """Beside the cache, one layer's keys and values of the sequence in one piece, while that layer attends."""
        return 1.5 * self.cache_mb + STEP_MB


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=str(NANO), help="another checkpoint (default: nano, the one that ships)")
    parser.add_argument("--tokens", type=count, default=100_000, metavar="N")


def run(options: argparse.Namespace) -> int:
    """1 when it took more than the bound."""
    prompt = prefill_long(resolve(options.model), options.tokens)
    console_for().print(
        f"{prompt.tokens:,} tokens in {prompt.steps} steps, {prompt.seconds:.0f} s; "
        f"memory grew by {prompt.grown_mb:.0f} MB, of which {prompt.cache_mb:.0f} MB are keys and values; "
        f"the bound is {prompt.bound_mb:.0f} MB"
    )
    return 0 if prompt.grown_mb <= prompt.bound_mb else 1


def prefill_long(folder: Path, tokens: int) -> LongPrompt:
    """A prompt of text on the CPU, in float32. Positions go beyond what the checkpoint was trained for, so nothing can
    be said of its answer. How far it is goes to stderr."""
    runner = Runner.load(folder, dtype="float32", device="cpu", slots=1, cache_tokens=tokens_for([tokens]))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 256, (tokens,), generator=generator).tolist()
    visual_ids = (runner.network.config.image_id, runner.network.config.video_id)
    places, delta = positions(ids, [], visual_ids)
    sequence = Sequence.of(ids, places, delta, VisualCursor([]), visual_ids)
    forget_peak("cpu")
    loaded_mb = peak_mb("cpu")
    started = reported = time.monotonic()
    steps = 0
    with torch.inference_mode():
        for start in range(0, tokens, PREFILL_TOKENS):
            logits = runner.prefill([(sequence, start, min(PREFILL_TOKENS, tokens - start))])
            steps += 1
            if time.monotonic() - reported > 5:
                reported = time.monotonic()
                print(
                    f"{start:,} of {tokens:,} tokens, {peak_mb('cpu') - loaded_mb:.0f} MB", file=sys.stderr, flush=True
                )
    assert bool(logits.isfinite().all())
    grown_mb, cache_mb = peak_mb("cpu") - loaded_mb, tokens * runner.network.config.text.kv_bytes(4) / 1e6
    return LongPrompt(tokens, steps, time.monotonic() - started, grown_mb, cache_mb)
