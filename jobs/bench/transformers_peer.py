"""Batched transformers as a peer of `sightread bench engine`: generate with its own cache and its usual attention, over
the same checkpoint and the same requests.

Prompts of unequal length are padded on the left; a batch ends with its longest answer, as generate does it. Its
pictures are patches before the clock starts, and its tokens are not turned into text: it has less to do than ours.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.bench.embedded_peer import picture
from jobs.bench.pages import Prompt
from jobs.bench.roofline import settle
from model.network.loaded import DTYPES
from model.prompts.preprocess import patchify


class Transformers:
    """prompts are one batch, or more of them where the device has no room for it."""

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
    ) -> None:
        # a torchvision that is linked against CUDA breaks the import beside a CPU torch; the network needs none
        if "transformers" not in sys.modules and not torch.version.cuda:
            sys.modules["torchvision"] = None  # type: ignore[assignment]
        transformers: Any = importlib.import_module("transformers")  # untyped in parts
        transformers.utils.logging.set_verbosity_error()
        self.version = f"transformers {transformers.__version__}"
        self.dtype = dtype
        self._device, self._dtype = device, DTYPES[dtype]
        self._prompts, self._answers, self._steps, self._sampling = prompts, answers, steps, sampling
        self._batch = len(prompts)
        model = transformers.Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=self._dtype)
        self._model = model.to(device).eval().requires_grad_(False)

    def warm_up(self, prompt: Prompt, tokens: int) -> dict[str, Any]:
        """What it writes to one page, greedily."""
        ids_out, _ = self._generate([prompt], self._patches([prompt], 0), tokens, {})
        return {"tokens": ids_out[0].tolist()}

    def whole(self, seed: int) -> dict[str, Any]:
        """Of its batches together; a step is one of the first batch, where every row is still wanted."""
        torch.manual_seed(seed)
        patches = self._patches(self._prompts, seed)
        while True:
            try:
                return self._whole(patches)
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
            self._batch = -(-self._batch // 2)
            self.version = f"{self.version.partition(',')[0]}, batches of {self._batch}"
            torch.cuda.empty_cache()

    def _whole(self, patches: list[Tensor]) -> dict[str, Any]:
        prefill_s = 0.0
        steps_s: list[float] = []
        settle(self._device)
        started = time.perf_counter()
        for start in range(0, len(self._prompts), self._batch):
            rows = slice(start, start + self._batch)
            begun = time.perf_counter()
            _, moments = self._generate(self._prompts[rows], patches[rows], max(self._answers[rows]), self._sampling)
            prefill_s += moments[0] - begun
            if not steps_s:
                steps_s = [later - earlier for earlier, later in pairwise(moments[: self._steps + 1])]
        return {
            "whole_s": time.perf_counter() - started,
            "output_tokens": sum(self._answers),
            "prefill_s": prefill_s,
            "step_s": statistics.median(steps_s),
            "step_rows": min(self._batch, len(self._prompts)),
        }

    def _generate(
        self, prompts: Sequence[Prompt], patches: Sequence[Tensor], tokens: int, sampling: dict[str, Any]
    ) -> tuple[Tensor, list[float]]:
        """The tokens [n, tokens], and the moment at which the logits of each were there."""
        image_id = self._model.config.image_token_id
        longest = max(prompt.tokens for prompt in prompts)
        ids, mask = torch.zeros(2, len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, longest - prompt.tokens :] = torch.tensor(prompt.input_ids(image_id))
            mask[row, longest - prompt.tokens :] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        moments: list[float] = []

        def note(written: Tensor, scores: Tensor) -> Tensor:
            settle(self._device)
            moments.append(time.perf_counter())
            if penalty := sampling.get("presence_penalty"):
                seen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, written[:, longest:], True)
                scores = scores - penalty * seen
            return scores

        settings = {name: value for name, value in sampling.items() if name != "presence_penalty"}
        with torch.inference_mode():
            ids_out = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                mm_token_type_ids=(ids == image_id).int(),
                pixel_values=torch.cat(list(patches)).to(self._device),
                image_grid_thw=torch.tensor([prompt.grid for prompt in prompts], device=self._device),
                max_new_tokens=tokens,
                do_sample=bool(sampling.get("temperature")),
                eos_token_id=-1,
                pad_token_id=0,
                logits_processor=[note],
                **settings,
            )
        settle(self._device)
        return ids_out[:, longest:], moments

    def _patches(self, prompts: Sequence[Prompt], seed: int) -> list[Tensor]:
        return [patchify(picture(prompt, seed + number))[0].to(self._dtype) for number, prompt in enumerate(prompts)]
