"""Objects of a bucket (S3, Google Cloud Storage, Azure Blob) through obstore: the one file that imports it.

Credentials come from the provider's usual chain in the environment of this process, endpoints from the usual variables;
neither is ever part of an address or of a message. What may pass is tried again (operators/store/retries.py). Keys are
of the whole bucket.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from operators.store.retries import PATIENCE_S, MayPass, Refused, patiently
from operators.store.store import Data, Stat
from schemas.address import place_of
from schemas.errors import InputError, SpecError

CHECK_S = 20.0
"""Of patience with a store that was not heard of yet."""
PIECE_BYTES = 8 << 20
"""Asked for at once: what of a body is lost at most when it is cut off, and held in memory by one download."""
_STATUS = re.compile(r"status code: (\d{3})[^:\n]*(?::\s*(.*))?", re.DOTALL)
_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})")
_NO_CREDENTIALS = re.compile(r"credential|metadata|token", re.IGNORECASE)
_NO_SUCH_RANGE = 416
_PASSING = frozenset((408, 409, 425, 429, *range(500, 600)))
_T = TypeVar("_T")


@dataclass(frozen=True)
class Object:
    """key: of the whole bucket. version: its ETag."""

    key: str
    size_bytes: int
    version: str


class NoBucket(OSError):
    """The bucket is not there."""


class StrangeKey(OSError):
    """Below a prefix lies an object whose key has an empty name or `..` in it: obstore gives up the listing."""


TIMEOUT_S = 20.0
"""Without a byte, until a request is given up and asked again; SIGHTREAD_STORE_TIMEOUT_S says otherwise."""


def patience_s() -> float:
    """Seconds that a store may be silent. Raises SpecError."""
    return _seconds("SIGHTREAD_STORE_PATIENCE_S", PATIENCE_S)


def _seconds(variable: str, usual: float) -> float:
    text = os.environ.get(variable, "")
    try:
        return float(text or usual)
    except ValueError as error:
        raise SpecError(f"{variable}: {text!r} is no number of seconds") from error


class Bucket:
    """Its verbs raise OSError for what a store says no to (NoBucket, FileNotFoundError), InputError permission, and
    StoreLost where nothing answers. May be shared by threads."""

    def __init__(self, address: str) -> None:
        """Raises SpecError for an address without a bucket, or settings that lead nowhere."""
        scheme, name, _ = place_of(address)
        if not name or "@" in name:
            raise SpecError(f"{scheme}://{name.rpartition('@')[2]}: {scheme}:// and the name of a bucket")
        self.address = f"{scheme}://{name}"
        self._patience_s = patience_s()
        try:
            self._store = _client(self.address)
        except Exception as error:  # obstore's own tree, of settings that it does not understand
            raise SpecError(f"{self.address}: {_sentence(error)}") from error

    def stat(self, key: str) -> Stat:
        """Raises FileNotFoundError."""
        meta = self._ask(key, lambda obstore: obstore.head(self._store, key))
        return Stat(meta["size"], _version(meta))

    def check(self, key: str) -> None:
        """Whether anything can be read here. Raises NoBucket; InputError permission where neither what is below that
        key may be listed nor the object of that key be had; OSError for other answers than those of a store that is
        set up; StoreLost after CHECK_S."""
        try:
            self._ask(key, lambda obstore: next(iter(obstore.list(self._store, key.strip("/") or None)), None), CHECK_S)
        except (StrangeKey, InputError) as error:
            if not isinstance(error, InputError) or error.kind != "permission":
                return  # the matter of one object
            try:
                self._ask(key, lambda obstore: obstore.head(self._store, key or "-"), CHECK_S)
            except FileNotFoundError:
                return
            except InputError:
                raise error from None  # an answer to HEAD has no words

    def below(self, prefix: str = "") -> Iterator[Object]:
        """Everything below a folder, or all of the bucket, in the order that the store lists it in; none where there is
        nothing. A listing that breaks off goes on behind the last key that it gave."""
        folder, last, ordered = prefix.strip("/") or None, None, True
        pages: list[Iterator[Any]] = []

        def ask(obstore: Any) -> list[Object]:
            if not pages and not ordered:
                raise OSError(f"{self.address} lists its keys in no order, so that a listing cannot go on")
            if not pages:
                pages.append(iter(obstore.list(self._store, folder, offset=last, chunk_size=1000)))
            try:
                page: Any = next(pages[0], [])
            except Exception:
                pages.clear()
                raise
            return [Object(meta["path"], meta["size"], _version(meta)) for meta in page]

        while objects := self._ask(prefix, ask):
            yield from objects
            keys = [entry.key.encode() for entry in objects]
            ordered = ordered and sorted(keys) == keys and (last is None or last.encode() < keys[0])
            last = objects[-1].key

    def read(self, key: str, version: str | None = None) -> tuple[bytes, str]:
        """All of a small object, and its version. Raises FileNotFoundError."""
        version = version or self.stat(key).version
        return b"".join(self.pieces(key, version)), version

    def pieces(self, key: str, version: str | None, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes start to end of an object, or to its end, of this version alone. A body that is cut off goes on where
        it was.

        Raises FileNotFoundError; InputError changed.
        """
        while end is None or start < end:
            received, size = self._ask(key, partial(self._piece, key, version, start, end))
            end = size if end is None else min(end, size)
            for data in received:
                start += len(data)
                yield data

    def _piece(
        self, key: str, version: str | None, start: int, end: int | None, obstore: Any
    ) -> tuple[list[bytes], int]:
        """What comes of it, all that was asked for or the part before it broke off; and the size of the object."""
        options: dict[str, Any] = {"range": (start, min(end or start + PIECE_BYTES, start + PIECE_BYTES))}
        if version:
            options["if_match"] = version
        received: list[bytes] = []
        try:
            answer = obstore.get(self._store, key, options=options)
        except obstore.exceptions.BaseError as error:
            if _status(error) == _NO_SUCH_RANGE and obstore.head(self._store, key)["size"] <= start:
                return [], start
            raise
        try:
            for part in answer.stream(min_chunk_size=1 << 20):
                received.append(bytes(part))  # noqa: PERF401  a comprehension would lose them all
        except Exception:
            if not received:
                raise
        size = int(answer.meta["size"])
        if not received and start < size:
            raise MayPass("an empty answer")
        return received, size

    def put(self, key: str, data: Data, *, version: str | None = None) -> bool:
        """Create an object, or replace the one of that version; False, and nothing changed, where there is one already,
        or another. An answer that got lost may hide that it was done: then what is there is ours."""
        lost_answer = False
        mode: Any = "create" if version is None else {"e_tag": version}

        def ask(obstore: Any) -> bool:
            nonlocal lost_answer
            try:
                obstore.put(self._store, key, bytes(data), mode=mode, use_multipart=False)
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                return False
            except FileNotFoundError as error:
                if version is None:
                    raise NoBucket(f"{self.address} is not there") from error
                return False  # it is gone
            except Exception as error:
                lost_answer = lost_answer or _may_be_done(error)
                raise
            return True

        if self._ask(key, ask):
            return True
        return lost_answer and self._holds(key, data)

    def delete(self, key: str) -> None:
        """Also where there is none."""
        try:
            self._ask(key, lambda obstore: obstore.delete(self._store, key))
        except FileNotFoundError:
            return

    def _holds(self, key: str, data: Data) -> bool:
        try:
            return self.read(key)[0] == bytes(data)
        except (FileNotFoundError, InputError):
            return False

    def _ask(self, key: str, ask: Callable[[Any], _T], patience_s: float = math.inf) -> _T:
        import obstore  # some megabytes, for who needs none of them

        def translated() -> _T:
            try:
                return ask(obstore)
            except ValueError as error:
                raise InputError("not_found", f"{self.address}: no object can be asked for by {key!r}") from error
            except (OSError, InputError) as error:
                if type(error) is FileNotFoundError:
                    raise FileNotFoundError(f"{self.address}/{key} is not there") from error
                raise
            except Exception as error:  # obstore's own tree: each is one of ours, or no error of a store
                raise self._translated(key, error, obstore) from error

        return patiently(translated, f"{self.address}/{key}", min(patience_s, self._patience_s))

    def _translated(self, key: str, error: Exception, obstore: Any) -> Exception:
        kinds, sentence = obstore.exceptions, _sentence(error)
        code = _status(error)
        match error:
            case kinds.PermissionDeniedError() | kinds.UnauthenticatedError():
                return Refused(f"{self.address}/{key}: {sentence}")
            case kinds.InvalidPathError():
                return StrangeKey(f"{self.address}/{key}: {sentence}; rename that object, or name what is beside it")
            case kinds.PreconditionError():
                return InputError("changed", f"{self.address}/{key} was changed after it was listed")
            case kinds.GenericError() if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
                return NoBucket(f"{self.address} is not there")
            case kinds.GenericError() if code in (401, 403):  # of a listing
                return Refused(f"{self.address}/{key}: {sentence}")
            case kinds.GenericError() if code is None and _NO_CREDENTIALS.search(str(error)):
                return Refused(f"{self.address}: no credentials: {sentence}")
            case kinds.GenericError() if code is None or code in _PASSING:
                return MayPass(sentence)
            case kinds.BaseError():
                return OSError(f"{self.address}/{key}: {sentence}")
        return error


@lru_cache(maxsize=64)
def _client(address: str) -> Any:
    from obstore.store import from_url

    scheme = place_of(address)[0]
    endpoints = [os.environ.get(name, "") for name in _ENDPOINTS[scheme]]
    endpoint = next(filter(None, endpoints), "")
    options: dict[str, Any] = {
        "client_options": {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": "10s",
            "read_timeout": f"{round(_seconds('SIGHTREAD_STORE_TIMEOUT_S', TIMEOUT_S) * 1000)}ms",
            "timeout": "180s",
        },
        "retry_config": {"max_retries": 0},  # operators/store/retries.py
    }
    if scheme == "s3":
        if endpoint:
            options["endpoint"] = endpoint
        if provider := _aws_profile():
            options["credential_provider"] = provider
    return from_url(address, **options)


_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


def _aws_profile() -> Any:
    """Of ~/.aws, through boto3 where that is installed: obstore reads the environment alone."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return None
    if not (os.environ.get("AWS_PROFILE") or Path("~/.aws").expanduser().is_dir()):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise SpecError("credentials of ~/.aws need boto3: `pip install boto3`, or AWS_ACCESS_KEY_ID") from error
    return Boto3CredentialProvider()


def _version(meta: Any) -> str:
    return str(meta["e_tag"] or meta["version"] or f"{meta['size']}-{meta['last_modified'].isoformat()}")


def _status(error: Exception) -> int | None:
    status = _STATUS.search(str(error))
    return int(status[1]) if status else None


def _may_be_done(error: Exception) -> bool:
    """Whether a write that ended so may have been done: the answer of a store that says no is an answer."""
    status = _status(error)
    return status is None or (status >= 500 and status != 503)


def _sentence(error: Exception) -> str:
    """Of a store's error, without addresses (they may be signed) and without what obstore prints for debugging."""
    text = str(error).split("\n\nDebug source:")[0]
    if status := _STATUS.search(text):
        code, message = _CODE.search(text), _MESSAGE.search(text)
        words = ": ".join(part[1].strip() for part in (code, message) if part)
        return f"status {status[1]}" + (f", {words}" if words else "")
    text = re.sub(r"https?://\S+", "…", " ".join(text.split()))
    return text[:300]
