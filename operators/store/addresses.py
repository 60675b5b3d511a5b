"""Which store an address means: one line for each scheme. Knows nothing of what is stored."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from operators.store.local import path_of, refusal
from operators.store.store import Store
from schemas.address import is_remote, scheme_of, without_password
from schemas.errors import SpecError, StoreLost

SCHEMES = {
    "file": "operators.store.local:LocalStore",  # plain paths too
    **dict.fromkeys(("s3", "gs", "az"), "operators.store.bucket:BucketStore"),
    "memory": "operators.store.memory:MemoryStore",
}

IN_PROCESS = frozenset(("memory",))
"""Schemes of stores that one process sees: the fake, for tests. A run has many processes."""


def store_at(address: str) -> Store:
    """Raises SpecError for a scheme that no store is there for."""
    scheme, shown = scheme_of(address), without_password(address)
    if scheme not in SCHEMES:
        others = ", ".join(f"{name}://" for name in SCHEMES if name not in IN_PROCESS)
        raise SpecError(f"output: {shown!r}: nothing can be written to {scheme}:// so far; give a path, or {others}")
    if is_remote(f"{scheme}://") and not is_remote(address):
        raise SpecError(f"output: {shown!r}: {scheme}:// and a place, as {scheme}://bucket/out")
    module, _, name = SCHEMES[scheme].partition(":")
    try:
        store: Store = getattr(import_module(module), name)(address)
    except SpecError as error:
        raise SpecError(f"output: {str(error).removeprefix('output: ')}") from error
    return store


def in_process(address: str) -> bool:
    return scheme_of(address) in IN_PROCESS


def local_path(address: str) -> Path | None:
    """The folder, as it was given; None where the address is not one of a file system."""
    return path_of(address) if scheme_of(address) == "file" else None


def check_writable(address: str) -> None:
    """Raises SpecError where it shows, without writing anything, that nothing can be written there."""
    folder = local_path(address)
    if folder is not None and (reason := refusal(folder)) is not None:
        raise SpecError(f"output: {folder} cannot be written: {reason}")
    opened(address)


def opened(address: str) -> Store:
    """A store that answers: asked for its files once, and not for minutes. Raises SpecError with what to look at."""
    store = store_at(address)
    if is_remote(address):
        try:
            getattr(store, "check", lambda: None)()  # of a bucket
        except (OSError, StoreLost) as error:
            hint = "" if "docs/buckets.md" in str(error) else "; docs/buckets.md says what a store needs"
            raise SpecError(f"output: {error}{hint}") from None
    return store


def absolute(address: str) -> str:
    """The same place for a process that works in another folder."""
    path = local_path(address)
    return address if path is None else os.path.abspath(path)  # noqa: PTH100  not resolve(): links stay as given
