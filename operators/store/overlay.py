"""A store that looks like another and keeps every change to itself, in memory: to see what would become of an output.
For one thread.
"""

from __future__ import annotations

import io
from typing import IO

from operators.store.store import Data, Stat, Store


class Overlay:
    def __init__(self, under: Store) -> None:
        self._under = under
        self._changed: dict[str, bytes | None] = {}  # by key; None: deleted
        self._versions: dict[str, int] = {}

    @property
    def address(self) -> str:
        return self._under.address

    def list(self, folder: str = "") -> list[str]:
        mine = {key for key in self._changed if not folder or key.startswith(f"{folder}/")}
        there = {key for key in self._under.list(folder) if key not in self._changed}
        return sorted(there | {key for key in mine if self._changed[key] is not None})

    def stat(self, key: str) -> Stat | None:
        if key not in self._changed:
            return self._under.stat(key)
        data = self._changed[key]
        return None if data is None else Stat(len(data), f"overlay {self._versions[key]}")

    def open(self, key: str) -> IO[bytes]:
        if key not in self._changed:
            return self._under.open(key)
        if (data := self._changed[key]) is None:
            raise FileNotFoundError(f"{self.address}/{key}")
        return io.BytesIO(data)

    def put_if_absent(self, key: str, data: Data) -> bool:
        if self.stat(key) is not None:
            return False
        self._put(key, bytes(data))
        return True

    def replace_if_same(self, key: str, data: Data, version: str) -> bool:
        if (there := self.stat(key)) is None or there.version != version:
            return False
        self._put(key, bytes(data))
        return True

    def delete(self, key: str) -> None:
        self._put(key, None)

    def _put(self, key: str, data: bytes | None) -> None:
        self._changed[key] = data
        self._versions[key] = self._versions.get(key, 0) + 1
