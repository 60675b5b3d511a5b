"""The engines that `sightread bench engine` measures in this interpreter, each over the same checkpoint and the same
prompts: ours, and transformers' generate. A run gives its tokens and the seconds of its prefill and of its decode.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.bench.pages import Prompt, Timing
from model.engines.encoder_cache import VisualCursor, VisualItem
from model.engines.decode_step import Choice
from model.engines.runner import DTYPES, Runner, load_network
from model.engines.runner import Sequence as EngineSequence
from model.engines.scheduler import ScheduledSequence, Scheduler
from model.engines.torch_engine import PREFILL_TOKENS
from model.network.kv_blocks import BLOCK_TOKENS, blocks_for
from model.network.positions import positions
from model.prompts.preprocess import patchify
from model.prompts.rgb import pack


class Ours:
    """Scheduler and runner, as the embedded engine steps them."""

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        self._device = device
        self._network = load_network(folder, dtype=dtype, device=device)

    def run(self, prompts: Sequence[Prompt], new_tokens: int, batch: int) -> Timing:
        network, config = self._network, self._network.config
        visual_ids = (config.image_id, config.video_id)
        all_ids = [prompt.input_ids(config.image_id) for prompt in prompts]
        cache_tokens = sum(blocks_for(len(ids) + new_tokens) for ids in all_ids) * BLOCK_TOKENS
        runner = Runner(network, slots=batch, cache_tokens=cache_tokens, device=self._device)
        scheduler: Scheduler[EngineSequence] = Scheduler(batch, PREFILL_TOKENS, cache_tokens, BLOCK_TOKENS)
        sequences = []
        for prompt, ids in zip(prompts, all_ids, strict=True):
            places, delta = positions(ids, [prompt.grid], visual_ids, config.vision.merge)
            sequence = EngineSequence.of(
                ids, places, delta, VisualCursor([VisualItem(prompt.grid, _patches(prompt))]), visual_ids
            )
            sequences.append(sequence)
            scheduler.submit(ScheduledSequence(sequence, len(ids), len(ids) + new_tokens))
        _settle(self._device)
        started = time.perf_counter()
        with torch.inference_mode():
            while chunks := scheduler.next_prefill():
                logits = runner.prefill([(chunk.sequence.key, chunk.start, chunk.count) for chunk in chunks])
                done = [index for index, chunk in enumerate(chunks) if chunk.is_last]
                if done:
                    _note(ended := [chunks[index].sequence.key for index in done], runner.begin(ended, logits[done]))
            prefilled = time.perf_counter()
            for _ in range(new_tokens - 1):
                _note(sequences, runner.decode(sequences))
        return Timing(
            [sequence.output_ids for sequence in sequences], prefilled - started, time.perf_counter() - prefilled
        )


def _note(sequences: list[EngineSequence], choices: list[Choice]) -> None:
    for sequence, choice in zip(sequences, choices, strict=True):
        sequence.output_ids.append(choice.token_id)


class Transformers:
    """generate with its own cache and scaled_dot_product_attention."""

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        # a torchvision that is linked against CUDA breaks the import beside a CPU torch; the network needs none
        if "transformers" not in sys.modules and not torch.version.cuda:
            sys.modules["torchvision"] = None  # type: ignore[assignment]
        transformers: Any = importlib.import_module("transformers")  # untyped in parts
        transformers.utils.logging.set_verbosity_error()
        self._device, self._dtype = device, DTYPES[dtype]
        model = transformers.Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=self._dtype)
        self._model = model.to(device).eval().requires_grad_(False)

    def run(self, prompts: Sequence[Prompt], new_tokens: int, batch: int) -> Timing:
        tokens: list[list[int]] = []
        prefill_s = decode_s = 0.0
        for start in range(0, len(prompts), batch):
            answers, first_s, rest_s = self._run(prompts[start : start + batch], new_tokens)
            tokens += answers
            prefill_s, decode_s = prefill_s + first_s, decode_s + rest_s
        return Timing(tokens, prefill_s, decode_s)

    def _run(self, prompts: Sequence[Prompt], new_tokens: int) -> tuple[list[list[int]], float, float]:
        config = self._model.config
        ids = torch.tensor([prompt.input_ids(config.image_token_id) for prompt in prompts], device=self._device)
        patches = torch.cat([_patches(prompt) for prompt in prompts]).to(self._device, self._dtype)
        moments: list[float] = []

        def note(_: Tensor, scores: Tensor) -> Tensor:
            _settle(self._device)
            moments.append(time.perf_counter())
            return scores

        _settle(self._device)
        started = time.perf_counter()
        with torch.inference_mode():
            ids_out = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=(ids == config.image_token_id).int(),
                pixel_values=patches,
                image_grid_thw=torch.tensor([prompt.grid for prompt in prompts], device=self._device),
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=-1,
                pad_token_id=0,
                logits_processor=[note],
            )
        _settle(self._device)
        return ids_out[:, ids.shape[1] :].tolist(), moments[0] - started, time.perf_counter() - moments[0]


def _patches(prompt: Prompt) -> Tensor:
    """Outside of what is timed, for both: the picture as the tower takes it."""
    pixels = np.frombuffer(prompt.rgb, np.uint8).reshape(prompt.height_px, prompt.width_px, 3)
    return patchify(pack(pixels))[0]


def _settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
