"""A store in a bucket: S3, Google Cloud Storage, Azure Blob. Knows nothing of what it holds.

A file is created only where there is none, or replaces the version that it names, by the conditions that the store
itself checks (`If-None-Match: *`, `If-Match`); nothing is renamed, copied or locked.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import IO

from operators.store.objects import Bucket
from operators.store.ranges import RangeFile
from operators.store.store import Data, Replaced, Stat
from schemas.address import place_of
from schemas.errors import InputError


class BucketStore:
    """Raises StoreLost too, where nothing answers any more or nobody gets in."""

    def __init__(self, address: str) -> None:
        """Raises SpecError."""
        scheme, bucket, key = place_of(address)
        self._bucket = Bucket(address)
        self._prefix = key.strip("/")
        self.address = f"{scheme}://{bucket}/{self._prefix}".rstrip("/")

    def check(self) -> None:
        """Whether it can be listed: asked once, before anything begins. Raises OSError, StoreLost."""
        with _as_os_errors():
            self._bucket.check(self._prefix, listed=True)

    def list(self, folder: str = "") -> list[str]:
        return sorted(self.sizes(folder))

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of the same, by key."""
        below = self._key(folder) if folder else self._prefix
        skipped = len(self._prefix) + 1 if self._prefix else 0
        with _as_os_errors():
            return {entry.key[skipped:]: entry.size_bytes for entry in self._bucket.below(below)}

    def stat(self, key: str) -> Stat | None:
        try:
            with _as_os_errors():
                return self._bucket.stat(self._key(key))
        except FileNotFoundError:
            return None

    def open(self, key: str) -> IO[bytes]:
        """All of it at once: parts are small, and one request is what a store does best."""
        with _as_os_errors():
            return io.BytesIO(self._bucket.read(self._key(key))[0])

    def by_ranges(self, key: str) -> RangeFile:
        """Of the version that is there now. Raises FileNotFoundError; what reads it Replaced where it is another by
        then."""
        with _as_os_errors():
            there = self._bucket.stat(self._key(key))

        def fetch(start: int, end: int) -> bytes:
            with _as_os_errors():
                return b"".join(self._bucket.pieces(self._key(key), there.version, start, end))

        return RangeFile(there.size_bytes, fetch)

    def put_if_absent(self, key: str, data: Data) -> bool:
        with _as_os_errors():
            return self._bucket.put(self._key(key), data)

    def replace_if_same(self, key: str, data: Data, version: str) -> bool:
        with _as_os_errors():
            return self._bucket.put(self._key(key), data, version=version)

    def delete(self, key: str) -> None:
        with _as_os_errors():
            self._bucket.delete(self._key(key))

    def _key(self, key: str) -> str:
        if key.startswith("/") or ".." in key.split("/"):
            raise ValueError(f"{key!r} leads out of the store")
        return f"{self._prefix}/{key}" if self._prefix else key


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """What is wrong with one file is, of a store, an OSError."""
    try:
        yield
    except InputError as error:
        if error.kind == "permission":
            raise PermissionError(str(error)) from None
        if error.kind == "changed":
            raise Replaced(str(error)) from None
        raise OSError(str(error)) from None
