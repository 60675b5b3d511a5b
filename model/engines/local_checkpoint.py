"""What engines that run a checkpoint here have alike before they run: where it lies, who it is, whether it fits.
Opens no weights, but to hash them, and needs no torch.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from model.engines.kinds import EngineKind, FreeMemory
from model.network.hub import (
    SUFFIXES,
    OpenedCheckpoint,
    open_checkpoint,
    to_be_fetched,
    weight_files,
    weights_sha256,
)
from model.network.memory import SIZES, size_of
from model.prompts.checking import check_prompts
from schemas.engine_spec import CheckpointSpec
from schemas.errors import SpecError
from schemas.finding import Finding

SpecT = TypeVar("SpecT", bound=CheckpointSpec)


class CheckpointKind(EngineKind[SpecT]):
    files_key = "model"
    suffixes = SUFFIXES
    embedded: ClassVar[bool] = False
    """Whether it runs our own network, and so what that computes."""

    @property
    def model(self) -> str:
        return self.spec.model

    @functools.cached_property
    def opened(self) -> OpenedCheckpoint:
        """Raises SpecError for a checkpoint that the engine would not start with, or run wrongly."""
        opened = open_checkpoint(self.spec.model, self.local, embedded=self.embedded)
        check_prompts(opened.folder, opened.marks, opened.config.text.vocabulary, embedded=self.embedded)
        return opened

    @property
    def folder(self) -> Path:
        return self.opened.folder

    @property
    def weights(self) -> Path | None:
        return self.folder

    @property
    def device(self) -> str:
        return "cuda" if self.spec.gpus_per_replica > 0 else "cpu"

    def identity(self) -> dict[str, Any]:
        return {
            "kind": self.spec.kind,
            "dtype": self.spec.dtype,
            "model": self.spec.model,
            "weights_sha256": weights_sha256(self.folder),
        }

    def findings(self, free: FreeMemory) -> tuple[bool, list[Finding]]:
        model = self.spec.model
        if (self.address is not None and self.local is None) or to_be_fetched(model):
            size = size_of(model)
            much = f", about {SIZES[size[0]].parameters * 2 / 1e9:.0f} GB" if size else ""
            message = f"{model} is not on this machine; a run fetches it{much}"
            fix = "name a folder that holds it, or let the first run fetch it"
            return False, [Finding("note", "engine", message, fix)]
        try:
            weights_gb = sum(file.stat().st_size for file in weight_files(self.folder)) / 1e9
        except SpecError as error:
            return False, [Finding("fail", "engine", str(error), "name a checkpoint in engine.model that it runs")]
        return True, [self._fits(weights_gb, free)]

    def _fits(self, weights_gb: float, free: FreeMemory) -> Finding:
        if self.spec.gpus_per_replica:
            free_gb, where, need_gb = free.gpu_gb, "on the fullest GPU", weights_gb * 1.2
        else:
            # published checkpoints are in bfloat16, and a CPU computes in float32 unless the spec says otherwise
            small = weights_gb < 1 or self.spec.dtype == "bfloat16"
            free_gb, where = free.memory_gb, "of memory beside decoders and Ray"
            need_gb = weights_gb * (1.2 if small else 2.2) * self.spec.replicas.max
        message = (
            f"{self.spec.model}: {weights_gb:.2f} GB of weights, {need_gb:.1f} GB to run, {free_gb:.0f} GB free {where}"
        )
        if need_gb > free_gb:
            fix = "take a smaller size or FP8, fewer replicas, or a larger machine (table below)"
            return Finding("fail", "memory", message, fix)
        return Finding("ok", "memory", message)
