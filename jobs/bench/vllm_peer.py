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

from jobs.bench.pages import Prompt, Timing


class Vllm:
    """The offline engine in one process, without prefix cache or kept pictures: every round does all the work.

    Its prefill holds what its processor does to the pictures; a step may hold all prompts, so that no token is
    decoded before the last prompt is done.
    """

    def __init__(self, folder: Path, *, device: str, dtype: str, prompts: int, tokens: int, kv_bytes: int) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        if device == "cpu":
            os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(kv_bytes // (1 << 30) + 1)  # GiB
            os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # else one core is kept free
        vllm: Any = importlib.import_module("vllm")
        self._sampling = vllm.SamplingParams
        self._image: Any = importlib.import_module("PIL.Image")
        self._engine = vllm.LLM(
            model=str(folder),
            dtype=dtype,
            enforce_eager=device == "cpu",
            max_model_len=tokens,
            max_num_seqs=prompts,
            max_num_batched_tokens=max(2048, prompts * tokens),
            limit_mm_per_prompt={"image": 1, "video": 0},
            enable_prefix_caching=False,
            mm_processor_cache_gb=0,
            disable_log_stats=False,  # the moments of each request
            **({} if device == "cpu" else {"kv_cache_memory_bytes": kv_bytes}),
        )
        self._image_id = self._engine.llm_engine.model_config.hf_config.image_token_id

    def run(self, prompts: Sequence[Prompt], new_tokens: int, batch: int) -> Timing:  # noqa: ARG002  it batches itself
        inputs = [
            {
                "prompt_token_ids": [*prompt.before, self._image_id, *prompt.after],
                "multi_modal_data": {
                    "image": self._image.frombytes("RGB", (prompt.width_px, prompt.height_px), prompt.rgb)
                },
            }
            for prompt in prompts
        ]
        sampling = self._sampling(temperature=0, max_tokens=new_tokens, ignore_eos=True, detokenize=False)
        started = time.monotonic()
        answers = self._engine.generate(inputs, sampling, use_tqdm=False)
        ended = time.monotonic()
        prefilled = max(answer.metrics.first_token_ts for answer in answers)
        tokens = [list(answer.outputs[0].token_ids) for answer in answers]
        return Timing(tokens, prefilled - started, ended - prefilled)
