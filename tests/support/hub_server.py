"""The few questions of the Hugging Face hub that reading takes, answered by a server on this machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.support.web_server import WebServer, cut_off

TOKEN = "hf_planted"


@dataclass
class Hub:
    """A hub with one data set, tests/set, which the token alone may read, and a model of the same name and files.
    commits: files by commit, the last one is main. cuts: bytes after which the next bodies break off. fetched: names of
    files, as their contents were asked for. All contents come from another host, as those of large files there."""

    server: WebServer
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.other = self.answer

    @property
    def endpoint(self) -> str:
        return f"http://localhost:{self.server.http_port}"

    def push(self, **files: bytes) -> str:
        """The name of the commit. Underscores stand for dots, two for slashes."""
        commit = hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = {name.replace("__", "/").replace("_", "."): data for name, data in files.items()}
        return commit

    def push_folder(self, folder: Path) -> str:
        """As `push`, the files of a folder under their own names."""
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        commit = hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = files
        return commit

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/cdn/"):
            every = {
                f"/cdn/{_hash(data)}": (name, data) for files in self.commits.values() for name, data in files.items()
            }
            name, data = every[request.path]
            self.fetched.append(name)
            return await self._body(request, data)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or "tests/set" not in request.path:
            return web.Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
        match [unquote(part) for part in request.raw_path.split("?")[0].split("/")[1:]]:
            case ["api", "datasets" | "models", "tests", "set", "revision", revision]:
                return web.json_response({"id": "tests/set", "sha": self._commit(revision)})
            case ["api", "datasets" | "models", "tests", "set", "tree", revision, *folder]:
                below = "".join(f"{name}/" for name in folder)
                files = self.commits[self._commit(revision) or ""]
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40, **_lfs(name, data)}
                    for name, data in files.items()
                    if name.startswith(below)
                ]
                return web.json_response(tree) if tree else _missing("EntryNotFound")
            case ["datasets", "tests", "set", "resolve", revision, *path] | [
                "tests",
                "set",
                "resolve",
                revision,
                *path,
            ]:
                if (commit := self._commit(revision)) is None:
                    return _missing("RevisionNotFound")
                if (data := self.commits[commit].get("/".join(path))) is None:
                    return _missing("EntryNotFound")
                about = {"X-Repo-Commit": commit, "ETag": f'"{_hash(data)}"', "X-Linked-Size": str(len(data))}
                place = f"http://127.0.0.1:{self.server.http_port}/cdn/{_hash(data)}"
                return web.Response(status=302, headers={**about, "Location": place})
        return web.Response(status=404)

    async def _body(self, request: web.Request, data: bytes) -> web.StreamResponse:
        assert "Authorization" not in request.headers
        start, end = 0, len(data)
        if part := request.headers.get("Range"):
            numbers = part.removeprefix("bytes=").split("-")
            start, end = int(numbers[0]), int(numbers[1] or end - 1) + 1
        if self.cuts:
            return await cut_off(request, data[start : start + self.cuts.pop()], end - start, bool(part))
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"} if part else {}
        return web.Response(body=data[start:end], status=206 if part else 200, headers=headers)

    def _commit(self, revision: str) -> str | None:
        if revision == "main":
            return [*self.commits][-1]
        return revision if revision in self.commits else None


def _lfs(name: str, data: bytes) -> dict[str, Any]:
    """Of a large file: the hub says the hash of its contents."""
    if not name.endswith(".safetensors"):
        return {}
    return {"lfs": {"oid": _hash(data), "size": len(data), "pointerSize": 130}}


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _missing(code: str) -> web.Response:
    return web.Response(status=404, headers={"X-Error-Code": code})
