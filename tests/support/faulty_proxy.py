"""A proxy before a store of tests: it counts what passes, makes conditional writes of a key atomic, and injects faults.

Which request meets which fault follows from a seed, the request's verb and key, and how often that was asked before;
not from the order in which requests come. Run as a process of its own; `/-/` is its own path, which no bucket has.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.object_server import S3Server, free_port

KINDS = ("500", "503", "403", "reset", "lost", "stall", "cut")
"""reset: before anything is done. lost: done, and no answer. stall: silence before or after it is done, then a reset.
cut: an answer's body ends before its length; of what has no body, a lost answer."""


@dataclass
class Faults:
    """rate: of requests that meet one. stall_s: longer than clients wait. delay_s: of every request."""

    rate: float = 0.0
    seed: int = 0
    stall_s: float = 3.0
    delay_s: float = 0.0
    kinds: tuple[str, ...] = KINDS


@dataclass
class Counts:
    """By verb and path, without the query. bytes: of the bodies that were sent to clients, those of errors aside."""

    requests: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    injected: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most_at_once: int = 0


@dataclass(frozen=True)
class FaultyProxy(S3Server):
    """endpoint: of the proxy. behind: the server, without faults."""

    behind: S3Server

    def faults(self, rate: float = 0.0, seed: int = 0, **settings: Any) -> None:
        self._control("faults", {"rate": rate, "seed": seed, **settings})

    def counts(self, *, anew: bool = False) -> Counts:
        """anew: count from 0 after it."""
        return Counts(**self._control("counts", {"anew": anew}))

    def received(self, address: str) -> tuple[int, int]:
        """(requests, bytes) that GETs of s3://bucket/key came to."""
        key = f"GET /{address.removeprefix('s3://')}"
        counts = self.counts()
        return counts.requests.get(key, 0), counts.bytes.get(key, 0)

    def _control(self, verb: str, values: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(f"{self.endpoint}/-/{verb}", json.dumps(values).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def faulty_proxy(server: S3Server) -> Iterator[FaultyProxy]:
    port = free_port()
    command = [sys.executable, "-m", "tests.support.faulty_proxy", str(port), server.endpoint]
    proxy = subprocess.Popen(command)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert proxy.poll() is None, "the proxy ended"
                time.sleep(0.05)
        yield FaultyProxy(f"http://127.0.0.1:{port}", server)
    finally:
        proxy.kill()
        proxy.wait()


class _Proxy:
    def __init__(self, upstream: str, session: Any) -> None:
        self._upstream = upstream
        self._session = session
        self._faults = Faults()
        self._counts = Counts()
        self._asked: dict[str, int] = defaultdict(int)
        self._writing: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._at_once = 0

    async def control(self, request: Any) -> Any:
        from aiohttp import web

        values = await request.json()
        if request.match_info["verb"] == "faults":
            self._faults = Faults(**{**values, "kinds": tuple(values.get("kinds", KINDS))})
            self._asked.clear()
            return web.json_response({})
        counts = self._counts
        if values["anew"]:
            self._counts = Counts()
        return web.json_response(vars(counts))

    async def passed_on(self, request: Any) -> Any:
        name = f"{request.method} {request.path}"
        fault, chance = self._fault(name)
        self._counts.requests[name] += 1
        self._at_once += 1
        self._counts.most_at_once = max(self._counts.most_at_once, self._at_once)
        try:
            body = await request.read()
            await asyncio.sleep(self._faults.delay_s)
            return await self._with_fault(request, name, body, fault, chance)
        except ConnectionError:  # the client does not wait any more
            return _reset(request)
        finally:
            self._at_once -= 1

    async def _with_fault(self, request: Any, name: str, body: bytes, fault: str, chance: random.Random) -> Any:
        from aiohttp import web

        if fault:
            self._counts.injected[fault] += 1
        if fault.isdigit():
            code = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied"}[fault]
            text = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
            return web.Response(status=int(fault), text=text, content_type="application/xml")
        if fault == "reset":
            return _reset(request)
        if fault == "stall" and chance.random() < 0.5:
            await asyncio.sleep(self._faults.stall_s)
            return _reset(request)
        status, headers, answer = await self._asked_for(request, body)
        if fault == "stall":
            await asyncio.sleep(self._faults.stall_s)
        if fault in ("stall", "lost") or (fault == "cut" and (not answer or request.method == "HEAD")):
            return _reset(request)
        sent = answer[: int(chance.random() * len(answer))] if fault == "cut" else answer
        response = web.StreamResponse(status=status, headers=headers)
        if request.method != "HEAD":
            response.content_length = len(answer)
        await response.prepare(request)
        for start in range(0, len(sent), 1 << 16):
            await response.write(sent[start : start + (1 << 16)])
            if status < 300:
                self._counts.bytes[name] += len(sent[start : start + (1 << 16)])
        if fault == "cut":
            request.transport.close()
        else:
            await response.write_eof()
        return response

    async def _asked_for(self, request: Any, body: bytes) -> tuple[int, Any, bytes]:
        from multidict import CIMultiDict
        from yarl import URL

        async def ask() -> tuple[int, Any, bytes]:
            url = URL(self._upstream + request.raw_path, encoded=True)
            headers = CIMultiDict(
                (key, value)
                for key, value in request.headers.items()
                if key.lower() not in ("connection", "transfer-encoding", "expect", "content-length")
            )
            asked = self._session.request(request.method, url, headers=headers, data=body, allow_redirects=False)
            async with asked as answer:
                kept = CIMultiDict(
                    (key, value)
                    for key, value in answer.headers.items()
                    if key.lower() not in ("connection", "transfer-encoding", "keep-alive")
                    and (key.lower() != "content-length" or request.method == "HEAD")
                )
                return answer.status, kept, await answer.read()

        if request.method not in ("PUT", "POST", "DELETE"):
            return await ask()
        async with self._writing[request.path]:
            return await ask()

    def _fault(self, name: str) -> tuple[str, random.Random]:
        verb, _, path = name.partition(" /")  # without the bucket, whose name is another every time
        chance = random.Random(f"{self._faults.seed} {verb} {path.partition('/')[2]} {self._asked[name]}")
        self._asked[name] += 1
        return (chance.choice(self._faults.kinds) if chance.random() < self._faults.rate else ""), chance


def _reset(request: Any) -> Any:
    """Ends the connection so that the client's system says so."""
    from aiohttp import web

    if request.transport is not None:
        plain = request.transport.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def _serve(port: int, upstream: str, parent: int) -> None:
    import aiohttp
    from aiohttp import web

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        proxy = _Proxy(upstream, session)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/-/{verb}", proxy.control)
        app.router.add_route("*", "/{path:.*}", proxy.passed_on)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        while os.getppid() == parent:
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], os.getppid()))
