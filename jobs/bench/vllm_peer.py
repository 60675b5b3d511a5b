"""vLLM as a peer of `sightread bench engine`. Run by the interpreter of an environment that has vLLM
(tests/support/vllm_lines.py says how to make one for a CPU), so it imports nothing of ours that imports anything.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.bench.pages import Prompt


class Vllm:
    """The offline engine in one process, without prefix cache or kept pictures: every round does all the work.

    Its prefill holds what its processor does to the pictures; a step may hold all prompts, so that no token is
    decoded before the last prompt is done. kv_bytes: for the keys and values of all of them.
    """

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
        kv_bytes: int,
    ) -> None:
        self._prompts, self._answers, self._steps, self._sampling = prompts, answers, steps, sampling
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        if device == "cpu":
            os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(kv_bytes // (1 << 30) + 1)  # GiB
            os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # else one core is kept free
        vllm: Any = importlib.import_module("vllm")
        self.version, self.dtype = f"vllm {vllm.__version__}", dtype
        self._parameters = vllm.SamplingParams
        self._image: Any = importlib.import_module("PIL.Image")
        self._engine = vllm.LLM(
            model=str(folder),
            dtype=dtype,
            enforce_eager=device == "cpu",
            max_model_len=context,
            max_num_seqs=len(prompts),
            max_num_batched_tokens=max(2048, sum(prompt.tokens for prompt in prompts)),
            limit_mm_per_prompt={"image": 1, "video": 0},
            enable_prefix_caching=False,
            mm_processor_cache_gb=0,
            disable_log_stats=False,  # the moments of each request
            **({} if device == "cpu" else {"kv_cache_memory_bytes": kv_bytes}),
        )
        self._image_id = self._engine.llm_engine.model_config.hf_config.image_token_id

    def warm_up(self, prompt: Prompt, tokens: int) -> dict[str, Any]:
        """What it writes to one page, greedily."""
        [answer], _ = self._generate([prompt], 0, [tokens], {"temperature": 0})
        return {"tokens": list(answer.outputs[0].token_ids)}

    def legs(self, seed: int) -> dict[str, Any]:
        count = len(self._prompts)
        answers, started = self._generate(self._prompts, seed, [self._steps + 1] * count, self._sampling)
        ended = time.monotonic()
        prefilled = max(answer.metrics.first_token_ts for answer in answers)
        return {
            "prefill_s": prefilled - started,
            "step_s": (ended - prefilled) / self._steps,
            "step_rows": count,
        }

    def whole(self, seed: int) -> dict[str, Any]:
        answers, started = self._generate(self._prompts, seed, self._answers, self._sampling)
        seconds = time.monotonic() - started
        return {"whole_s": seconds, "output_tokens": sum(len(answer.outputs[0].token_ids) for answer in answers)}

    def _generate(
        self, prompts: Sequence[Prompt], seed: int, tokens: Sequence[int], sampling: dict[str, Any]
    ) -> tuple[list[Any], float]:
        """Answers, and the moment at which they were asked for."""
        inputs = [
            {
                "prompt_token_ids": [*prompt.before, self._image_id, *prompt.after],
                "multi_modal_data": {
                    "image": self._image.frombytes(
                        "RGB", (prompt.width_px, prompt.height_px), prompt.rgb(seed + number)
                    )
                },
            }
            for number, prompt in enumerate(prompts)
        ]
        parameters = [
            self._parameters(**sampling, max_tokens=count, ignore_eos=True, detokenize=False) for count in tokens
        ]
        started = time.monotonic()
        return self._engine.generate(inputs, parameters, use_tqdm=False), started
