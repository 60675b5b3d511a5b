"""Inputs of the web: https://, and http:// from hosts that the spec allows. A server that does not answer is the
matter of that one input, never of the run: there are as many servers as the addresses name.

version: a strong ETag; else Last-Modified and the size; else the hash of all of it, for which it is read once more.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from model.engines.backoff import pauses
from operators.store.inputs.origin import Entry
from operators.store.inputs.public_web import web_url
from operators.store.inputs.web_client import MayPass, asked, check_status
from schemas.address import place_of
from schemas.errors import InputError, SpecError
from schemas.fetch import FetchSettings

ATTEMPTS, REFUSALS = 5, 3
"""In a row, without a byte in between: of what may pass, and of a refusal."""
LONGEST_S = 60.0
"""That one waits because a server asks for it."""
LOST_S = 60.0
"""For so long a host that could not be had is asked once only: a table may name thousands of its files."""
_lost: dict[str, float] = {}
"""Host -> until when; of this process."""
_HASH = "sha256-"
_PART = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_LOOKS: tuple[tuple[str, dict[str, str]], ...] = (("HEAD", {}), ("GET", {"Range": "bytes=0-0"}), ("GET", {}))
"""What many servers answer to HEAD is of no use; an empty file has no first byte."""
_CHANGED = "it was changed after it was listed, or while it was read"
_T = TypeVar("_T")


class WebOrigin:
    def __init__(self, settings: FetchSettings) -> None:
        self._settings = settings

    def check(self, address: str) -> None:
        """Only whether it may be asked: a server that is not there is the matter of one row."""
        web_url(address, self._settings.allow_hosts)

    def stat(self, address: str) -> Entry:
        (entry,) = self._steps(self._look(address))
        if entry.version is not None:
            return entry
        digest, size = hashlib.sha256(), 0
        for piece in self.pieces(address, None):
            digest.update(piece)
            size += len(piece)
        return Entry(address, size, _HASH + digest.hexdigest())

    def list(self, address: str) -> Iterator[Entry]:  # noqa: ARG002
        raise SpecError("inputs: the web has no folders that can be listed; name files, or a table of addresses")

    def pieces(self, address: str, version: str | None, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        yield from self._steps(self._read(address, version, _Body(start, end, self._settings.max_mb << 20)))

    def _steps(self, steps: AsyncIterator[_T]) -> Iterator[_T]:
        """On a loop of this call alone: threads share nothing. All steps together have the time that the spec says."""
        until = time.monotonic() + self._settings.timeout_s

        async def step() -> _T | None:
            async with asyncio.timeout(until - time.monotonic()):
                return await anext(steps, None)

        with asyncio.Runner() as runner:
            loop = runner.get_loop()  # the runner's own `run` writes each value out for its handler of signals
            try:
                while (value := loop.run_until_complete(step())) is not None:
                    yield value
            except TimeoutError as error:
                sentence = f"it cannot be had within {self._settings.timeout_s:g} s (fetch.timeout_s)"
                raise InputError("unreachable", sentence) from error

    async def _look(self, address: str) -> AsyncIterator[Entry]:
        patience = _Patience(address)
        while True:
            try:
                for method, headers in _LOOKS:
                    async with asked(method, address, self._settings, headers) as response:
                        size = _size(response)
                        version = _version(response.headers, size)
                        if method == "HEAD" and (response.status != 200 or version is None):
                            continue
                        if "Range" in headers and response.status == 416:
                            continue
                        check_status(response)
                        yield Entry(address, size, version)
                        return
            except MayPass as error:
                await patience.pause(error)

    async def _read(self, address: str, version: str | None, body: _Body) -> AsyncIterator[bytes]:
        patience = _Patience(address)
        hashed = version is not None and version.startswith(_HASH)
        body.version = None if hashed else version
        while True:
            before = body.at
            try:
                async with asked("GET", address, self._settings, body.headers) as response:
                    check_status(response)
                    async for piece in body.rest_of(response):
                        yield piece
                break
            except MayPass as error:
                if body.is_read:
                    break
                if body.at > before:
                    patience = _Patience(address)
                await patience.pause(error)
        if hashed and body.start == 0 and body.end is None and version != _HASH + body.digest.hexdigest():
            raise InputError("changed", _CHANGED)


@dataclass
class _Body:
    """Bytes start to end of a file, as far as they are read. at: the next byte. version, size_bytes: of the file, as
    was asked for or as the first answer says. condition: what a server knows that version by."""

    start: int
    end: int | None
    most_bytes: int
    version: str | None = None
    size_bytes: int | None = None
    condition: str | None = None

    def __post_init__(self) -> None:
        self.at = self.start
        self.digest = hashlib.sha256()

    @property
    def is_read(self) -> bool:
        ends = [end for end in (self.end, self.size_bytes) if end is not None]
        return bool(ends) and self.at >= min(ends)

    @property
    def headers(self) -> dict[str, str]:
        """Asks for what is left; for all of it, where no answer could say that it is of the same file."""
        resumes = self.at > self.start
        if (resumes and self.condition is None) or (self.at == 0 and self.end is None):
            return {}
        part = {"Range": f"bytes={self.at}-{'' if self.end is None else self.end - 1}"}
        return part | ({"If-Range": self.condition} if self.condition else {})

    async def rest_of(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """What an answer adds. It may begin with the file's first byte; then what we had must be in it again."""
        place, resumed = self._begin(response), self.at
        repeated, is_same = hashlib.sha256(), place == resumed
        async for piece in response.content.iter_any():
            if place < resumed:
                repeated.update(piece[max(0, self.start - place) : resumed - place])
            added = piece[max(0, resumed - place) :]
            place += len(piece)
            if not added:
                continue
            if not is_same and repeated.digest() != self.digest.digest():
                raise InputError("changed", _CHANGED)
            is_same = True
            if self.end is not None:
                added = added[: self.end - self.at]
            self.at += len(added)
            self.digest.update(added)
            if self.at > self.most_bytes:
                raise self._too_large()
            yield added
            if self.at == self.end:
                return
        if self.size_bytes is not None and not self.is_read:
            raise MayPass("the answer is shorter than it says")

    def _begin(self, response: aiohttp.ClientResponse) -> int:
        """The place of the answer's first byte. Raises InputError for one that is of another file, or too large."""
        headers, place, size = response.headers, 0, _size(response)
        if response.status == 206:
            part = _PART.fullmatch(headers.get("Content-Range", ""))
            if part is None or int(part[1]) != self.at:
                raise InputError("unreachable", "the server answers with another part than it was asked for")
            place = self.at
        says_nothing = "ETag" not in headers and "Last-Modified" not in headers
        is_bare = response.status == 206 and says_nothing  # then the condition has spoken
        version = self.version if is_bare else _version(headers, size)
        if self.version not in (None, version) or (size is not None and self.size_bytes not in (None, size)):
            raise InputError("changed", _CHANGED)
        self.version = version
        self.size_bytes = self.size_bytes if size is None else size
        if self.condition is None and version is not None:
            self.condition = headers["ETag"] if version == headers.get("ETag") else headers.get("Last-Modified")
        if self.size_bytes is not None and self.size_bytes > self.most_bytes:
            raise self._too_large()
        return place

    def _too_large(self) -> InputError:
        return InputError("too_large", f"it is larger than {self.most_bytes >> 20} MB (fetch.max_mb)")


class _Patience:
    def __init__(self, address: str) -> None:
        self._host = place_of(address)[1]
        self._pauses = pauses()
        self._failures: Counter[str] = Counter()

    async def pause(self, error: MayPass) -> None:
        """Raises InputError when that was often enough."""
        self._failures[error.kind] += 1
        most = REFUSALS if error.kind == "permission" else ATTEMPTS
        if error.is_lost and time.monotonic() < _lost.get(self._host, 0.0):
            most = 1
        if self._failures[error.kind] >= most:
            if error.is_lost:
                _lost[self._host] = time.monotonic() + LOST_S
            raise InputError(error.kind, f"{error} (tries: {self._failures.total()})") from error
        await asyncio.sleep(max(next(self._pauses), min(error.after_s or 0.0, LONGEST_S)))


def _size(response: aiohttp.ClientResponse) -> int | None:
    """Of the file, in bytes."""
    if response.status != 206:
        return response.content_length
    part = _PART.fullmatch(response.headers.get("Content-Range", ""))
    return None if part is None or part[2] == "*" else int(part[2])


def _version(headers: Mapping[str, str], size_bytes: int | None) -> str | None:
    """None where the server says nothing that would tell one version from the next."""
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified")
    if etag.startswith('"'):
        return etag
    return f"{modified}, {size_bytes} bytes" if modified and size_bytes is not None else None
