"""The files of a page: a folder that a browser opens from the disk, or one file. Knows nothing of jobs.

    index.html                what a browser opens
    report.js, report.css     built from jobs/report/page/ (scripts/report-page)
    data/<key>.js             values, each handed to a function of the page when it asks for it
    pictures/<name>.webp

From a file no page may fetch and no module loads, so values come as classic scripts. The policy of the page allows
these files and nothing else: no script, style or picture from elsewhere, none within the page, no frame, no connection.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any, Protocol

from operators.store.store import Store, overwrite
from schemas.errors import SpecError

_BUILT = Path(__file__).with_name("built")
_OURS = re.compile(r"(?:data|pictures)/[\w-]+\.(?:js|webp)", re.ASCII)
PAGES = ("index.html", "report.html")
_POLICY = "default-src 'none'; script-src {}; style-src {}; img-src {}; base-uri 'none'; form-action 'none'"


class Site(Protocol):
    @property
    def size_bytes(self) -> int:
        """Of all that was put so far."""

    def put(self, key: str, value: Any) -> None:
        """key: of letters, digits and dashes. value: of plain values."""

    def picture(self, name: str, data: bytes) -> None:
        """name: as `abc.webp`."""

    def finish(self, title: str) -> str:
        """The address of the page."""


class Folder:
    """A folder of a store, in the place of the report that was there. Raises SpecError where there are files of another
    kind."""

    def __init__(self, store: Store, folder: str = "") -> None:
        self._store = store
        self._prefix = f"{folder}/" if folder else ""
        self._size_bytes = 0
        keys = (key.removeprefix(self._prefix) for key in store.list(folder))
        self._before = {key for key in keys if not key.startswith("_job/")}
        if self._before and not self._before & {*PAGES}:
            raise SpecError(f"{store.address} holds other files than a report; --into names another place")
        self._there: set[str] = set()
        if not self._before:
            self._put("index.html", b"this report was never finished\n")  # it is one: the next takes its place

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def put(self, key: str, value: Any) -> None:
        self._put(f"data/{key}.js", f'sightread("{key}", {as_script(value)});\n'.encode("utf-8", "replace"))

    def picture(self, name: str, data: bytes) -> None:
        if f"pictures/{name}" not in self._there:
            self._put(f"pictures/{name}", data)

    def finish(self, title: str) -> str:
        for name in ("report.js", "report.css"):
            self._put(name, (_BUILT / name).read_bytes())
        head = '<link rel="stylesheet" href="report.css"><script defer src="report.js"></script>'
        self._put("index.html", _page(title, _POLICY.format("'self'", "'self'", "'self'"), head, ""))
        for key in self._before - self._there:
            if _OURS.fullmatch(key):
                self._store.delete(f"{self._prefix}{key}")
        return f"{self._store.address}/{self._prefix}index.html"

    def _put(self, key: str, data: bytes) -> None:
        overwrite(self._store, f"{self._prefix}{key}", data)
        self._there.add(key)
        self._size_bytes += len(data)


class SingleFile:
    """All of it in `report.html`, held in memory until it is finished."""

    def __init__(self, store: Store, folder: str = "") -> None:
        self._store = store
        self._key = f"{folder}/report.html" if folder else "report.html"
        self._blocks: dict[str, str] = {}

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self._blocks.values()))

    def put(self, key: str, value: Any) -> None:
        self._blocks[f"data-{key}"] = as_script(value)

    def picture(self, name: str, data: bytes) -> None:
        self._blocks[f"picture-{name}"] = base64.b64encode(data).decode("ascii")

    def finish(self, title: str) -> str:
        code, style = ((_BUILT / name).read_text(encoding="utf-8") for name in ("report.js", "report.css"))
        policy = _POLICY.format(_hash(code), _hash(style), "data:")
        blocks = "\n".join(
            f'<script type="application/json" id="{name}">{text}</script>' for name, text in self._blocks.items()
        )
        page = _page(title, policy, f"<style>{style}</style>", f"{blocks}\n<script>{code}</script>")
        overwrite(self._store, self._key, page)
        return f"{self._store.address}/{self._key}"


def as_script(value: Any) -> str:
    """JSON that stands in a script, of a file or within a page: nothing in it ends one."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _page(title: str, policy: str, head: str, body: str) -> bytes:
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" '
        f'content="light dark">\n<title>{html.escape(title)}</title>\n{head}\n</head>\n<body>\n'
        '<div id="app"><noscript>This report needs JavaScript; all it loads is beside it.</noscript></div>\n'
        f"{body}\n</body>\n</html>\n"
    )
    return text.encode("utf-8", "replace")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
