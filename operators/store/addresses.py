"""Which store an address means: one line for each scheme. Knows nothing of what is stored."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path

from operators.store.local import path_of, refusal
from operators.store.store import Store
from schemas.errors import SpecError

SCHEMES = {
    "file": "operators.store.local:LocalStore",  # plain paths too
    "memory": "operators.store.memory:MemoryStore",
}

IN_PROCESS = frozenset(("memory",))
"""Schemes of stores that one process sees: the fake, for tests. A run has many processes."""


def store_at(address: str) -> Store:
    """Raises SpecError for a scheme that no store is there for."""
    scheme = _scheme(address)
    if scheme not in SCHEMES:
        others = ", ".join(f"{name}://" for name in SCHEMES if name not in IN_PROCESS)
        raise SpecError(f"output: {address!r}: nothing can be written to {scheme}:// so far; give a path, or {others}")
    module, _, name = SCHEMES[scheme].partition(":")
    store: Store = getattr(import_module(module), name)(address)
    return store


def in_process(address: str) -> bool:
    return _scheme(address) in IN_PROCESS


def local_path(address: str) -> Path | None:
    """The folder, as it was given; None where the address is not one of a file system."""
    return path_of(address) if _scheme(address) == "file" else None


def check_writable(address: str) -> None:
    """Raises SpecError where it shows, without writing anything, that nothing can be written there."""
    folder = local_path(address)
    if folder is not None and (reason := refusal(folder)) is not None:
        raise SpecError(f"output: {folder} cannot be written: {reason}")


def absolute(address: str) -> str:
    """The same place for a process that works in another folder."""
    path = local_path(address)
    return address if path is None else os.path.abspath(path)  # noqa: PTH100  not resolve(): links stay as given


def _scheme(address: str) -> str:
    # one slash is a slip: no folder should be named "s3:"
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", address)
    return scheme[1].lower() if scheme else "file"
