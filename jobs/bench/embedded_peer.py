"""The embedded engine as `sightread bench engine` measures it: as a whole, requests in and replies out, and its legs
alone, on the same weights, the same cache and the same compiled code.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.bench.pages import QUESTION, Prompt
from jobs.bench.roofline import measure_ceilings, settle
from model.engines.encoder_cache import EncoderCache, VisualCursor
from model.engines.runner import Sequence as EngineSequence
from model.engines.torch_engine import PREFILL_TOKENS, TorchEngine
from model.network.kv_blocks import BLOCK_TOKENS, blocks_for
from model.prompts.rgb import pack
from schemas.request import Completion, Message, Picture, Request, Sampling

_OTHER = 500_000
"""Seeds of pages that are read once more: the engine knows a page again, and would not encode it."""


class Embedded:
    """prompts go in together, one slot each. answers: tokens of each. steps: of decode that are measured. context: what
    the longest prompt and its answer take."""

    def __init__(
        self,
        folder: Path,
        prompts: Sequence[Prompt],
        *,
        device: str,
        dtype: str,
        answers: Sequence[int],
        steps: int,
        sampling: dict[str, Any],
        context: int,
    ) -> None:
        self._device = device
        self._prompts, self._answers, self._steps = prompts, answers, steps
        self._sampling = Sampling(**sampling, seed=1)
        self._engine = TorchEngine(
            folder,
            dtype=dtype,
            device=device,
            slots=len(prompts),
            max_context=context,
            cache_tokens=self._cache_tokens(),
        )
        self.version = f"torch {torch.__version__}"
        weight = self._engine.runner.network.language_model.embed_tokens.weight
        self.dtype = str(weight.dtype).removeprefix("torch.")  # float32 where a CPU has no bfloat16
        self._has_read = False

    def warm_up(self, prompt: Prompt, tokens: int) -> dict[str, Any]:
        """What it writes to one page, greedily; and a request all the way. Graphs are captured for the sampling that is
        measured, as they are after the first minute of a job."""
        with torch.inference_mode():
            [sequence] = sequences = self._sequences([prompt], 0)
            self._begin(sequences, self._prefill(sequences)[1], Sampling())
            self._decode(sequences, tokens - 1)
            self._take(sequence, self._sampling)
            self._engine.runner.capture(sequences)
            self._release(sequences)
        asyncio.run(self._generate([self._request(prompt, 1, 4)]))
        return {"tokens": sequence.output_ids}

    def ceilings(self) -> dict[str, Any]:
        return asdict(measure_ceilings(self._device, getattr(torch, self.dtype)))

    def legs(self, seed: int) -> dict[str, Any]:
        """Seconds of prefilling all prompts, the first time too, and of a decode step: of all rows by the preset and
        greedily, and of one row."""
        figures: dict[str, Any] = {"step_rows": len(self._prompts)}
        with torch.inference_mode():
            if not self._has_read:
                sequences = self._sequences(self._prompts, seed + _OTHER)
                figures["first_prefill_s"], _ = self._prefill(sequences)
                self._release(sequences)
                self._has_read = True
            sequences = self._sequences(self._prompts, seed)
            figures["prefill_s"], logits = self._prefill(sequences)
            self._begin(sequences, logits, self._sampling)
            figures["step_s"] = self._decode(sequences, self._steps)
            one = sequences.pop(self.middle)
            figures["one_step_s"] = self._decode([one], self._steps)
            sequences.append(one)
            for sequence in sequences:
                self._take(sequence, Sampling())
            figures["greedy_step_s"] = self._decode(sequences, self._steps)
            self._release(sequences)
        return figures

    def _cache_tokens(self) -> int:
        """What all of them take together at their longest, in blocks: a peer on the same device has the rest."""
        most = [max(answer, 3 * self._steps + 1) for answer in self._answers]
        return BLOCK_TOKENS * sum(
            blocks_for(prompt.tokens + answer) + 1 for prompt, answer in zip(self._prompts, most, strict=True)
        )

    @property
    def middle(self) -> int:
        """The prompt of median length."""
        order = sorted(range(len(self._prompts)), key=lambda index: self._prompts[index].tokens)
        return order[len(order) // 2]

    def whole(self, seed: int) -> dict[str, Any]:
        requests = [
            self._request(prompt, seed + number, answer)
            for number, (prompt, answer) in enumerate(zip(self._prompts, self._answers, strict=True))
        ]
        settle(self._device)
        started = time.perf_counter()
        replies = asyncio.run(self._generate(requests))
        seconds = time.perf_counter() - started
        return {"whole_s": seconds, "output_tokens": sum(reply.output_tokens for reply in replies)}

    async def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        return await asyncio.gather(*map(self._engine.generate, requests))

    def _request(self, prompt: Prompt, seed: int, answer: int) -> Request:
        sampling = Sampling(**{**asdict(self._sampling), "max_tokens": answer, "seed": seed})
        return Request(str(seed), (Message("user", (picture(prompt, seed), QUESTION)),), sampling)

    def _sequences(self, prompts: Sequence[Prompt], seed: int) -> list[EngineSequence]:
        """What the engine makes of such requests, patches and all."""
        network = self._engine.runner.network
        visual_ids = (network.config.image_id, network.config.video_id)
        prepared = []
        for number, prompt in enumerate(prompts):
            ids = prompt.input_ids(network.config.image_id)
            items, grid = EncoderCache(pinned=self._device != "cpu").preprocess(picture(prompt, seed + number))
            places, delta = network.positions(ids, [grid])
            prepared.append(EngineSequence.of(ids, places, delta, VisualCursor(items), visual_ids))
        return prepared

    def _prefill(self, sequences: Sequence[EngineSequence]) -> tuple[float, torch.Tensor]:
        """All of them, end to end in steps as the engine packs them; seconds until the last logits, which it gives
        too: [n, V]."""
        runner = self._engine.runner
        lengths = [len(sequence.input_ids) for sequence in sequences]
        settle(self._device)
        started = time.perf_counter()
        last: list[torch.Tensor] = []
        for chunks in packed(lengths, PREFILL_TOKENS):
            logits = runner.prefill([(sequences[index], start, count) for index, start, count in chunks])
            last += [row for (i, start, count), row in zip(chunks, logits, strict=True) if start + count == lengths[i]]
        settle(self._device)
        return time.perf_counter() - started, torch.stack(last)

    def _begin(self, sequences: list[EngineSequence], logits: torch.Tensor, sampling: Sampling) -> None:
        """The first token of each."""
        for sequence in sequences:
            self._take(sequence, sampling)
        for sequence, choice in zip(sequences, self._engine.runner.begin(sequences, logits), strict=True):
            sequence.output_ids.append(choice.token_id)

    def _take(self, sequence: EngineSequence, sampling: Sampling) -> None:
        """From now on it is sampled so."""
        assert sequence.slot is not None
        sampler = self._engine.runner.sampler
        sampler.clear(sequence.slot)
        sampler.take(sequence.slot, sampling, sequence.input_ids, None)

    def _decode(self, sequences: list[EngineSequence], steps: int) -> float:
        """Seconds of a step of decode and choice, the median."""
        seconds = []
        for _ in range(steps):
            settle(self._device)
            started = time.perf_counter()
            choices = self._engine.runner.decode(sequences)
            seconds.append(time.perf_counter() - started)
            for sequence, choice in zip(sequences, choices, strict=True):
                sequence.output_ids.append(choice.token_id)
        return statistics.median(seconds)

    def _release(self, sequences: Sequence[EngineSequence]) -> None:
        for sequence in sequences:
            self._engine.runner.release(sequence)


def packed(lengths: Sequence[int], step_tokens: int) -> list[list[tuple[int, int, int]]]:
    """Chunks (index, start, count) of prompts of those lengths, end to end in steps of so many tokens."""
    chunked: list[list[tuple[int, int, int]]] = [[]]
    left = step_tokens
    for index, length in enumerate(lengths):
        start = 0
        while start < length:
            if not left:
                chunked.append([])
                left = step_tokens
            count = min(left, length - start)
            chunked[-1].append((index, start, count))
            start, left = start + count, left - count
    return chunked


def picture(prompt: Prompt, seed: int) -> Picture:
    """The noise of a page, as requests carry it."""
    return pack(np.frombuffer(prompt.rgb(seed), np.uint8).reshape(prompt.height_px, prompt.width_px, 3))
