"""What an engine is built from, where its section names it by an address: fetched by the driver, which has to look
into it, and by each node whose engine runs it. Knows no kind of engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.engines.kinds import EngineKind, EngineSettings, engine_kind
from operators.store.inputs.local_copy import LocalCopy, local_copy
from schemas.checkout import NANO, NANO_NAME
from schemas.engine_spec import CheckpointSpec, EngineSpec
from schemas.errors import InputError, SightreadError, SpecError, StoreLost
from schemas.fetch import FetchSettings


@dataclass(frozen=True)
class EngineFiles:
    """key: of the section `engine`, and of the engine's settings."""

    key: str
    copy: LocalCopy

    def path(self) -> Path:
        """On this node. Raises SpecError."""
        try:
            return self.copy.path()
        except (InputError, SpecError, StoreLost) as error:
            raise _of_engine(self.key, self.copy.address, error) from error

    def __call__(self, engine: EngineSettings) -> EngineSettings:
        """To be built on this node. Raises SpecError."""
        local: dict[str, Any] = {self.key: str(self.path())}
        return replace(engine, **local)


@dataclass(frozen=True)
class Shipped:
    """The checkpoint that ships, which lies in the checkout of each node. key: of the engine's settings."""

    key: str

    def __call__(self, engine: EngineSettings) -> EngineSettings:
        """To be built on this node."""
        there: dict[str, Any] = {self.key: str(NANO)}
        return replace(engine, **there)


def engine_of(
    spec: EngineSpec, settings: FetchSettings, *, fetch: bool = True
) -> tuple[EngineKind[Any], EngineFiles | Shipped | None]:
    """The engine, and what of it lies elsewhere on each node. fetch: as for EngineKind. Raises SpecError."""
    engine = engine_kind(spec, fetch=fetch)
    if isinstance(spec, CheckpointSpec) and spec.model == NANO_NAME:
        return engine, Shipped("model")
    if engine.address is None or engine.files_key is None:
        return engine, None
    lightly = not fetch and bool(engine.bulk)
    try:
        files = EngineFiles(engine.files_key, local_copy(engine.address, engine.suffixes, settings))
        if lightly and not files.copy.is_here():
            light = tuple(suffix for suffix in engine.suffixes if suffix not in engine.bulk)
            described = EngineFiles(engine.files_key, local_copy(engine.address, light, settings))
            return engine_kind(spec, described.path(), fetch=False), files
    except (InputError, SpecError, StoreLost) as error:
        silent = isinstance(error, StoreLost) or (isinstance(error, InputError) and error.kind == "unreachable")
        if lightly and silent:
            return engine, None
        raise _of_engine(engine.files_key, engine.address, error) from error
    return engine_kind(spec, files.path()), files


def _of_engine(key: str, address: str, error: SightreadError) -> SpecError:
    sentence = str(error).removeprefix("inputs: ")
    return SpecError(f"engine.{key}: {sentence if '://' in sentence else f'{address}: {sentence}'}")
