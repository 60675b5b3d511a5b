"""Keys of vLLM as an engine (model/engines/vllm_engine.py)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from schemas.engine_spec import CheckpointSpec
from schemas.section import PositiveInt


class Spec(CheckpointSpec):
    """vLLM, for throughput on GPUs."""

    kind: Literal["vllm"] = "vllm"
    gpus_per_replica: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] = Field(
        0, description="0 runs on the CPU; the model is split over several (tensor parallel)"
    )
    slots: PositiveInt | None = Field(None, description="requests that one engine works on at once; default: 128")
    max_context: PositiveInt | None = Field(
        None,
        description="tokens of prompt and answer; default: 32768, or what the job's largest input takes; at most 4 "
        "times the model's",
    )
    options: dict[str, Any] = Field({}, description="further arguments, by the names of vLLM's AsyncEngineArgs")

    default_slots: ClassVar[int] = 128
