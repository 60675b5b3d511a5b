"""What engines that run a checkpoint here have alike before they run: where it lies, who it is, whether it fits.
Opens no weights, but to hash them, and needs no torch.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, TypeVar

from model.engines.kinds import EngineKind, FreeMemory
from model.network.config import Config
from model.network.hub import SUFFIXES, load_config, resolve, to_be_fetched, weight_files, weights_sha256
from model.network.memory import SIZES, size_of
from model.prompts.chat import Chat
from schemas.engine_spec import CheckpointSpec
from schemas.errors import SpecError
from schemas.finding import Finding

SpecT = TypeVar("SpecT", bound=CheckpointSpec)


class CheckpointKind(EngineKind[SpecT]):
    files_key = "model"
    suffixes = SUFFIXES

    @property
    def model(self) -> str:
        return self.spec.model

    @property
    def folder(self) -> Path:
        """Raises SpecError for a checkpoint that the engine would not start with, or run wrongly."""
        return self._checked[0]

    @property
    def config(self) -> Config:
        return self._checked[1]

    def read_config(self, folder: Path) -> Config:
        """Raises SpecError for a checkpoint that the engine would run wrongly or not at all."""
        return load_config(folder)

    @functools.cached_property
    def _checked(self) -> tuple[Path, Config]:
        folder = resolve(self.spec.model if self.local is None else str(self.local))
        config = self.read_config(folder)
        marks = {
            "<|image_pad|>": config.image_id,
            "<|video_pad|>": config.video_id,
            "<|vision_start|>": config.vision_start_id,
            "<|vision_end|>": config.vision_end_id,
        }
        Chat(folder).check(marks, config.text.vocabulary)
        return folder, config

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
            return False, [Finding("fail", "engine", str(error), "name a whole checkpoint folder in engine.model")]
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
