"""The kinds of engines that a spec may name: the files in schemas/engines/. Knows none by name but the default one."""

from __future__ import annotations

import importlib
import pkgutil

import schemas.engines
from schemas.engine_spec import EngineSpec

DEFAULT_KIND = "torch"


def engine_specs() -> dict[str, type[EngineSpec]]:
    """The section of each kind, by its name."""
    names = sorted(module.name for module in pkgutil.iter_modules(schemas.engines.__path__))
    return {name: importlib.import_module(f"schemas.engines.{name}").Spec for name in names}
