"""The embedded engine, before it runs (model/engines/torch_engine.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from model.engines.engine import DEFAULT_CONTEXT, Engine
from model.engines.kinds import Demand, EngineSettings
from model.engines.local_checkpoint import CheckpointKind
from schemas.engines.torch import Spec


@dataclass(frozen=True, kw_only=True)
class Settings(EngineSettings):
    """As the arguments of TorchEngine. model: checkpoint folder."""

    kind: ClassVar[str] = "torch"

    model: str
    dtype: str = "auto"
    device: str = "cpu"
    max_context: int | None = None
    sharers: int = 1

    def build(self) -> Engine:
        from model.engines.torch_engine import TorchEngine  # torch: seconds, and only here

        return TorchEngine(
            Path(self.model),
            dtype=self.dtype,
            device=self.device,
            slots=self.slots,
            max_context=self.max_context,
            sharers=self.sharers,
        )


class Kind(CheckpointKind[Spec]):
    embedded = True

    def context(self, demand: Demand) -> int:
        return min(self.spec.max_context or DEFAULT_CONTEXT, self.max_positions)

    def settings(self, context: int, demand: Demand) -> Settings:
        return Settings(
            model=str(self.folder),
            dtype=self.spec.dtype,
            device=self.device,
            slots=self.spec.concurrency,
            max_context=context,
            sharers=self._sharers(),
        )

    def refusal(self, schema: dict[str, Any]) -> str | None:
        from model.engines.constraint import refusal  # llguidance: only where a task has a schema

        return refusal(schema)

    def _sharers(self) -> int:
        """Replicas that one memory may have to hold. On CPUs all of them, for Ray may put them all on one node; as many
        as fit on a GPU where they take a part of one each; else a GPU is one replica's alone."""
        if self.spec.gpus_per_replica == 0:
            return self.spec.replicas.max
        return min(self.spec.replicas.max, max(1, int(1 / self.spec.gpus_per_replica)))
