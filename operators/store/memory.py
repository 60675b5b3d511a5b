"""A store in the memory of this process, for tests: the same verbs, nothing on a disk, nothing for other processes."""

from __future__ import annotations

import io
import itertools
import threading
from typing import IO, ClassVar

from operators.store.store import Data, Stat


class MemoryStore:
    """Two with one address are one, as long as the process lives."""

    _stores: ClassVar[dict[str, dict[str, tuple[str, bytes]]]] = {}  # address -> key -> version and content
    _versions: ClassVar[itertools.count[int]] = itertools.count()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._files = self._stores.setdefault(self._address, {})

    @property
    def address(self) -> str:
        return self._address

    def list(self, folder: str = "") -> list[str]:
        with self._lock:
            return sorted(key for key in self._files if not folder or key.startswith(f"{folder}/"))

    def stat(self, key: str) -> Stat | None:
        with self._lock:
            version, content = self._files.get(key, (None, b""))
        return Stat(len(content), version) if version is not None else None

    def open(self, key: str) -> IO[bytes]:
        with self._lock:
            if key not in self._files:
                raise FileNotFoundError(f"{self._address}/{key}")
            return io.BytesIO(self._files[key][1])

    def put_if_absent(self, key: str, data: Data) -> bool:
        with self._lock:
            if key in self._files:
                return False
            self._put(key, data)
            return True

    def replace_if_same(self, key: str, data: Data, version: str) -> bool:
        with self._lock:
            if key not in self._files or self._files[key][0] != version:
                return False
            self._put(key, data)
            return True

    def delete(self, key: str) -> None:
        with self._lock:
            self._files.pop(key, None)

    def _put(self, key: str, data: Data) -> None:
        self._files[key] = str(next(self._versions)), bytes(data)
