"""Where inputs come from that are no files of this machine: one module for each kind, chosen by the scheme.

Another origin is a module with these verbs and a line in ORIGINS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from schemas.address import scheme_of
from schemas.errors import SpecError
from schemas.fetch import FetchSettings


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that a listing shows. version: of its content, for `pieces`; None where the origin has none."""

    address: str
    size_bytes: int | None = None
    version: str | None = None


class Origin(Protocol):
    """All verbs raise InputError for what is wrong with the one file (not_found, permission, changed, too_large,
    unreachable), and StoreLost where a store does not answer any more. May be shared by threads."""

    def check(self, address: str) -> None:
        """Whether anything can be read there at all: asked before a job starts, with little patience. Raises InputError
        with a remedy: not_found where there is no such bucket, permission, unreachable."""

    def stat(self, address: str) -> Entry:
        """Of one file."""

    def list(self, address: str) -> Iterator[Entry]:
        """All files below a folder, however deep, in the order of their addresses; none where there is none. Raises
        SpecError where nothing can be listed."""

    def pieces(self, address: str, version: str | None, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """A file from byte `start` to `end`, or to its end, of this version alone; whole, or an error at last."""


ORIGINS = {
    **dict.fromkeys(("s3", "gs", "az"), "operators.store.inputs.object_origin:ObjectOrigin"),
    **dict.fromkeys(("https", "http"), "operators.store.inputs.web_origin:WebOrigin"),
    "hf": "operators.store.inputs.hub_origin:HubOrigin",
    "memory": "operators.store.inputs.memory_origin:MemoryOrigin",
}
"""Scheme -> module and class, made from the settings."""


def origin_of(address: str, settings: FetchSettings) -> Origin:
    """Raises SpecError for a scheme that nothing is read from."""
    scheme = scheme_of(address)
    if scheme not in ORIGINS:
        raise SpecError(f"{scheme}://: nothing can be read from there; {', '.join(f'{name}://' for name in ORIGINS)}")
    module, _, name = ORIGINS[scheme].partition(":")
    origin: Origin = getattr(import_module(module), name)(settings)
    return origin
