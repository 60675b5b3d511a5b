"""What engines that run a checkpoint here have alike before they run: where it lies, who it is, whether it fits.
Opens no weights, but to hash them, and needs no torch. For a plan it needs no weights either.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from model.engines.kinds import EngineKind, FreeMemory
from model.network.hub import (
    SUFFIXES,
    WEIGHTS,
    HubSilent,
    OpenedCheckpoint,
    hub_weights_sha256,
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

_PUBLISHED_POSITIONS, _PUBLISHED_LONGEST = 262_144, 1_048_576
"""Of each of Qwen's checkpoints (docs/facts/qwen3-vl.md): what a plan takes one for of which it has nothing."""


class CheckpointKind(EngineKind[SpecT]):
    files_key = "model"
    suffixes = SUFFIXES
    bulk = WEIGHTS
    embedded: ClassVar[bool] = False
    """Whether it runs our own network, and so what that computes."""

    @property
    def model(self) -> str:
        return self.spec.model

    @functools.cached_property
    def opened(self) -> OpenedCheckpoint | None:
        """None where nothing of it can be had now and it is not to be fetched. Raises SpecError for a checkpoint that
        the engine would not start with, or run wrongly."""
        if not self.fetch and self.address is not None and self.local is None:
            return None
        try:
            opened = open_checkpoint(self.spec.model, self.local, embedded=self.embedded, fetch=self.fetch)
        except HubSilent:
            if self.fetch:
                raise
            return None
        check_prompts(opened.folder, opened.marks, opened.config.text.vocabulary, embedded=self.embedded)
        return opened

    @property
    def folder(self) -> Path:
        return self.opened.folder if self.opened is not None else Path(self.spec.model)

    @property
    def weights(self) -> Path | None:
        return self.opened.folder if self.opened is not None else None

    @property
    def max_positions(self) -> int:
        return self.opened.config.text.max_positions if self.opened is not None else _PUBLISHED_POSITIONS

    @property
    def longest_context(self) -> int:
        return self.opened.config.text.longest_context if self.opened is not None else _PUBLISHED_LONGEST

    @functools.cached_property
    def _weights_sha256(self) -> str | None:
        if self.opened is None:
            return None
        if self.opened.has_weights:
            return weights_sha256(self.folder)
        return hub_weights_sha256(self.spec.model, self.folder) if self.address is None else None

    @property
    def is_absent(self) -> bool:
        return (self.address is not None and self.local is None) or to_be_fetched(self.spec.model)

    @property
    def left_open(self) -> tuple[str, ...]:
        model = self.spec.model
        if self.opened is None:
            unknown = "nothing of it is on this machine, and where it lies does not answer"
            return (
                f"whether there is a {model}, and whether this engine runs it: {unknown}",
                "how large its pictures and its context are: taken to be as of Qwen's checkpoints",
                "whether answers that are there are its own: taken to be",
            )
        if self.opened.has_weights:
            return ()
        fit = f"whether the weights of {model} fit it: they are not on this machine; a run fetches them{self._size}"
        same = "whether answers that are there are of the same weights: taken to be"
        return (fit,) if self._weights_sha256 is not None else (fit, same)

    @property
    def _size(self) -> str:
        size = size_of(self.spec.model)
        return f", about {SIZES[size[0]].parameters * (1 if size[1] == 'fp8' else 2) / 1e9:.0f} GB" if size else ""

    @property
    def device(self) -> str:
        return "cuda" if self.spec.gpus_per_replica > 0 else "cpu"

    def identity(self) -> dict[str, Any]:
        """Without the hash of the weights where it cannot be had and they are not to be fetched."""
        known = {"kind": self.spec.kind, "dtype": self.spec.dtype, "model": self.spec.model}
        return known | ({} if self._weights_sha256 is None else {"weights_sha256": self._weights_sha256})

    def findings(self, free: FreeMemory) -> tuple[bool, list[Finding]]:
        model = self.spec.model
        if self.is_absent:
            message = f"{model} is not on this machine; a run fetches it{self._size}"
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
