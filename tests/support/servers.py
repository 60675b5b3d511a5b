"""A small OpenAI-compatible server on loopback that answers, and misbehaves, as a test asks."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "served"

Manners = Callable[[str, int], str]
"""(what is asked, how often it was asked before) -> one of the ways in `_Handler.do_POST`."""


def free_port() -> int:
    """That nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def question(body: dict[str, Any]) -> str:
    """The text of the last message."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


class Server:
    """manners: how each request is answered. `bodies` holds what was asked, `headers` with what headers."""

    def __init__(self, manners: Manners, key: str = "", reply: Callable[[str], str] = str.upper, port: int = 0) -> None:
        self.manners = manners
        self.key = key
        self.reply = reply
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.asked: Counter[str] = Counter()
        self.models: Any = {"data": [{"id": MODEL, "owned_by": "vllm", "max_model_len": 4096}]}
        self.most_at_once = self._at_once = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        handler = type("Handler", (_Handler,), {"world": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def begin(self, body: dict[str, Any]) -> str:
        with self.lock:
            # a picture makes the difference between two units that are asked the same
            identity = json.dumps(body["messages"])
            before = self.asked[identity]
            self.asked[identity] += 1
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return self.manners(question(body), before)

    def end(self) -> None:
        with self.lock:
            self._at_once -= 1

    def close(self) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextmanager
def serving(manners: Manners, **options: Any) -> Iterator[Server]:
    server = Server(manners, **options)
    try:
        yield server
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    world: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self._allowed():
            self._whole(200, self.world.models)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        way = self.world.begin(body)
        try:
            self._answer(way, self.world.reply(question(body)))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.world.end()

    def _allowed(self) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.world.key and sent != f"Bearer {self.world.key}":
            self._whole(401, {"error": {"message": f"wrong key: {sent}"}})
            return False
        return True

    def _answer(self, way: str, text: str) -> None:
        match way.split():
            case ["right", *rest]:
                self._events(*_answered(text, *rest))
            case ["slow", seconds]:
                time.sleep(float(seconds))
                self._events(*_answered(text))
            case ["429"]:
                self._whole(429, {"error": {"message": "slow down"}})
            case ["429", after]:
                self._whole(429, {"error": {"message": "slow down"}}, {"Retry-After": after})
            case ["quota"]:
                self._whole(429, {"error": {"message": "no money", "code": "insufficient_quota"}})
            case ["500"]:  # with everything that it knows in the message
                self._whole(500, {"error": {"message": f"trouble with {self.headers.get('Authorization')}"}})
            case ["400", *words]:
                self._whole(400, {"error": {"message": " ".join(words)}})
            case ["404"]:
                self._whole(404, {"error": {"message": "no such model"}})
            case ["half"]:
                self._events(_event({"content": text[: len(text) // 2]}), end=False)
            case ["late", "error"]:
                self._events(_event({"content": text[:2]}), json.dumps({"error": {"message": "engine died"}}))
            case ["garbage"]:
                self._events("{not json", "[DONE]")
            case ["page"]:
                self._whole(200, "<html>welcome</html>")
            case ["hang"]:
                self.world.over.wait(60)
            case ["cut"]:
                self.connection.shutdown(socket.SHUT_RDWR)
            case _:
                raise AssertionError(way)

    def _whole(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")  # else `close` leaves connections that are answered
        self.end_headers()
        self.wfile.write(data)

    def _events(self, *events: str, end: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            data = f"data: {event}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if end:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


def _event(delta: dict[str, Any], finish_reason: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _answered(text: str, finish_reason: str = "stop", reasoning: str = "") -> list[str]:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 3}}
    return [
        _event({"role": "assistant", "content": ""}),
        *([_event({"reasoning_content": reasoning})] if reasoning else []),
        *(_event({"content": piece}) for piece in (text[:3], text[3:])),
        _event({}, finish_reason),
        json.dumps({"choices": [], "usage": usage}),
        "[DONE]",
    ]
