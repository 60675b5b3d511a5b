"""The fake engine, before it runs: it answers from a recording and needs no model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from model.engines.engine import Engine
from model.engines.kinds import Demand, EngineKind, EngineSettings, FreeMemory
from schemas.engines.scripted import Spec
from schemas.errors import SpecError
from schemas.finding import Finding


@dataclass(frozen=True, kw_only=True)
class Settings(EngineSettings):
    """recording: path of the JSON lines (model/engines/scripted_engine.py)."""

    kind: ClassVar[str] = "scripted"
    memory_mb: ClassVar[int | None] = 2048  # it has faults that would eat the machine

    recording: str

    def build(self) -> Engine:
        from model.engines.scripted_engine import ScriptedEngine

        return ScriptedEngine(Path(self.recording), slots=self.slots)


class Kind(EngineKind[Spec]):
    files_key = "recording"

    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256(self._recording().read_bytes()).hexdigest()
        return {"kind": self.spec.kind, "dtype": "auto", "recording_sha256": digest}

    def settings(self, context: int, demand: Demand) -> Settings:
        return Settings(recording=str(self._recording().resolve()), slots=self.spec.concurrency)

    def findings(self, free: FreeMemory) -> tuple[bool, list[Finding]]:
        return False, [Finding("ok", "engine", "scripted: a recording, no model")]

    def _recording(self) -> Path:
        recording = self.local or Path(self.spec.recording).expanduser()
        if not recording.is_file():
            raise SpecError(f"engine.recording: there is no file {self.spec.recording}")
        return recording
