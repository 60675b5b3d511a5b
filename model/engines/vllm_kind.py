"""vLLM as an engine, before it runs (model/engines/vllm_engine.py). Imports no vLLM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from model.engines.engine import DEFAULT_CONTEXT, Engine
from model.engines.kinds import Demand, EngineSettings
from model.engines.local_checkpoint import CheckpointKind
from model.engines.vllm_args import VLLMSettings
from schemas.engines.vllm import Spec
from schemas.errors import SpecError

PYTHON = "SIGHTREAD_VLLM_PYTHON"
"""Environment: the interpreter that has vLLM, which may have an environment, and a torch, of its own."""
RESOURCES = frozenset(
    (
        *("gpu_memory_utilization", "kv_cache_memory_bytes", "num_gpu_blocks_override", "block_size", "cpu_offload_gb"),
        *("max_num_batched_tokens", "enable_prefix_caching", "async_scheduling", "enforce_eager", "compilation_config"),
        *("enable_expert_parallel", "mm_encoder_tp_mode", "mm_encoder_attn_backend", "attention_backend"),
        *("load_format", "safetensors_load_strategy", "max_parallel_loading_workers", "disable_custom_all_reduce"),
    )
)
"""Options that change speed and memory, not answers: no part of a job's identity."""


@dataclass(frozen=True, kw_only=True)
class Settings(VLLMSettings, EngineSettings):
    kind: ClassVar[str] = "vllm"
    outlived: ClassVar[bool] = True  # its core outlives a parent that is killed, and holds the GPU (vllm issue 16259)

    def build(self) -> Engine:
        from model.engines.vllm_engine import VLLMEngine

        return VLLMEngine(self)

    def python(self) -> str | None:
        return os.environ.get(PYTHON)


class Kind(CheckpointKind[Spec]):
    def identity(self) -> dict[str, Any]:
        changing = {key: value for key, value in self.spec.options.items() if key not in RESOURCES}
        return {**super().identity(), **({"options": changing} if changing else {})}

    def context(self, demand: Demand) -> int:
        """What the spec says, else what is usual, or what the largest picture or clip and the longest answer take
        together where that is more. Beyond the model's own positions only where the spec says so, and only for a task
        that is asked about whole inputs: the stretched positions make short prompts worse.
        """
        native = self.max_positions
        if self.spec.max_context is None:
            return min(max(DEFAULT_CONTEXT, demand.visual_tokens + demand.text_tokens), native)
        context, longest = self.spec.max_context, self.longest_context
        if context > native and not demand.full_inputs:
            raise SpecError(
                f"engine.max_context: {context} tokens are more than the {native} of the model; it is stretched beyond "
                "them only for tasks about whole documents or videos"
            )
        if context > longest:
            raise SpecError(f"engine.max_context: {context} tokens; this model reaches {longest}")
        return context

    def settings(self, context: int, demand: Demand) -> Settings:
        return Settings(
            model=str(self.folder),
            dtype=self.spec.dtype,
            device=self.device,
            slots=self.spec.concurrency,
            max_context=context,
            tensor_parallel=max(1, int(self.spec.gpus_per_replica)),
            image_max_px=demand.image_max_px,
            video_max_px=demand.video_max_px,
            options=self.spec.options,
        )
