"""A real server of https (and of http) for tests, on this machine, with a certificate that nobody has signed."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from aiohttp import web

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebServer:
    """port, http_port: on all addresses of this machine. pages: path -> what answers; other: for all other paths.
    requests: (method, path, headers) as they came in."""

    def __init__(self) -> None:
        self.port = self.http_port = 0
        self.pages: dict[str, Handler] = {}
        self.other: Handler | None = None
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def address(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"

    def file(self, path: str, data: bytes, **headers: str) -> str:
        """Serves a file with ranges, and with an ETag where none of its headers is given."""

        async def page(request: web.Request) -> web.Response:
            about = {name.replace("_", "-"): value for name, value in headers.items()} or {"ETag": '"1"'}
            start = 0
            if (part := request.headers.get("Range")) and request.headers.get("If-Range") in (None, *about.values()):
                if not data:
                    return web.Response(status=416, headers={"Content-Range": "bytes */0"})
                start, end = (int(number or len(data)) for number in part.removeprefix("bytes=").split("-"))
                about["Content-Range"] = f"bytes {start}-{min(end, len(data) - 1)}/{len(data)}"
                return web.Response(body=data[start : end + 1], status=206, headers=about)
            return web.Response(body=data, headers=about)

        self.pages[path] = page
        return self.address(path)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, dict(request.headers)))
        if (page := self.pages.get(request.path, self.other)) is None:
            return web.Response(status=404)
        return await page(request)


async def cut_off(
    request: web.Request, data: bytes, size: int, is_part: bool = False, **headers: str
) -> web.StreamResponse:
    """A body of that size, of which only these bytes come."""
    about = {"Content-Length": str(size), **headers}
    response = web.StreamResponse(status=206 if is_part else 200, headers=about)
    await response.prepare(request)
    await response.write(data)
    await asyncio.sleep(0.02)
    assert request.transport is not None
    request.transport.close()
    return response


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    """Its certificate is in ca.pem of the folder."""
    loop, server, ready = asyncio.new_event_loop(), WebServer(), threading.Event()
    _write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")

    async def serve() -> None:
        runner = web.ServerRunner(web.Server(server._answer), shutdown_timeout=0.1)
        await runner.setup()
        for tls in (context, None):
            site = web.TCPSite(runner, "0.0.0.0", 0, ssl_context=tls)
            await site.start()
        server.port, server.http_port = (address[1] for address in runner.addresses)
        ready.set()
        while not stopping.is_set():
            await asyncio.sleep(0.02)
        await runner.cleanup()
        for task in (tasks := asyncio.all_tasks() - {asyncio.current_task()}):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stopping = threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        stopping.set()
        thread.join()
        loop.close()


def _write_certificate(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    names = [
        x509.DNSName("localhost"),
        x509.DNSName("a.rebinding.test"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
