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
from model.engines.sampler import TokenChooser, choose_tokens
from model.engines.scheduler import ScheduledSequence, Scheduler
from model.engines.torch_engine import PREFILL_TOKENS, TorchEngine
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
        self._device, self._dtype = device, dtype
        self._prompts, self._answers, self._steps = prompts, answers, steps
        self._sampling = Sampling(**sampling, seed=1)
        self._engine = TorchEngine(
            folder,
            dtype=dtype,
            device=device,
            slots=len(prompts),
            max_context=context,
            cache_tokens=len(prompts) * context,
        )
        self.version = f"torch {torch.__version__}"
        self._has_read = False

    def warm_up(self, prompt: Prompt, tokens: int) -> dict[str, Any]:
        """What it writes to one page, greedily; and a request all the way."""
        with torch.inference_mode():
            [sequence] = sequences = self._sequences([prompt], 0)
            choosers = [TokenChooser(Sampling(), sequence.input_ids)]
            self._prefill(sequences, choosers)
            self._decode(sequences, choosers, tokens - 1)
            self._release(sequences)
        asyncio.run(self._generate([self._request(prompt, 1, 4)]))
        return {"tokens": sequence.output_ids}

    def ceilings(self) -> dict[str, Any]:
        return asdict(measure_ceilings(self._device, getattr(torch, self._dtype)))

    def legs(self, seed: int) -> dict[str, Any]:
        """Seconds of prefilling all prompts, the first time too, and of a decode step: of all rows by the preset and
        greedily, and of one row."""
        figures: dict[str, Any] = {"step_rows": len(self._prompts)}
        with torch.inference_mode():
            if not self._has_read:
                figures["first_prefill_s"] = self._read_once(seed + _OTHER)
                self._has_read = True
            sequences = self._sequences(self._prompts, seed)
            preset, greedy = (
                [TokenChooser(sampling, sequence.input_ids) for sequence in sequences]
                for sampling in (self._sampling, Sampling())
            )
            figures["prefill_s"] = self._prefill(sequences, preset)
            figures["step_s"] = self._decode(sequences, preset, self._steps)
            figures["greedy_step_s"] = self._decode(sequences, greedy, self._steps)
            middle = self.middle
            self._release([sequence for sequence in sequences if sequence is not sequences[middle]])
            figures["one_step_s"] = self._decode([sequences[middle]], [preset[middle]], self._steps)
            self._release([sequences[middle]])
        return figures

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

    def _read_once(self, seed: int) -> float:
        sequences = self._sequences(self._prompts, seed)
        seconds = self._prefill(sequences, [TokenChooser(Sampling(), []) for _ in sequences])
        self._release(sequences)
        return seconds

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
            items, grid = EncoderCache().preprocess(picture(prompt, seed + number))
            places, delta = network.positions(ids, [grid])
            prepared.append(EngineSequence.of(ids, places, delta, VisualCursor(items), visual_ids))
        return prepared

    def _prefill(self, sequences: Sequence[EngineSequence], choosers: Sequence[TokenChooser]) -> float:
        """All of them, packed as the engine does it, and the first token of each; seconds until the last logits."""
        runner = self._engine.runner
        scheduler: Scheduler[int] = Scheduler(len(sequences), PREFILL_TOKENS, 1 << 40)
        for index, sequence in enumerate(sequences):
            scheduler.submit(ScheduledSequence(index, len(sequence.input_ids), len(sequence.input_ids) + 1))
        settle(self._device)
        started = time.perf_counter()
        done: list[tuple[int, torch.Tensor]] = []
        while chunks := scheduler.next_prefill():
            logits = runner.prefill([(sequences[chunk.sequence.key], chunk.start, chunk.count) for chunk in chunks])
            done += [(chunk.sequence.key, row) for chunk, row in zip(chunks, logits, strict=True) if chunk.is_last]
        settle(self._device)
        seconds = time.perf_counter() - started
        order = [index for index, _ in done]
        tokens = choose_tokens(torch.stack([row for _, row in done]), [choosers[index] for index in order])
        for index, token in zip(order, tokens, strict=True):
            sequences[index].output_ids.append(token)
        return seconds

    def _decode(self, sequences: Sequence[EngineSequence], choosers: Sequence[TokenChooser], steps: int) -> float:
        """Seconds of a step of decode and choice, the median."""
        runner = self._engine.runner
        chooser_of = {id(sequence): chooser for sequence, chooser in zip(sequences, choosers, strict=True)}
        seconds = []
        for _ in range(steps):
            settle(self._device)
            started = time.perf_counter()
            ordered = [chooser_of[id(sequence)] for sequence in runner.sequences]
            for sequence, token in zip(runner.sequences, choose_tokens(runner.decode(), ordered), strict=True):
                sequence.output_ids.append(token)
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)

    def _release(self, sequences: Sequence[EngineSequence]) -> None:
        for sequence in sequences:
            self._engine.runner.release(sequence)


def picture(prompt: Prompt, seed: int) -> Picture:
    """The noise of a page, as requests carry it."""
    return pack(np.frombuffer(prompt.rgb(seed), np.uint8).reshape(prompt.height_px, prompt.width_px, 3))
