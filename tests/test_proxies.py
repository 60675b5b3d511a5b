"""The proxies of the environment: which an address goes to, and what is held to the policy of the web all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from model.engines.proxies import proxy_for
from operators.store.inputs import web_client
from operators.store.inputs.web_origin import WebOrigin
from schemas.errors import InputError
from schemas.fetch import FetchSettings
from tests.support.servers import serving
from tests.support.web_server import WebServer, web_server
from tests.test_openai_engine import ask, request

NAMES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture(autouse=True)
def _none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """One that answers by itself, whatever it is asked for."""
    with web_server(tmp_path_factory.mktemp("proxy")) as server:

        async def other(request: web.Request) -> web.Response:
            return web.Response(body=b"by proxy", headers={"ETag": '"1"'})

        server.other = other
        yield server


def test_which_proxy_an_address_goes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for("https://host/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:3128")
    monkeypatch.setenv("http_proxy", "plain:80")
    monkeypatch.setenv("NO_PROXY", "inside.example,10.0.0.1")
    assert proxy_for("https://host/v1") == "http://secure:3128"
    assert proxy_for("http://host/v1") == "http://plain:80"
    for near in ("https://inside.example/", "https://a.inside.example/", "http://10.0.0.1:8000/v1"):
        assert proxy_for(near) is None
    for here in ("http://localhost:8000/v1", "http://127.0.0.1:8000", "http://[::1]:8000"):
        assert proxy_for(here) is None, "a proxy would take it for itself"
    monkeypatch.setenv("HTTPS_PROXY", "socks5://other:1080")
    assert proxy_for("https://host/v1") is None


def test_the_web_is_asked_through_one_where_the_spec_says_so(
    proxy: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.http_port}")
    monkeypatch.setattr(web_client, "CONNECT_S", 0.5)
    settings = FetchSettings(allow_hosts=("far.invalid",), timeout_s=5, use_proxies=True)
    assert b"".join(WebOrigin(settings).pieces("http://far.invalid/a.bin", None)) == b"by proxy"
    assert proxy.requests[-1][2]["Host"] == "far.invalid"
    asked = len(proxy.requests)
    with pytest.raises(InputError):
        b"".join(WebOrigin(replace(settings, use_proxies=False, timeout_s=1)).pieces("http://far.invalid/a", None))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.http_port}")
    with pytest.raises(InputError, match="not of the public internet") as refused:
        b"".join(WebOrigin(settings).pieces("https://10.1.2.3/a.bin", None))
    assert refused.value.kind == "permission"
    assert len(proxy.requests) == asked


def test_a_server_is_asked_through_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is not: here the server is the proxy."""
    with serving(lambda *_: "right") as server:
        monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
        (direct,) = ask(server, request())
        assert not isinstance(direct, BaseException)
        server.url = "http://far.invalid/v1"
        (far,) = ask(server, request())
        assert not isinstance(far, BaseException), far
        assert far.text == direct.text
