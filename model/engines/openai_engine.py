"""An engine that is somebody else's: any OpenAI-compatible server (vLLM, SGLang, a hosted one) over HTTP.

Asking again. A chat completion changes nothing on the server, so a request may be repeated whatever became of it: at
worst an answer is paid for twice. It is repeated when the server failed (5xx), broke off in mid-answer, sent garbage
or fell silent, at most ATTEMPTS times in all; and, without being counted, while the server is busy (429, or 503 with
Retry-After) or cannot be reached. What the server refuses (4xx) is not repeated. Answers are streamed: silence can
then be told from a long answer, and half an answer from a whole one.

The key comes from the environment of this process, goes into one header, and is struck out of everything that is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import re
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp

from model.engines.backoff import pauses, retry_after_s
from model.engines.openai_wire import Clips, Garbled, Reply, body, message_of
from model.engines.proxies import proxy_for
from schemas.errors import EngineError, EngineLost, SpecError
from schemas.request import Completion, Request

ATTEMPTS = 6
ALONE_FROM = 3
"""Faults after which a request is asked one at a time: one that breaks the server must not take others along."""
FIRST_CONTACT_S = 30.0
CONNECT_S = 10.0
EXTENDED = ("vllm", "sglang")
"""Servers, by what they say of their models' owner, that know top_k and repetition_penalty."""

_TOO_LONG = re.compile(r"context.?length|context.?window|maximum context|too long|too many tokens", re.IGNORECASE)
_ERROR_BYTES = 65_536
_EVENT_BYTES = 8 << 20
"""Of one event at most: some servers put a whole answer into it."""


@dataclass(frozen=True)
class Served:
    """What GET /models says: owner and context of the model; all models that there are (None: it does not say)."""

    owner: str = ""
    max_tokens: int | None = None
    names: tuple[str, ...] | None = None


class _Busy(Exception):
    """The server wants to be left alone; after_s is None where it does not say how long."""

    def __init__(self, reason: str, after_s: float | None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _Unreachable(Exception):
    """No connection came about."""


class OpenAIEngine:
    """url: the server's base address, as http://host:8000/v1. model: as the server names it.

    api_key_env: name of the environment variable that holds the key; None asks without one. slots: requests in flight
    at once. clips: see model/engines/openai_wire.py. silence_s: seconds without a byte after which a request is given
    up and asked again, and seconds without a connection after which the server is. Raises SpecError for a key that is
    not there; `generate` raises EngineLost when there is no server, none that takes the key, or none with the model.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        slots: int = 8,
        clips: Clips = "video",
        silence_s: float = 300.0,
    ) -> None:
        self.slots = slots
        self._url = url.rstrip("/")
        self._proxy = proxy_for(self._url)
        self._model = model
        self._key_name = api_key_env
        self._key = _key(api_key_env)
        self._clips: Clips = clips
        self._silence_s = silence_s
        self._free = asyncio.Semaphore(slots)
        self._alone = asyncio.Lock()
        self._first = asyncio.Lock()
        self._served: Served | None = None
        self._quiet_until = 0.0
        self._lost_since: float | None = None
        self._encoders = ThreadPoolExecutor(2, thread_name_prefix="encode")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s),
            connector=aiohttp.TCPConnector(limit=0),
            read_bufsize=_EVENT_BYTES // 2,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @property
    def progress(self) -> int:
        """Time itself: whoever gets an answer sees a loop that is alive, and a silent server is this engine's own
        business."""
        return int(time.monotonic() * 10)

    async def generate(self, request: Request) -> Completion:
        async with self._free:
            started = time.monotonic()
            served = await self.served()
            encode = functools.partial(
                body, request, self._model, clips=self._clips, most_tokens=served.max_tokens,
                extended=served.owner in EXTENDED,
            )  # fmt: skip
            try:
                content = await asyncio.get_running_loop().run_in_executor(self._encoders, encode)
            except ValueError as error:
                raise EngineError("engine_error", f"the request's pictures cannot be sent: {error}") from error
            reply = await self._asked(content)
            try:
                return reply.completion(time.monotonic() - started)
            except EngineError as error:
                raise EngineError(error.kind, self._clean(str(error))) from None

    async def served(self) -> Served:
        """What the server says of itself, asked for once. Raises EngineLost."""
        async with self._first:
            until = time.monotonic() + min(FIRST_CONTACT_S, self._silence_s)
            waits = pauses()
            while self._served is None:
                try:
                    self._served = await self._models()
                except (_Unreachable, _Busy, Garbled) as error:
                    if time.monotonic() > until:
                        raise EngineLost(f"engine.url: {self._clean(str(error))}") from None
                    await asyncio.sleep(next(waits))
        return self._served

    async def close(self) -> None:
        await self._session.close()
        self._encoders.shutdown(wait=False)

    async def _asked(self, content: bytes) -> Reply:
        faults = 0
        waits = pauses()
        while True:
            await self._calm()
            try:
                async with self._alone if faults >= ALONE_FROM else contextlib.nullcontext():
                    return await self._stream(content)
            except _Busy as busy:
                # for all who wait: the limit is the account's or the server's, not this request's
                pause_s = busy.after_s if busy.after_s is not None else next(waits)
                self._quiet_until = max(self._quiet_until, time.monotonic() + pause_s)
            except _Unreachable as error:
                self._lost_since = self._lost_since or time.monotonic()
                if time.monotonic() - self._lost_since > self._silence_s:
                    reason = f"engine.url: no connection for {self._silence_s:g} s: {error}"
                    raise EngineLost(self._clean(reason)) from None
                await asyncio.sleep(next(waits))
            except Garbled as error:
                faults += 1
                if faults == ATTEMPTS:
                    raise EngineError("engine_error", f"asked {ATTEMPTS} times: {self._clean(str(error))}") from None
                await asyncio.sleep(next(waits))

    async def _calm(self) -> None:
        """Wait out what the server asked for; then not all at the same moment."""
        while (left_s := self._quiet_until - time.monotonic()) > 0:
            await asyncio.sleep(left_s + random.random() * min(left_s, 1.0))

    async def _stream(self, content: bytes) -> Reply:
        reply = Reply()
        async with self._sent("POST", "/chat/completions", content) as response:
            try:
                async for line in response.content:
                    if line.startswith(b"data:") and reply.accept(line[5:].strip().decode("utf-8", "replace")):
                        break
            except ValueError as error:  # aiohttp's, for a line without an end
                raise Garbled(f"the server sent what is no event: {error}") from error
        if not reply.whole:
            raise Garbled("the server broke off in the middle of an answer")
        return reply

    async def _models(self) -> Served:
        try:
            async with self._sent("GET", "/models") as response:
                answer = await response.json(content_type=None)
        except EngineError:  # a server need not have this
            return Served()
        except ValueError as error:
            raise Garbled(
                f"{self._url}/models is not JSON: is this the address of an OpenAI-compatible API?"
            ) from error
        models = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(models, list) or not all(isinstance(entry, dict) for entry in models):
            return Served()
        names = tuple(str(entry.get("id")) for entry in models)
        ours = next((entry for entry in models if entry.get("id") == self._model), None)
        if ours is None:
            # a hosted server need not list all that it serves
            return Served(names=names, owner=str(models[0].get("owned_by", "")) if models else "")
        limit = ours.get("max_model_len")
        return Served(str(ours.get("owned_by", "")), limit if isinstance(limit, int) else None, names)

    @contextlib.asynccontextmanager
    async def _sent(
        self, method: str, path: str, content: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response of status 200. Raises _Busy, _Unreachable, Garbled, EngineError and EngineLost."""
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            async with self._session.request(
                method, self._url + path, data=content, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                self._lost_since = None
                if response.status != 200:
                    await self._refused(response)
                yield response
        except aiohttp.ClientConnectionError as error:
            if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
                raise _Unreachable(f"{self._url} cannot be reached: {error}") from error
            silent = isinstance(error, aiohttp.SocketTimeoutError)
            reason = f"not a byte for {self._silence_s:g} s" if silent else str(error) or type(error).__name__
            raise Garbled(f"the server broke off: {reason}") from error
        except aiohttp.ClientError as error:
            raise Garbled(f"the server broke off: {error or type(error).__name__}") from error

    async def _refused(self, response: aiohttp.ClientResponse) -> None:
        """Raises what a status other than 200 means."""
        status = response.status
        text = (await response.content.read(_ERROR_BYTES)).decode("utf-8", "replace")
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        words = self._clean(" ".join((message_of(data) or text).split()))[:300]
        reason = f"HTTP {status}" + (f": {words}" if words else "")
        after_s = retry_after_s(response.headers)
        if status == 429 and _code(data) == "insufficient_quota":
            raise EngineLost(f"{self._url} has no quota left for this key: {reason}")
        if status == 429 or (status == 503 and after_s is not None):
            raise _Busy(f"{self._url} is busy: {reason}", after_s)
        if status >= 500 or status in (408, 409, 425):
            raise Garbled(reason)
        if status == 401:
            which = f"the key in {self._key_name}" if self._key_name else "requests without a key"
            raise EngineLost(f"engine.api_key_env: {self._url} refuses {which}: {reason}")
        if status == 404 and response.method == "POST":
            raise EngineLost(f"engine.model: {self._url} does not serve {self._model}: {reason}")
        if 300 <= status < 400:
            raise EngineLost(f"engine.url: {self._url} sends elsewhere: {reason}")
        if "media_io_kwargs" in words:
            raise EngineLost(
                f"{self._url} refuses clips with their times: start vLLM with --trust-request-mm-kwargs, or say "
                f"engine.clips: images ({reason})"
            )
        raise EngineError("too_long" if status == 413 or _TOO_LONG.search(words) else "engine_error", reason)

    def _clean(self, text: str) -> str:
        """Without the key, which a server may repeat in what it says of it."""
        return text.replace(self._key, "***") if self._key else text


def _key(name: str | None) -> str:
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise SpecError(
            f"engine.api_key_env: the environment variable {name} is not set on {os.uname().nodename}, where the "
            f"engine runs; set it there before Ray is started"
        )
    if not (key.isascii() and key.isprintable()):
        raise SpecError(f"engine.api_key_env: {name} holds what no HTTP header may hold")
    return key


def _code(data: Any) -> Any:
    error = data.get("error") if isinstance(data, dict) else None
    return (error.get("code") or error.get("type")) if isinstance(error, dict) else None
