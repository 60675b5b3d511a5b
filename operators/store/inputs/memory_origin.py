"""Inputs in the memory of this process, for tests: memory://name/key."""

from __future__ import annotations

from collections.abc import Iterator

from operators.store.inputs.origin import Entry
from operators.store.memory import MemoryStore
from schemas.address import place_of
from schemas.errors import InputError
from schemas.fetch import FetchSettings


class MemoryOrigin:
    def __init__(self, settings: FetchSettings) -> None:
        """Nothing is to be set."""

    def check(self, address: str) -> None:
        """Memory is there."""

    def stat(self, address: str) -> Entry:
        store, key = _of(address)
        if (stat := store.stat(key)) is None:
            raise InputError("not_found", f"{address} is not there")
        return Entry(address, stat.size_bytes, stat.version)

    def list(self, address: str) -> Iterator[Entry]:
        store, key = _of(address)
        for name in store.list(key.rstrip("/")):
            yield self.stat(f"{store.address}/{name}")

    def pieces(self, address: str, version: str | None, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        store, key = _of(address)
        if version not in (None, self.stat(address).version):
            raise InputError("changed", f"{address} was changed after it was listed")
        with store.open(key) as file:
            yield file.read()[start:end]


def _of(address: str) -> tuple[MemoryStore, str]:
    scheme, name, key = place_of(address)
    return MemoryStore(f"{scheme}://{name}"), key
