"""What the rest of the product asks of an engine that does not run yet. Knows no kind of engine by name.

A kind is found by its name: schemas/engines/<kind>.py has the keys of its section, and model/engines/<kind>_kind.py has
`Settings`, which cross to the engine's own process and build the engine there, and `Kind`, which makes them from
the section. These modules import nothing heavy: that is left to `Settings.build`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from model.engines.engine import DEFAULT_CONTEXT, Engine
from schemas.address import is_remote
from schemas.engine_spec import EngineSpec
from schemas.finding import Finding

SpecT = TypeVar("SpecT", bound=EngineSpec)


@dataclass(frozen=True, kw_only=True)
class EngineSettings(ABC):
    """What an engine is built from, in a process of its own: JSON values only. slots: requests it works on at once."""

    kind: ClassVar[str]
    memory_mb: ClassVar[int | None] = None
    """Address space of its process; None is no bound: a model maps more than it uses."""
    outlived: ClassVar[bool] = False
    """Whether it starts processes that outlive its own when that is killed."""

    slots: int = 8

    @abstractmethod
    def build(self) -> Engine:
        """Raises SpecError for settings that no engine can be built from."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The environment variables with secrets that its process needs."""
        return ()

    def python(self) -> str | None:
        """The interpreter of its process where it is not ours."""
        return None


@dataclass(frozen=True)
class Demand:
    """What a job will ask. image_max_px, video_max_px: areas of the largest picture, and of all frames of the largest
    clip together; 0 where there are none. visual_tokens: of the larger of the two. text_tokens: of the longest answer
    and its question. full_inputs: whether whole documents or videos are asked about."""

    image_max_px: int
    video_max_px: int
    visual_tokens: int
    text_tokens: int
    full_inputs: bool


@dataclass(frozen=True)
class FreeMemory:
    """Of this machine, in GB (10^9): memory_gb beside what else a job takes of it; gpu_gb on the fullest GPU."""

    memory_gb: float
    gpu_gb: float


class EngineKind(ABC, Generic[SpecT]):
    """The engine of one job, from its section. Making one touches nothing; what reads or fetches files says so."""

    files_key: ClassVar[str | None] = None
    """The key that names files: a path of this machine, or an address. The settings have a path under the same."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of those that are wanted of a folder; none: it is one file."""
    bulk: ClassVar[tuple[str, ...]] = ()
    """Of these suffixes, those of large files that a plan does without."""

    def __init__(self, spec: SpecT, local: Path | None = None, *, fetch: bool = True) -> None:
        """local: where that which `address` names lies on this machine. fetch: what lies elsewhere, as a whole;
        without, nothing that is large, and `left_open` says what is not known then."""
        self.spec = spec
        self.local = local
        self.fetch = fetch

    @property
    def address(self) -> str | None:
        """Of its files, where they lie elsewhere: who makes an engine of them has to fetch them first."""
        place = getattr(self.spec, self.files_key) if self.files_key is not None else ""
        return place if is_remote(place) else None

    @property
    def model(self) -> str:
        """As rows name it."""
        return self.spec.kind

    @property
    def weights(self) -> Path | None:
        """Folder of the checkpoint that it runs, None where it runs none here. Fetches it. Raises SpecError."""
        return None

    @property
    def checkpoint(self) -> Path | None:
        """Folder with the model's own settings (pixel bounds, how it reads lines). Raises SpecError."""
        return self.weights

    @property
    def is_absent(self) -> bool:
        """Whether its checkpoint has to be fetched to this machine. Asks nobody."""
        return False

    @property
    def left_open(self) -> tuple[str, ...]:
        """What a run will know and is not known yet, as sentences; only where not all is to be fetched."""
        return ()

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What of it changes answers, as JSON: a job goes on only where this is as before. Raises SpecError for a
        checkpoint or a recording that is not there."""

    def context(self, demand: Demand) -> int:
        """Tokens of prompt and answer that it will hold. Raises SpecError for more than it can."""
        return self.spec.max_context or DEFAULT_CONTEXT

    @abstractmethod
    def settings(self, context: int, demand: Demand) -> EngineSettings:
        """context: as above. Raises SpecError."""

    def refusal(self, schema: dict[str, Any]) -> str | None:
        """Why it cannot hold an answer to a JSON Schema, and where in it; None where it can, or nobody knows before."""
        return None

    def findings(self, free: FreeMemory) -> tuple[bool, list[Finding]]:
        """For `sightread doctor`: whether it can be asked a few questions on this machine now, and what is known of it
        before. Fetches nothing."""
        return True, []


def engine_kind(spec: EngineSpec, local: Path | None = None, *, fetch: bool = True) -> EngineKind[Any]:
    kind: EngineKind[Any] = _module(spec.kind).Kind(spec, local, fetch=fetch)
    return kind


def describe(settings: EngineSettings) -> dict[str, Any]:
    """As JSON, for `settings_from` in another process."""
    return {"kind": settings.kind, **asdict(settings)}


def settings_from(description: dict[str, Any]) -> EngineSettings:
    arguments = dict(description)
    settings: EngineSettings = _module(arguments.pop("kind")).Settings(**arguments)
    return settings


def _module(kind: str) -> Any:
    return importlib.import_module(f"model.engines.{kind}_kind")
