"""Measure the embedded engine beside its peers: same weights, same prompts, each in a process of its own, taken in
turns. Knows nothing of tables.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jobs.bench.peer_process import VLLM, VLLM_PYTHON, Process, started
from jobs.bench.roofline import Roofline, count, roofline
from jobs.bench.shapes import config_json, write_checkpoint
from model.network.config import Config
from schemas.errors import EngineError

OURS, BATCHED, SINGLE = "sightread", "transformers, batched", "transformers, single"


@dataclass(frozen=True)
class Setting:
    """page: width and height in pixels, multiples of 32."""

    shape: str
    device: str
    text_layers: int | None
    vision_blocks: int | None
    dtype: str
    prompts: int
    tokens: int
    page: tuple[int, int]
    rounds: int


@dataclass
class Result:
    """Seconds of every round that was measured; the most memory that the process held in one, weights and all."""

    name: str
    dtype: str
    pages: int
    prompt_tokens: int
    new_tokens: int
    prefill_s: list[float] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    same_tokens: float = 1.0  # share of the tokens that are ours, up to the first that is not

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens a second, of the median round."""
        return self.pages * self.prompt_tokens / statistics.median(self.prefill_s)

    @property
    def decode_rate(self) -> float:
        """Tokens a second after the first of each answer."""
        return self.pages * (self.new_tokens - 1) / statistics.median(self.decode_s)


class Measured:
    """What is there so far, whenever it is looked at."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.config = config_json(setting.shape, text_layers=setting.text_layers, vision_blocks=setting.vision_blocks)
        self.results: list[Result] = []

    @property
    def complete(self) -> list[Result]:
        """The peers that have a round."""
        return [result for result in self.results if result.prefill_s]

    def roofline(self) -> Roofline:
        """Of ours."""
        ours, setting = self.results[0], self.setting
        config = Config.from_json(self.config)
        work = count(
            config,
            prompts=ours.pages,
            prompt_tokens=ours.prompt_tokens,
            patches=setting.page[0] * setting.page[1] // config.vision.patch**2,
            new_tokens=ours.new_tokens,
            itemsize=getattr(torch, setting.dtype).itemsize,
        )
        return roofline(
            work,
            prefill_s=statistics.median(ours.prefill_s),
            step_s=statistics.median(ours.decode_s) / (ours.new_tokens - 1),
            device=setting.device,
        )


def measure(measured: Measured, report: Callable[[str], None]) -> None:
    """Fills in the results: ours, transformers batched, transformers page by page (one page: it is slow), and vLLM
    where VLLM_PYTHON is set. A round of one page, uncounted, warms each up. report: takes a line for every leg as it
    ends.
    """
    setting = measured.setting
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightread-bench-")))
        dtype = getattr(torch, setting.dtype)
        picture_px = setting.page[0] * setting.page[1]
        write_checkpoint(measured.config, folder, dtype=dtype, device=setting.device, picture_px=picture_px)
        report(f"{setting.dtype}: weights written")
        peers: list[tuple[Result, Process, int]] = []
        for name, batch in ((OURS, setting.prompts), (BATCHED, setting.prompts), (SINGLE, 1), (VLLM, setting.prompts)):
            if name == VLLM and not os.environ.get(VLLM_PYTHON):
                continue
            try:
                if name == SINGLE:
                    if peers[-1][0].name != BATCHED:
                        continue
                    peer = peers[-1][1]
                else:
                    peer = stack.enter_context(started(_order(name.partition(",")[0], folder, measured), folder))
                peer.leg(1, 2, 1)
            except EngineError as error:
                if name == OURS:
                    raise
                report(f"{setting.dtype}: left out: {error}")
                continue
            report(f"{setting.dtype}: {name} is loaded and warm")
            peers.append((_result(name, measured), peer, batch))
        measured.results = [result for result, _, _ in peers]
        for number in range(1, setting.rounds + 1):
            ours: list[list[int]] = []
            for result, peer, batch in peers:
                leg = peer.leg(result.pages, setting.tokens, batch)
                result.prefill_s.append(leg["prefill_s"])
                result.decode_s.append(leg["decode_s"])
                result.peak_mb = max(result.peak_mb, leg["peak_mb"])
                ours = ours or leg["tokens"]
                result.same_tokens = same(ours, leg["tokens"])
                report(
                    f"{setting.dtype}, round {number} of {setting.rounds}: {result.name}, {result.pages} pages: "
                    f"prefill {leg['prefill_s']:.2f} s, decode {leg['decode_s']:.2f} s, peak {leg['peak_mb']:.0f} MB"
                )


def ratio(peer: Result, ours: Result, phase: str) -> tuple[float, float, float]:
    """How many times faster ours is in a phase (prefill_s or decode_s), per token: of the medians, and the least and
    the most of any two rounds that stood side by side."""
    scale = ours.pages / peer.pages
    peer_s, ours_s = getattr(peer, phase), getattr(ours, phase)
    pairs = [scale * a / b for a, b in zip(peer_s, ours_s, strict=False)]
    return scale * statistics.median(peer_s) / statistics.median(ours_s), min(pairs), max(pairs)


def same(ours: list[list[int]], theirs: list[list[int]]) -> float:
    """Share of the tokens before the first that differs: from there on, they answer another text."""
    agreed = total = 0
    for mine, other in zip(ours, theirs, strict=False):
        total += len(mine)
        agreed += next((i for i, (a, b) in enumerate(zip(mine, other, strict=True)) if a != b), len(mine))
    return agreed / total


def hardware(device: str) -> str:
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "CPU")
    return f"{name}, {torch.get_num_threads()} threads"


def _result(name: str, measured: Measured) -> Result:
    setting = measured.setting
    # ids of marks and pads; 32 tokens of text
    tokens = setting.page[0] * setting.page[1] // 32**2 + 34
    return Result(name, setting.dtype, 1 if name == SINGLE else setting.prompts, tokens, setting.tokens)


def _order(kind: str, folder: Path, measured: Measured) -> dict[str, Any]:
    """The first order to jobs/bench/peer_worker.py."""
    setting, config = measured.setting, measured.config
    text = Config.from_json(config).text
    longest = _result(kind, measured).prompt_tokens + setting.tokens
    token_bytes = text.kv_bytes(getattr(torch, setting.dtype).itemsize)
    return {
        "peer": kind,
        "folder": str(folder),
        "device": setting.device,
        "dtype": setting.dtype,
        "page": setting.page,
        "prompts": setting.prompts,
        "tokens": longest,
        "kv_bytes": token_bytes * setting.prompts * (longest + 128),
        "ids": {"vision_start_id": config["vision_start_token_id"], "vision_end_id": config["vision_end_token_id"]},
    }
