"""The section `engine:` of a job spec: the keys of every engine. Knows no kind.

A kind of engine is a file in schemas/engines/: its name is the kind, its class `Spec` the keys. What such an engine is
and does stands beside the engines themselves, in model/engines/<kind>_kind.py (model/engines/kinds.py says what).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from schemas.section import LABEL, PositiveFloat, PositiveInt, Section


class Replicas(Section):
    """A number n means {min: n, max: n}."""

    min: PositiveInt = Field(1, description="engines that are there from the start, each in an actor of its own")
    max: PositiveInt = Field(1, description="engines at most: more than at first where they have work and room")

    @model_validator(mode="before")
    @classmethod
    def _of_a_number(cls, data: object) -> object:
        return {"min": data, "max": data} if isinstance(data, int) else data

    @model_validator(mode="after")
    def _in_order(self) -> Replicas:
        if self.min > self.max:
            raise ValueError(f"engine.replicas: min is {self.min}, and max is {self.max}")
        return self


class EngineSpec(Section):
    """Keys of every engine. A kind adds its own, and its name: `kind: Literal["torch"] = "torch"`."""

    kind: str
    replicas: Replicas = Field(
        Replicas(), description="engines: a number, or {min, max} for as many as have work and room; default: 1"
    )
    resources: dict[str, Annotated[str, Field(pattern=LABEL)]] = Field(
        {}, description="labels that a node of the Ray cluster must have for it, by name"
    )
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
        description="checkpoint folder, hub name, or the address of a folder; `nano` is the checkpoint that ships"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: float32 on CPU, else bfloat16")
    gpus_per_replica: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] = Field(
        0, description="0 runs on the CPU"
    )

    @property
    def gpus(self) -> float:
        return self.gpus_per_replica
