"""The section `engine:` of a job spec: the keys of every engine. Knows no kind.

A kind of engine is a file in schemas/engines/: its name is the kind, its class `Spec` the keys. What such an engine is
and does stands beside the engines themselves, in model/engines/<kind>_kind.py (model/engines/kinds.py says what).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.section import PositiveFloat, PositiveInt, Section


class EngineSpec(Section):
    """Keys of every engine. A kind adds its own, and its name: `kind: Literal["torch"] = "torch"`."""

    kind: str
    replicas: PositiveInt = Field(1, description="engines, each in an actor of its own")
    slots: PositiveInt | None = Field(None, description="requests that one engine works on at once; default: 8")
    max_context: PositiveInt | None = Field(
        None, description="tokens of prompt and answer; default: 32768, or what the model reaches where that is less"
    )
    deadline_s: PositiveFloat = Field(1800.0, description="seconds a request may take, waiting included")
    stall_s: PositiveFloat = Field(300.0, description="seconds without progress until the engine is restarted")

    default_slots: ClassVar[int] = 8

    @property
    def concurrency(self) -> int:
        """Requests that one engine works on at once."""
        return self.slots or self.default_slots

    @property
    def gpus(self) -> float:
        """GPUs of one replica."""
        return 0.0


class CheckpointSpec(EngineSpec):
    """Keys of an engine that runs a checkpoint here."""

    model: Annotated[str, Field(min_length=1)] = Field(
        description="checkpoint folder, hub name, or the address of a folder"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: float32 on CPU, else bfloat16")
    gpus_per_replica: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] = Field(
        0, description="0 runs on the CPU"
    )

    @property
    def gpus(self) -> float:
        return self.gpus_per_replica
