"""Objects of a bucket (S3, Google Cloud Storage, Azure Blob) through obstore.

What may pass is tried again (operators/store/retries.py). Keys are of the whole bucket. The errors of obstore hold
whole requests, which may be signed: none of them is a cause of ours, where a traceback would show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from operators.store.object_client import client_of
from operators.store.object_errors import (
    NO_SUCH_RANGE,
    OddKey,
    is_busy,
    knows_no_conditions,
    may_be_done,
    sentence_of,
    status_of,
    translated,
)
from operators.store.object_errors import NoBucket as NoBucket
from operators.store.retries import FIRST_PATIENCE_S, MayPass, patience_s, patiently
from operators.store.store import Data, Stat
from schemas.address import place_of
from schemas.errors import InputError, SpecError, StoreLost

PIECE_BYTES = 8 << 20
"""Asked for at once: what of a body is lost at most when it is cut off, and held in memory by one download."""
_PAGE = 1000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Object:
    """key: of the whole bucket. version: its ETag."""

    key: str
    size_bytes: int
    version: str


class Bucket:
    """Its verbs raise OSError for what a store says no to (NoBucket, FileNotFoundError), InputError permission, and
    StoreLost where nothing answers, or nobody gets in. May be shared by threads."""

    def __init__(self, address: str) -> None:
        """Raises SpecError for an address without a bucket, or settings that lead nowhere."""
        scheme, name, _ = place_of(address)
        if not name or "@" in name:
            raise SpecError(f"{scheme}://{name.rpartition('@')[2]}: {scheme}:// and the name of a bucket")
        self.address = f"{scheme}://{name}"
        self._is_google = scheme == "gs"
        self._patience_s = patience_s()
        self._store = client_of(self.address)

    def check(self, key: str = "", *, listed: bool = False) -> None:
        """Whether anything can be read here: asked once, before anything begins. listed: whether it must be allowed to
        list. Raises NoBucket, StoreLost after FIRST_PATIENCE_S, InputError permission where neither a listing nor the
        object of that key may be had."""
        folder = key if listed else key.rpartition("/")[0]

        def ask(obstore: Any) -> None:
            next(iter(obstore.list(self._store, folder.rstrip("/") or None, chunk_size=1)), None)

        try:
            self._ask(key, ask, FIRST_PATIENCE_S)
        except OddKey:  # whoever lists will say so
            return
        except InputError as refusal:
            if listed or refusal.kind != "permission" or not key:
                raise
            try:  # who may not list may still read
                self._ask(key, partial(self._stat, key), FIRST_PATIENCE_S)
            except FileNotFoundError:
                return

    def stat(self, key: str) -> Stat:
        """Raises FileNotFoundError."""
        return self._ask(key, partial(self._stat, key))

    def _stat(self, key: str, obstore: Any) -> Stat:
        try:
            meta = obstore.head(self._store, key)
        except Exception as error:
            if status_of(error) in (400, 401, 403):  # an answer to HEAD has no body that says why
                self._piece(key, None, 0, 1, obstore)
            raise
        return Stat(meta["size"], _version(meta), meta["last_modified"].timestamp())

    def below(self, prefix: str = "") -> Iterator[Object]:
        """Everything below a folder, or all of the bucket, in the order that the store lists it in; none where there is
        nothing. A listing that breaks off goes on behind the last key that it gave. Raises OddKey, an OSError, where a
        key has an empty segment, `.`, `..` or a control character: obstore reads no page of a listing that has one."""
        folder, last, ordered = prefix.strip("/") or None, None, True
        pages: list[Iterator[Any]] = []

        def ask(obstore: Any) -> list[Object]:
            if not pages and not ordered:
                raise OSError(f"{self.address} lists its keys in no order, so that a listing cannot go on")
            if not pages:
                pages.append(iter(obstore.list(self._store, folder, offset=last, chunk_size=_PAGE)))
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

    def read(self, key: str) -> tuple[bytes, str]:
        """All of a small object, and its version. Raises FileNotFoundError; InputError changed."""

        def ask(obstore: Any) -> tuple[bytes, str, int]:
            answer = obstore.get(self._store, key)
            return b"".join(_received(answer)), _version(answer.meta), answer.meta["size"]

        data, version, size = self._ask(key, ask)
        return data + b"".join(self.pieces(key, version, len(data), size)), version

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
        try:
            answer = obstore.get(self._store, key, options=options)
        except obstore.exceptions.BaseError as error:
            if status_of(error) == NO_SUCH_RANGE and obstore.head(self._store, key)["size"] <= start:
                return [], start
            raise
        received, size = _received(answer), int(answer.meta["size"])
        if not received and start < size:
            raise MayPass("an empty answer")
        return received, size

    def put(self, key: str, data: Data, *, version: str | None = None) -> bool:
        """Create an object, or replace the one of that version; False, and nothing changed, where there is one already,
        or another. An answer that got lost may hide that it was done: then what is there is ours."""
        lost_answer = False

        def ask(obstore: Any) -> bool:
            nonlocal lost_answer
            kinds = obstore.exceptions
            try:
                mode = "create" if version is None else self._condition(obstore, key, version)
                obstore.put(self._store, key, bytes(data), mode=mode, use_multipart=False)
            except (kinds.AlreadyExistsError, kinds.PreconditionError, FileNotFoundError) as error:
                if is_busy(error) or isinstance(translated(error, self.address, key, kinds), NoBucket):
                    raise
                if version is None and isinstance(error, FileNotFoundError):
                    raise NoBucket(f"{self.address} is not there") from None
                return False
            except Exception as error:
                if knows_no_conditions(error, kinds):
                    raise OSError(
                        f"{self.address} cannot create a file only where there is none, which an output needs "
                        f"(docs/buckets.md): {sentence_of(error)}"
                    ) from None
                lost_answer = lost_answer or may_be_done(error)
                raise
            return True

        if self._ask(key, ask):
            return True
        return lost_answer and self._holds(key, data)

    def _condition(self, obstore: Any, key: str, version: str) -> dict[str, Any]:
        """Google replaces by a generation, which is looked up; the others by the ETag."""
        if not self._is_google:
            return {"e_tag": version}
        meta = obstore.head(self._store, key)
        if _version(meta) != version:
            raise obstore.exceptions.PreconditionError("it was replaced")
        return {"e_tag": meta["e_tag"], "version": meta["version"]}

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

        def asked() -> _T:
            try:
                return ask(obstore)
            except ValueError:
                raise InputError("not_found", f"{self.address}: no object can be asked for by {key!r}") from None
            except (InputError, NoBucket, MayPass, StoreLost):
                raise
            except Exception as error:  # obstore's own tree: each is one of ours, or no error of a store
                ours = translated(error, self.address, key, obstore.exceptions)
                if ours is error:
                    raise
                raise ours from None

        return patiently(asked, f"{self.address}/{key}", min(patience_s, self._patience_s))


def _received(answer: Any) -> list[bytes]:
    """What came of a body before it broke off; raises where nothing did."""
    received: list[bytes] = []
    try:
        for part in answer.stream(min_chunk_size=1 << 20):
            received.append(bytes(part))  # noqa: PERF401  what came before it raises is kept
    except Exception:
        if not received:
            raise
    return received


def _version(meta: Any) -> str:
    return str(meta["e_tag"] or meta["version"] or f"{meta['size']}-{meta['last_modified'].isoformat()}")
