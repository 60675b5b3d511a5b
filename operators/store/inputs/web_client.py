"""One question to the web through aiohttp, and what came of it: the policy held, redirects followed, errors typed.

Where a socket is about to be connected, its address is looked at (public_web.py): there is no gap between that look and
the use, in which a name could come to mean another machine, and a number may be spelled in any way. A proxy resolves
names for itself, past that; so those of the environment are used only where the spec says so.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Any

import aiohttp
from yarl import URL

from model.engines.backoff import retry_after_s
from model.engines.proxies import proxy_for
from operators.store.inputs.public_web import is_allowed, is_public, web_url
from schemas.errors import InputError
from schemas.fetch import FetchSettings
from schemas.version import VERSION

MOST_REDIRECTS = 5
CONNECT_S = 10.0
IDLE_S = 30.0
"""Without a byte: then what is under way counts as broken off."""
_BUFFER_BYTES = 1 << 20
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_GONE = frozenset((404, 410))
_REFUSED = frozenset((401, 403, 407, 451))
_PASSING = frozenset((408, 425, 429, *range(500, 600)))


class MayPass(Exception):
    """To be asked again. kind: of the error, if it does not pass. after_s: what the server asks for. is_lost: there is
    no server."""

    def __init__(
        self, reason: str, kind: str = "unreachable", after_s: float | None = None, is_lost: bool = False
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.after_s = after_s
        self.is_lost = is_lost


@contextlib.asynccontextmanager
async def asked(
    method: str, address: str, settings: FetchSettings, headers: Mapping[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """What the last of the redirects answers, whatever its status.

    Raises MayPass, and InputError for what the policy refuses; also in place of what goes wrong with the body.
    """
    url = web_url(address, settings.allow_hosts)
    refused: list[str] = []
    for _ in range(MOST_REDIRECTS + 1):
        proxy = proxy_for(str(url)) if settings.use_proxies else None
        is_free = is_allowed(url, settings.allow_hosts)
        if proxy is not None and not is_free and not _may_be_public(url):
            raise InputError("permission", f"{url.host} is not of the public internet (fetch.allow_hosts)")
        try:
            async with (
                _session(None if is_free or proxy is not None else refused) as session,
                session.request(method, url, headers=headers, allow_redirects=False, proxy=proxy) as response,
            ):
                try:
                    if response.status not in _REDIRECTS:
                        yield response
                        return
                    place = response.headers.get("Location", "")
                finally:
                    if response.connection is not None and response.connection.transport is not None:
                        response.connection.transport.abort()  # of a body that is left, without a farewell
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if refused:
                reason = f"{url.host} leads to an address that is not of the public internet (fetch.allow_hosts)"
                raise InputError("permission", reason) from None
            raise _translated(error) from error
        url = _next(url, place, settings)
    raise InputError("unreachable", f"it leads on to other addresses more than {MOST_REDIRECTS} times")


def check_status(response: aiohttp.ClientResponse) -> None:
    """Raises InputError and MayPass for all but 200 and 206, and for a body that is not as it is."""
    status = response.status
    if status in (200, 206):
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):  # a few bytes could become very many
            raise InputError("malformed", f"the server packs it ({encoding[:40]!r}), which it was asked not to do")
        return
    sentence = f"the server answers with status {status}"
    if status in _GONE:
        raise InputError("not_found", sentence)
    if status in _PASSING:
        raise MayPass(sentence, after_s=retry_after_s(response.headers))
    if status in _REFUSED:  # some servers also say so under load
        raise MayPass(sentence, "permission", retry_after_s(response.headers))
    raise InputError("unreachable", sentence)


def _next(url: URL, place: str, settings: FetchSettings) -> URL:
    """Where a redirect leads; a page asked by https never by http, whoever allows the host."""
    try:
        address = str(url.join(URL(place)))
    except ValueError as error:
        raise InputError("unreachable", "it leads on to what is no address") from error
    if not place:
        raise InputError("unreachable", "it leads on, but does not say where")
    following = web_url(address, settings.allow_hosts)
    if (url.scheme, following.scheme) == ("https", "http"):
        raise InputError("permission", f"it leads on from https to http, at {following.host}")
    return following


def _may_be_public(url: URL) -> bool:
    """False for the number of a machine that is not; what a name means is the proxy's to look at."""
    try:
        number = str(ipaddress.ip_address(url.host or ""))
    except ValueError:
        return True
    return is_public(number)


def _session(refused: list[str] | None) -> aiohttp.ClientSession:
    """For one question. refused: filled with addresses that are not public, to which no socket is made; None: all may
    be."""

    def public_socket(info: Any) -> socket.socket:
        assert refused is not None
        family, kind, protocol, _, place = info
        if not is_public(str(place[0])):
            refused.append(str(place[0]))
            raise OSError("not of the public internet")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        ssl=_certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        socket_factory=None if refused is None else public_socket,
        use_dns_cache=False,
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={"Accept-Encoding": "identity", "User-Agent": f"sightread/{VERSION}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=IDLE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=_BUFFER_BYTES,
        trust_env=False,
    )


@lru_cache(maxsize=4)
def _certificates(*_: str | None) -> ssl.SSLContext:
    """The system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR, which OpenSSL reads itself."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _translated(error: Exception) -> Exception:
    """Without the library's own words, which may name an address that is signed."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            reason = getattr(error, "certificate_error", error)
            words = getattr(reason, "verify_message", "") or getattr(reason, "reason", "") or type(reason).__name__
            return InputError("unreachable", f"no secure connection: {words} (SSL_CERT_FILE names other authorities)")
        case aiohttp.InvalidURL():  # a number in a spelling that is no name either
            return InputError("not_found", "this is no address of the web")
        case aiohttp.ClientConnectorDNSError():
            return MayPass("its host has no address", is_lost=True)
        case aiohttp.ConnectionTimeoutError():
            return MayPass("no connection: the host is silent", is_lost=True)
        case TimeoutError():
            return MayPass("the server is silent")
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return MayPass(f"no connection: {os.strerror(number) if number else 'refused'}", is_lost=True)
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return MayPass("the answer breaks off")
        case aiohttp.ClientResponseError():
            return MayPass("the answer is no HTTP")
    return MayPass(type(error).__name__)
