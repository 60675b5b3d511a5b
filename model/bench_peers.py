"""The engines that `sightread bench engine` measures, each over the same weights and the same prompts: ours, and
transformers' generate. Each gives its tokens and the seconds of its prefill and of its decode.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from model.cpu_linear import pack
from model.positions import positions
from model.qwen3vl import Qwen3VL
from model.runner import Row, Runner
from model.scheduler import Job, Scheduler
from model.vision_feed import Feed, Frame

PATCH, MERGE = 16, 2


@dataclass(frozen=True)
class Page:
    """A prompt: a picture, then text. patches [h*w, 1536], grid (1, h, w)."""

    input_ids: list[int]
    patches: Tensor
    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Timing:
    tokens: list[list[int]]
    prefill_s: float
    decode_s: float


class Peer(Protocol):
    def run(self, pages: Sequence[Page], new_tokens: int) -> Timing:
        """All pages, greedily, so many tokens each."""


def make_pages(config: dict[str, Any], count: int, width_px: int, height_px: int, text_tokens: int = 32) -> list[Page]:
    """Pages of noise, each another, with some tokens of text."""
    generator = torch.Generator().manual_seed(1)
    h, w = height_px // PATCH, width_px // PATCH
    pages = []
    for _ in range(count):
        text = torch.randint(0, 100_000, (text_tokens,), generator=generator).tolist()
        pads = [config["image_token_id"]] * (h * w // MERGE**2)
        ids = [config["vision_start_token_id"], *pads, config["vision_end_token_id"], *text]
        pages.append(Page(ids, torch.rand(h * w, 3 * 2 * PATCH**2, generator=generator) * 2 - 1, (1, h, w)))
    return pages


class Ours:
    """Scheduler and runner, as the embedded engine steps them."""

    def __init__(self, network: Qwen3VL, *, device: str, step_tokens: int = 4096) -> None:
        self._network, self._device, self._step_tokens = network, device, step_tokens
        if device == "cpu":
            self._network = _twin(network)  # packing takes its layers away; the peers keep theirs
            pack(self._network)

    def run(self, pages: Sequence[Page], new_tokens: int) -> Timing:
        config = self._network.config
        runner = Runner(self._network, rows=len(pages), device=self._device)
        scheduler: Scheduler[Row] = Scheduler(len(pages), self._step_tokens, 1 << 40)
        rows = []
        for page in pages:
            visual_ids = (config.image_id, config.video_id)
            places, delta = positions(page.input_ids, [page.grid], visual_ids, config.vision.merge)
            row = Row.of(page.input_ids, places, delta, Feed([Frame(page.grid, page.patches)]), visual_ids)
            rows.append(row)
            scheduler.submit(Job(row, len(page.input_ids), len(page.input_ids) + new_tokens))
        _settle(self._device)
        started = time.perf_counter()
        with torch.inference_mode():
            while chunks := scheduler.next_prefill():
                chosen = runner.prefill([(each.job.key, each.start, each.count) for each in chunks]).argmax(-1)
                for chunk, token in zip(chunks, chosen.tolist(), strict=True):
                    if chunk.is_last:
                        chunk.job.key.output_ids.append(token)
            prefilled = time.perf_counter()
            for _ in range(new_tokens - 1):
                for row, token in zip(runner.rows, runner.decode().argmax(-1).tolist(), strict=True):
                    row.output_ids.append(token)
        return Timing([row.output_ids for row in rows], prefilled - started, time.perf_counter() - prefilled)


class Transformers:
    """generate with its own cache and scaled_dot_product_attention. batch: pages at once."""

    def __init__(self, network: Qwen3VL, config: dict[str, Any], *, device: str, batch: int) -> None:
        # a torchvision that is linked against CUDA breaks the import beside a CPU torch; the network needs none
        if "transformers" not in sys.modules and not torch.version.cuda:
            sys.modules["torchvision"] = None  # type: ignore[assignment]
        transformers: Any = importlib.import_module("transformers")  # untyped in parts
        transformers.utils.logging.set_verbosity_error()
        self._device, self._batch = device, batch
        with torch.device("meta"):
            self._model = transformers.Qwen3VLForConditionalGeneration(transformers.Qwen3VLConfig(**config))
        weights = {name if name.startswith("lm_head") else f"model.{name}": v for name, v in network.named_parameters()}
        if "lm_head.weight" not in weights:
            weights["lm_head.weight"] = weights["model.language_model.embed_tokens.weight"]
        self._model.load_state_dict(weights, assign=True)
        _materialise(self._model, device)
        self._dtype = network.language_model.embed_tokens.weight.dtype
        self._model.eval().requires_grad_(False)

    def run(self, pages: Sequence[Page], new_tokens: int) -> Timing:
        tokens: list[list[int]] = []
        prefill_s = decode_s = 0.0
        for start in range(0, len(pages), self._batch):
            made, first_s, rest_s = self._run(pages[start : start + self._batch], new_tokens)
            tokens += made
            prefill_s, decode_s = prefill_s + first_s, decode_s + rest_s
        return Timing(tokens, prefill_s, decode_s)

    def _run(self, pages: Sequence[Page], new_tokens: int) -> tuple[list[list[int]], float, float]:
        ids = torch.tensor([page.input_ids for page in pages], device=self._device)
        config = self._model.config
        moments: list[float] = []

        def note(_: Tensor, scores: Tensor) -> Tensor:
            _settle(self._device)
            moments.append(time.perf_counter())
            return scores

        started = time.perf_counter()
        with torch.inference_mode():
            made = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=(ids == config.image_token_id).int(),
                pixel_values=torch.cat([page.patches for page in pages]).to(self._device, self._dtype),
                image_grid_thw=torch.tensor([page.grid for page in pages], device=self._device),
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=-1,
                pad_token_id=0,
                logits_processor=[note],
            )
        _settle(self._device)
        return made[:, ids.shape[1] :].tolist(), moments[0] - started, time.perf_counter() - moments[0]


def _twin(network: Qwen3VL) -> Qwen3VL:
    """Another network over the same weights."""
    with torch.device("meta"):
        twin = Qwen3VL(network.config)
    twin.load_state_dict(dict(network.named_parameters()), assign=True)
    return twin.eval().requires_grad_(False)


def _materialise(model: Any, device: str) -> None:
    """Buffers that are computed at construction (rotary frequencies) were left on meta: made anew."""
    for module in model.modules():
        for name, value in list(module.named_buffers(recurse=False)):
            if value.is_meta:
                fresh = type(module)(**_arguments(module))
                setattr(module, name, getattr(fresh, name).to(device))


def _arguments(module: Any) -> dict[str, Any]:
    return {"config": module.config} if hasattr(module, "config") else {"dim": module.dim}


def _settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
