"""Inputs of the web: read whole or typed, from machines of the public internet alone. Against a real https server."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import ipaddress
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.load import parse
from operators.store.inputs import web_client, web_origin
from operators.store.inputs.opened_input import opened_input
from operators.store.inputs.origin import Entry
from operators.store.inputs.public_web import is_public, web_url
from operators.store.inputs.web_origin import WebOrigin
from pipelines.job import prepare
from pipelines.listing import list_inputs
from pipelines.local import answer
from schemas.errors import InputError, SpecError
from schemas.fetch import FetchSettings
from tests.support.web_server import WebServer, cut_off, web_server
from tests.support.world import write_recording

DATA = bytes(range(256)) * 4096
HERE = FetchSettings(allow_hosts=("localhost",), timeout_s=20)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WebServer, Path]]:
    folder = tmp_path_factory.mktemp("web")
    with web_server(folder) as server:
        yield server, folder


@pytest.fixture
def server(process: tuple[WebServer, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> WebServer:
    server, folder = process
    server.pages.clear()
    server.requests.clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIGHTREAD_CACHE_MB", "100")
    monkeypatch.setattr(web_origin, "pauses", lambda: iter(lambda: 0.01, None))
    monkeypatch.setattr(web_client, "IDLE_S", 0.3)
    return server


def read(address: str, version: str | None = None, fetch: FetchSettings = HERE) -> bytes:
    return b"".join(WebOrigin(fetch).pieces(address, version))


def failure(address: str, fetch: FetchSettings = HERE) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        read(address, fetch=fetch)
    return caught.value.kind, str(caught.value)


def test_a_file_of_the_web_is_an_open_file(server: WebServer) -> None:
    address = server.file("/a%20b.bin?signed=%2F+x", DATA)
    server.pages["/a b.bin"] = server.pages.popitem()[1]
    with opened_input(address, None, HERE) as opened:
        assert opened.version == '"1"'
        assert os.pread(opened.fd, len(DATA) + 1, 0) == DATA
    assert [(method, path) for method, path, _ in server.requests] == [
        (method, "/a%20b.bin?signed=%2F+x") for method in ("HEAD", "GET")
    ]
    with opened_input(address, opened.version, HERE):  # this node has it
        assert len(server.requests) == 2
    assert [*WebOrigin(HERE).pieces(address, '"1"', 1000, 1010)] == [DATA[1000:1010]]
    with pytest.raises(SpecError, match="no folders"):
        WebOrigin(HERE).list(address)


def test_several_threads_ask_at_once(server: WebServer) -> None:
    address, contents = server.file("/a", DATA), list[bytes]()
    threads = [Thread(target=lambda: contents.append(read(address))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [DATA] * 8


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"ETag": '"x"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, '"x"'),
        (
            {"ETag": 'W/"x"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
            f"Mon, 01 Jan 2024 00:00:00 GMT, {len(DATA)} bytes",
        ),
        ({"X-None": "1"}, f"sha256-{hashlib.sha256(DATA).hexdigest()}"),
    ],
)
def test_what_was_changed_is_not_read(server: WebServer, headers: dict[str, str], version: str) -> None:
    address = server.file("/a", DATA, **headers)
    entry = WebOrigin(HERE).stat(address)
    assert (entry.version, entry.size_bytes) == (version, len(DATA))
    assert read(address, version) == DATA
    server.file("/a", DATA[1:], **{name: value.replace("x", "y") for name, value in headers.items()})
    with pytest.raises(InputError, match="was changed") as caught:
        read(address, version)
    assert caught.value.kind == "changed"


def test_a_server_that_knows_no_head_is_asked_by_get(server: WebServer) -> None:
    address = server.file("/a", DATA)
    page = server.pages["/a"]

    async def no_head(request: web.Request) -> web.StreamResponse:
        return web.Response(status=405) if request.method == "HEAD" else await page(request)

    server.pages["/a"] = no_head
    assert WebOrigin(HERE).stat(address) == Entry(address, len(DATA), '"1"')
    assert server.requests[-1][2]["Range"] == "bytes=0-0"  # and not all of it
    server.file("/a", b"")
    page = server.pages["/a"]
    server.pages["/a"] = no_head
    assert WebOrigin(HERE).stat(address) == Entry(address, 0, '"1"')
    assert read(address) == b""


@pytest.mark.parametrize(
    ("status", "kind", "times"),
    [
        (404, "not_found", 1),
        (410, "not_found", 1),
        (403, "permission", 3),
        (503, "unreachable", 5),
        (400, "unreachable", 1),
    ],
)
def test_a_status_is_a_typed_row(server: WebServer, status: int, kind: str, times: int) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status=status)

    server.pages["/a"] = page
    assert failure(server.address("/a?key=planted"))[0] == kind
    assert "planted" not in failure(server.address("/a?key=planted"))[1]
    assert len(server.requests) == 2 * times


def test_what_passes_is_asked_again(server: WebServer) -> None:
    address, faults = server.file("/a", DATA), [500, 429, 403, 503]
    page = server.pages["/a"]

    async def faulty(request: web.Request) -> web.StreamResponse:
        if faults:
            return web.Response(status=faults.pop(), headers={"Retry-After": "0"})
        return await page(request)

    server.pages["/a"] = faulty
    assert read(address) == DATA


@pytest.mark.parametrize("known", ['"1"', "no ETag"])
def test_a_body_that_is_cut_off_goes_on(server: WebServer, known: str) -> None:
    """By a part where the server can say that it is of the same file, else from the start."""
    address = server.file("/a", DATA, **({"ETag": known} if known == '"1"' else {"X_None": "1"}))
    page, cuts = server.pages["/a"], [10, 100_000, 1]

    async def faulty(request: web.Request) -> web.StreamResponse:
        if not cuts:
            return await page(request)
        part = request.headers.get("Range")
        start = int(part.removeprefix("bytes=").rstrip("-")) if part else 0
        response = web.StreamResponse(status=206 if part else 200, headers={"Content-Length": str(len(DATA) - start)})
        if known == '"1"':
            response.headers["ETag"] = known
        if part:
            response.headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        await response.prepare(request)
        await response.write(DATA[start : start + cuts.pop()])
        await asyncio.sleep(0.02)
        assert request.transport is not None
        request.transport.close()
        return response

    server.pages["/a"] = faulty
    assert read(address) == DATA
    parts = [headers.get("Range") for _, _, headers in server.requests]
    assert parts == ([None, "bytes=1-", "bytes=100001-", "bytes=100011-"] if known == '"1"' else [None] * 4)


def test_a_file_that_changes_while_it_is_read_is_not_put_together(server: WebServer) -> None:
    asked = iter(range(9))

    async def page(request: web.Request) -> web.StreamResponse:
        number = next(asked)
        return await cut_off(request, ([b"old", b"new"][number > 0] * 1000)[: 2000 + number], 3000)

    server.pages["/a"] = page
    assert failure(server.address("/a"))[0] == "changed"


def test_a_body_that_stalls_is_asked_again_and_bounded_in_time(server: WebServer) -> None:
    async def stalls(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "9"})
        await response.prepare(request)
        await asyncio.sleep(3)
        return response

    async def trickles(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "999"})
        await response.prepare(request)
        for _ in range(200):
            await response.write(b"x")
            await asyncio.sleep(0.02)
        return response

    server.pages |= {"/stalls": stalls, "/trickles": trickles}
    assert failure(server.address("/stalls")) == ("unreachable", "the server is silent (tries: 5)")
    assert len(server.requests) == 5
    kind, sentence = failure(server.address("/trickles"), FetchSettings(("localhost",), timeout_s=0.5))
    assert (kind, sentence) == ("unreachable", "it cannot be had within 0.5 s (fetch.timeout_s)")


def test_a_body_is_bounded_in_size(server: WebServer) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            if request.transport is None or request.transport.is_closing():
                break
            await response.write(bytes(1 << 16))
            await asyncio.sleep(0)
        return response

    async def bomb(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(1 << 22)), headers={"Content-Encoding": "gzip"})

    server.pages |= {"/endless": endless, "/bomb": bomb}
    small = FetchSettings(("localhost",), max_mb=1, timeout_s=20)
    assert failure(server.file("/a", bytes((1 << 20) + 1)), small) == (
        "too_large",
        "it is larger than 1 MB (fetch.max_mb)",
    )
    assert failure(server.address("/endless"), small)[0] == "too_large"
    assert failure(server.address("/bomb"), small)[0] == "malformed"
    assert read(server.file("/a", bytes(1 << 20)), fetch=small) == bytes(1 << 20)


def test_a_dead_server_is_a_typed_row(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_origin, "_lost", {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused = "no connection: Connection refused (tries: {})"
    assert failure(f"https://localhost:{port}/a") == ("unreachable", refused.format(5))
    assert failure(f"https://localhost:{port}/b") == ("unreachable", refused.format(1))  # one of very many
    monkeypatch.setattr(web_origin, "_lost", {})
    assert failure(f"https://localhost:{port}/b") == ("unreachable", refused.format(5))
    assert failure("https://no-such-host.invalid/a") == ("unreachable", "its host has no address (tries: 5)")


def test_a_certificate_that_nobody_signed_is_refused(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    address = server.file("/a", DATA)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert failure(address)[1].startswith("no secure connection: self")
    assert server.requests == []


def test_every_file_comes_whole_from_a_server_with_faults(
    server: WebServer, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """A tenth of the answers is a fault: a status, a reset, silence or a cut, by seed."""
    random_ = random.Random(17)
    contents = {f"/{number}": random_.randbytes(random_.randrange(300_000)) for number in range(amount(40, 1000))}
    for number, (path, data) in enumerate(contents.items()):
        server.file(path, data, **({"ETag": f'"{number}"'} if number % 3 else {"X_None": "1"}))
    pages, faults = dict(server.pages), Counter[str]()

    async def faulty(request: web.Request) -> web.StreamResponse:
        data = contents[request.path]
        fault = random_.choice(["500", "503", "429", "403", "reset", "silence", "cut"] + [""] * 63)
        faults[fault] += 1
        if fault.isdecimal():
            return web.Response(status=int(fault))
        if fault == "silence":
            await asyncio.sleep(0.5)
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
        if fault == "cut" and request.method == "GET" and "Range" not in request.headers:
            etag = (await pages[request.path](request)).headers.get("ETag")
            return await cut_off(request, data[: len(data) // 2], len(data), **({"ETag": etag} if etag else {}))
        return await pages[request.path](request)

    server.pages.update(dict.fromkeys(contents, faulty))
    for path, data in contents.items():
        with opened_input(server.address(path), None, HERE) as opened:
            assert os.pread(opened.fd, len(data) + 1, 0) == data
    del faults[""]
    assert len(faults) >= 5
    figure(
        f"web: {len(contents)} files whole in {len(server.requests)} requests, faults {dict(sorted(faults.items()))}"
    )


def test_pictures_of_the_web_are_answered(server: WebServer, tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(png, "PNG")
    addresses = [
        server.file("/a.png?size=1", png.getvalue()),
        server.address("/gone.png"),
        f"https://127.0.0.1:{server.port}/a.png",
    ]
    server.file("/a.png", png.getvalue())
    (tmp_path / "in.csv").write_text("\n".join(["path", *addresses]))
    write_recording(tmp_path / "replies.jsonl", {"sample": "*", "task": "*", "reply": "red"})
    spec = {
        "name": "web",
        "inputs": str(tmp_path / "in.csv"),
        "tasks": "ocr",
        "engine": {"kind": "scripted", "recording": str(tmp_path / "replies.jsonl")},
        "fetch": {"allow_hosts": ["localhost"]},
        "output": str(tmp_path / "out"),
    }
    rows = {row["input_uri"]: row for row in answer(prepare(parse(spec, "test")))}
    assert [rows[address]["text"] for address in addresses] == ["red", None, None]
    assert [(rows[address]["error"] or {}).get("kind") for address in addresses] == [None, "not_found", "permission"]
    assert [method for method, path, _ in server.requests if path.startswith("/a.png")] == ["HEAD", "GET"]


# the policy


def redirect(server: WebServer, path: str, place: str, status: int = 302) -> str:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": place, "Set-Cookie": "a=planted"})

    server.pages[path] = page
    return server.address(path)


def test_redirects_are_followed_a_few_times(server: WebServer) -> None:
    server.file("/5", DATA)
    for number in range(5):
        first = redirect(server, f"/{4 - number}", f"/{5 - number}", [301, 302, 303, 307, 308][number])
    assert read(first) == DATA
    assert not any({"Cookie", "Authorization", "Referer"} & headers.keys() for *_, headers in server.requests)
    assert failure(redirect(server, "/more", "/0")) == (
        "unreachable",
        "it leads on to other addresses more than 5 times",
    )
    assert failure(redirect(server, "/loop", "/loop"))[0] == "unreachable"


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("https://127.0.0.1:{port}/secret", "permission"),
        ("https://2130706433:{port}/secret", "not_found"),
        ("https://[::ffff:127.0.0.1]:{port}/secret", "permission"),
        ("//127.1:{port}/secret", "not_found"),
        ("http://localhost:{http}/secret", "permission"),
        ("https://planted:planted@localhost:{port}/secret", "permission"),
        ("file:///etc/passwd", "not_found"),
        ("", "unreachable"),
    ],
)
def test_a_redirect_is_held_to_the_same(server: WebServer, place: str, kind: str) -> None:
    server.file("/secret", DATA)
    address = redirect(server, "/a", place.format(port=server.port, http=server.http_port))
    actual, sentence = failure(address)
    assert actual == kind, sentence
    assert "planted" not in sentence
    assert [path for _, path, _ in server.requests] == ["/a"]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0.0.0.0",
        "[::ffff:7f00:1]",
        "127。0。0。1",
    ],
)
def test_no_spelling_of_this_machine_is_asked(server: WebServer, host: str) -> None:
    server.file("/a", DATA)
    kind, sentence = failure(f"https://{host}:{server.port}/a", FetchSettings(timeout_s=20))
    assert server.requests == []
    if kind == "not_found":
        assert host in ("127.1", "0177.0.0.1", "2130706433")  # which are no names either
    else:
        assert (kind, "fetch.allow_hosts" in sentence) == ("permission", True)
    if host == "127.0.0.1":
        assert read(f"https://{host}:{server.port}/a", fetch=FetchSettings((host,))) == DATA


def test_a_name_that_comes_to_mean_another_machine_gains_nothing(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.2 stands for the public internet; both are this server."""
    server.file("/a", DATA)
    answers = [["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]]
    resolved = socket.getaddrinfo

    def rebinding(host: str, *arguments: object, **named: object) -> object:
        places = answers.pop(0) if host == "a.rebinding.test" else [host]
        return [entry for place in places for entry in resolved(place, *arguments, **named)]  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(web_client, "is_public", lambda number: number == "127.0.0.2")
    address, outside = server.address("/a", "a.rebinding.test"), FetchSettings(timeout_s=20)
    assert WebOrigin(outside).stat(address).size_bytes == len(DATA)
    assert failure(address, outside)[0] == "permission"
    assert len(server.requests) == 1
    assert read(address, fetch=outside) == DATA  # from the one of its machines that may be asked
    assert answers == []


def test_http_is_asked_of_hosts_that_are_allowed(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.file("/a", DATA)
    address = f"http://localhost:{server.http_port}/a"
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert read(address) == DATA
    assert failure(address, FetchSettings())[0] == "permission"
    assert read(server.address("/a")) == DATA


@pytest.mark.parametrize("address", ["https://user:planted@host/a", "https://planted@host/a", "https://:planted@host/"])
def test_a_password_is_refused_and_not_repeated(address: str) -> None:
    kind, sentence = failure(address)
    assert (kind, "planted" in sentence) == ("permission", False)


@pytest.mark.parametrize("address", ["https:///a", "https://", "https://h:99999/", "https://[::1/", "https://a\\@b/"])
def test_what_is_no_address_is_said_to_be_none(address: str) -> None:
    assert failure(address)[0] == "not_found"


PRIVATE = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
]


@settings(deadline=None)
@given(st.sampled_from(PRIVATE).flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_private_number_is_public_in_any_form(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = [f"::ffff:{address}", f"64:ff9b::{address}", f"64:ff9b:1::{address}", f"::{address}", f"::ffff:0:{address}"]
    forms += [f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1", f"2001:0:{number >> 16:x}:{number & 0xFFFF:x}::"]
    for form in (str(address), *forms):
        assert not is_public(form), form
        assert not is_public(f"{form}%lo"), form


@settings(deadline=None)
@given(st.sampled_from(["::/8", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "4000::/2", "2001:db8::/32"]))
def test_no_private_network_of_ipv6_is_public(network: str) -> None:
    first = ipaddress.ip_network(network)
    assert not is_public(str(first[1]))
    assert not is_public(str(first[-1]))


def test_public_numbers_are_public() -> None:
    for number in ("1.1.1.1", "9.255.255.255", "11.0.0.0", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111"):
        assert is_public(number)
    assert is_public("64:ff9b::8.8.8.8")  # as a network without IPv4 reaches the rest
    assert is_public("::ffff:8.8.8.8")
    assert not is_public("no number")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_is_more_than_an_address(text: str) -> None:
    for address in (text, f"https://{text}", f"https://host/{text}"):
        try:
            url = web_url(address)
        except InputError as error:
            assert error.kind in ("not_found", "permission")  # noqa: PT017
        else:
            assert url.scheme == "https"
            assert (url.user, url.password) == (None, None)


@pytest.mark.parametrize("name", ["/bad.csv", "/bad.parquet", "/gone.csv", "/refused.csv"])
def test_a_signature_is_in_no_sentence(server: WebServer, name: str) -> None:
    """Of a table: that of a row names no address but in its own column."""
    if "bad" in name:
        server.file(name, b"no,paths\n")
    elif "refused" in name:
        server.pages[name] = forbidden
    try:
        rows = list_inputs((f"{server.address(name)}?X-Amz-Signature=planted",), None, settings=HERE).inputs.to_pylist()
        sentence = str([row["error"] for row in rows])
    except SpecError as error:
        sentence = str(error)
    assert name in sentence
    assert "planted" not in sentence


async def forbidden(_: web.Request) -> web.Response:
    return web.Response(status=403)
