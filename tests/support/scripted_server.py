"""An object store that answers as it was told: what the real services say, and no server that one can install does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """status 0: the connection is closed without a word; 206: of the body what was asked for. cut: bytes of the body
    after which it is closed."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


def error(status: int, code: str, message: str = "") -> Answer:
    """As S3 and Azure Blob say it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, body.encode())


@dataclass
class ScriptedServer:
    """asked: method and path of every request so far, and its headers in lower case."""

    address: str
    answers: list[Answer]
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def scripted_server(*answers: Answer) -> Iterator[ScriptedServer]:
    """Gives the answers in this order, and the last one again and again."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            script.asked.append((self.command, self.path))
            script.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            self.close_connection = answer.status == 0 or answer.cut is not None
            if not answer.status:
                self.connection.shutdown(2)
                return
            self.send_response(answer.status)
            body, headers = answer.body, {}
            if answer.status == 206:
                start, end = (int(number) for number in self.headers["range"].removeprefix("bytes=").split("-"))
                headers = {"content-range": f"bytes {start}-{min(end, len(body) - 1)}/{len(body)}"}
                body = body[start : end + 1]
            headers |= {"content-length": str(len(body)), "last-modified": "Fri, 27 Nov 2026 13:00:00 GMT"}
            for name, value in (headers | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(OSError):  # who asked may have hung up
                    self.wfile.write(body[: answer.cut])

    for method in ("GET", "PUT", "HEAD", "DELETE", "POST"):
        setattr(Handler, f"do_{method}", Handler.answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script = ScriptedServer(f"http://127.0.0.1:{server.server_port}", list(answers))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
