"""Inputs in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from operators.store.inputs.origin import Entry
from operators.store.objects import Bucket
from schemas.address import place_of
from schemas.errors import InputError, SpecError
from schemas.fetch import FetchSettings


class ObjectOrigin:
    def __init__(self, settings: FetchSettings) -> None:
        """The settings are those of the web."""

    def stat(self, address: str) -> Entry:
        bucket, key = _object(address)
        try:
            stat = bucket.stat(key)
        except OSError as error:
            raise _of_object(error) from error
        return Entry(address, stat.size_bytes, stat.version)

    def list(self, address: str) -> Iterator[Entry]:
        bucket, key = _object(address)
        try:
            for entry in bucket.below(key):
                yield Entry(f"{bucket.address}/{entry.key}", entry.size_bytes, entry.version)
        except OSError as error:
            raise SpecError(f"inputs: {error}") from error
        except InputError as error:
            raise SpecError(f"inputs: {address} cannot be listed: {error}") from error

    def pieces(self, address: str, version: str | None, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        bucket, key = _object(address)
        try:
            yield from bucket.pieces(key, version, start, end)
        except OSError as error:
            raise _of_object(error) from error


def _object(address: str) -> tuple[Bucket, str]:
    scheme, name, key = place_of(address)
    return _bucket(f"{scheme}://{name}"), key


@lru_cache(maxsize=64)
def _bucket(address: str) -> Bucket:
    return Bucket(address)


def _of_object(error: OSError) -> InputError:
    return InputError("not_found" if isinstance(error, FileNotFoundError) else "unreachable", str(error))
