"""Tasks named package.module:NAME are code of who wrote the spec: where their modules are looked for, in the driver and
in Ray's workers. Last on the path, they hide nothing; without such a task nothing is looked for there.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

VARIABLE = "SIGHTREAD_TASK_FOLDERS"
HOOK = "pipelines.task_modules.look_in_as_told"

_folders: list[str] = []


def names_code(task: str) -> bool:
    """Whether it is the name of a task in a module."""
    return ":" in task


def look_in(folder: Path) -> None:
    """From now on, in this process and in workers that it has Ray start."""
    place = os.path.abspath(folder)  # noqa: PTH100  links stay as they are written
    if place not in _folders:
        _folders.append(place)
    if place not in sys.path:
        sys.path.append(place)


def folders() -> list[str]:
    return list(_folders)


def look_in_as_told() -> None:
    """In a worker, before it loads anything: the folders that the driver looks in."""
    for folder in os.environ.get(VARIABLE, "").split(os.pathsep):
        if folder:
            look_in(Path(folder))


def load(place: str) -> Any:
    """What package.module:NAME means. Raises what importing does.

    It is looked for where the user stands only if it is nowhere else: a folder on the path also answers for whatever
    libraries try to import and do without.
    """
    module, _, name = place.partition(":")
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None or spec.origin is None:  # a folder without __init__.py may have another part there
        look_in(Path.cwd())
    return getattr(importlib.import_module(module), name)


def source_of(place: str) -> str:
    """The file that it comes from."""
    return str(importlib.import_module(place.partition(":")[0]).__file__)
