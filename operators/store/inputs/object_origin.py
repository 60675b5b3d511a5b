"""Inputs in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from operators.store.inputs.origin import Entry
from operators.store.objects import Bucket, NoBucket
from schemas.address import place_of
from schemas.errors import InputError, SpecError, StoreLost
from schemas.fetch import FetchSettings

_WHERE = {
    "s3": "the endpoint (AWS_ENDPOINT_URL) and region (AWS_REGION)",
    "gs": "the network",
    "az": "the account (AZURE_STORAGE_ACCOUNT_NAME) and endpoint (AZURE_STORAGE_ENDPOINT)",
}
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or AWS_SKIP_SIGNATURE=true for public buckets",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's account",
    "az": "AZURE_STORAGE_ACCOUNT_KEY, a SAS token, or the machine's identity",
}


class ObjectOrigin:
    def __init__(self, settings: FetchSettings) -> None:
        """The settings are those of the web."""

    def check(self, address: str) -> None:
        bucket, key = _object(address)
        scheme = place_of(address)[0]
        try:
            bucket.check(key)
        except NoBucket as error:
            raise InputError("not_found", f"{error}: check its name, and {_WHERE[scheme]}") from error
        except InputError as error:
            raise InputError(error.kind, f"{error}; credentials come from the environment: {_KEYS[scheme]}") from error
        except StoreLost as error:  # nobody answers, or nobody gets in
            where = f"{_WHERE[scheme]}, and the credentials in the environment: {_KEYS[scheme]}"
            raise InputError("unreachable", f"{error}; check {where}") from error
        except OSError as error:
            raise InputError("unreachable", f"{error}; check {_WHERE[scheme]}") from error

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
        except NoBucket as error:
            if version is None:
                raise _of_object(error) from error
            raise StoreLost(f"{error} any more") from error  # it was, when this version was seen
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
