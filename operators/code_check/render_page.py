"""Show a page in headless Chromium, through Playwright: what is seen, and what the page tried. The one room of
Playwright; runs in a child (operators/code_check/code_check_child.py) whose time and memory are bounded from outside.

The browser is Debian's package, never one that Playwright downloads. Each page gets a browser of its own with an
empty profile, so nothing is carried from one to the next. The page is the only thing there is: it is served to the
browser by us, and every request that it makes is refused, whatever it is for. Beside that the browser is offline,
resolves no names, and is told of a proxy that does not exist, for what no handler sees (prefetch, WebRTC, DNS).
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from model.prompts.rgb import RGB
from operators.code_check.code_check_wire import LONGEST_TEXT, MAX_HEIGHT_PX
from operators.code_check.isolation import NOBODY, may_nest, unprivileged

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Dialog, Page, Playwright, Route, WebSocketRoute

BROWSERS = ("chromium", "chromium-browser")
ADDRESS = "http://page.invalid/"
"""Where the page believes to be: a name that can never be one (RFC 6761), and no file."""
START_S = 90.0
"""How long a browser may take to start."""
SETTLE_S = 0.3
"""What scripts and transitions get after the page has loaded."""
MOST_LISTED = 20
_LONGEST = 300
_LOCAL = "Not allowed to load local resource:"
_FAILED = "Failed to load resource:"  # Chromium's own words for what we refused
_DATA_MB = 2048
_FILE_MB = 64

_ARGUMENTS = (
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=http://0.0.0.0:9",
    "--proxy-bypass-list=<-loopback>",
    "--dns-prefetch-disable",
    "--no-pings",
    "--disable-crash-reporter",
    "--disable-file-system",
    "--disable-databases",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-features=Prerender2,SpeculationRules,NetworkPrediction,WebRtcHideLocalIpsWithMdns,DialMediaRouteProvider",
)


@dataclass
class Shown:
    """picture: the page from its top; None when fault and message say why not, as in schemas.tables.CODE_CHECK.
    text: what is printed on it, in the document's order. errors: of its console and scripts. refused: what it asked for
    and did not get, as `kind address`."""

    picture: RGB | None = None
    text: str | None = None
    errors: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    fault: str | None = None
    message: str | None = None


def browser() -> str | None:
    """Where Chromium is; None where it is not."""
    return next((path for name in BROWSERS if (path := shutil.which(name)) is not None), None)


def missing() -> str | None:
    """Why no page can be shown on this machine, and the fix; None where it can."""
    if browser() is None:
        return "Chromium is not installed: apt-get install chromium"
    if find_spec("playwright") is None:
        return "Playwright is not installed: pip install -e '.[render]'"
    return None


class Renderer:
    """A driver that starts a browser for each page; only where nothing is `missing`. For one thread."""

    def __init__(self) -> None:
        executable = browser()
        assert executable is not None
        self._folder = Path(tempfile.mkdtemp(prefix="b"))
        self._folder.chmod(0o711)
        os.environ["TMPDIR"] = str(self._folder)  # where the driver puts profiles
        self._home = self._folder / "h"
        self._home.mkdir()
        self._drop = unprivileged()
        if self._drop:
            os.chown(self._home, NOBODY, NOBODY)
        self._nests = may_nest()
        self._executable = _launcher(self._folder, self._drop, executable)
        # of every process below; Chromium reserves address space without end, but what it writes to counts here
        resource.setrlimit(resource.RLIMIT_DATA, (_DATA_MB << 20, _DATA_MB << 20))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_MB << 20, _FILE_MB << 20))
        from playwright.sync_api import sync_playwright

        self._manager = sync_playwright()
        self._playwright: Playwright = self._manager.start()

    def close(self) -> None:
        self._manager.__exit__()
        shutil.rmtree(self._folder, ignore_errors=True)

    def show(self, page: str, width_px: int, height_px: int, load_s: float) -> Shown:
        """A page's HTML in a window of that size. load_s: how long it may take to load, and then a picture of it to be
        taken. Total, but for a browser that takes this process along."""
        shown = Shown()
        try:
            with self._context(width_px, height_px) as context:
                context.set_default_timeout(load_s * 1000)
                _show(context, page.encode("utf-8", "replace"), width_px, shown)
        except Exception as error:  # noqa: BLE001  the page's boundary: the browser may do anything
            late = type(error).__name__ == "TimeoutError"
            shown.fault = shown.fault or ("timeout" if late else "crashed")
            shown.message = _first_line(error)
        return shown

    def show_svg(self, svg: str, width_px: int, height_px: int, load_s: float) -> Shown:
        """A drawing as a picture of a page, which runs no scripts and loads nothing; scaled to the window's width."""
        data = base64.b64encode(svg.encode("utf-8", "replace")).decode("ascii")
        page = (
            "<!DOCTYPE html><style>body{margin:0}img{display:block;width:100%}</style>"
            f'<img src="data:image/svg+xml;base64,{data}">'
        )
        return self.show(page, width_px, height_px, load_s)

    @contextlib.contextmanager
    def _context(self, width_px: int, height_px: int) -> Iterator[BrowserContext]:
        home = str(self._home)
        started = self._playwright.chromium.launch(
            executable_path=self._executable,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"},
            chromium_sandbox=self._nests,
            args=list(_ARGUMENTS),
            timeout=START_S * 1000,
        )
        try:
            yield started.new_context(
                viewport={"width": width_px, "height": height_px},
                offline=True,
                accept_downloads=False,
                service_workers="block",
                reduced_motion="reduce",
            )
        finally:
            started.close()


def _launcher(folder: Path, drop: list[str], executable: str) -> str:
    """The browser itself, or for a root a script that hands the new profile and all rights over to nobody."""
    if not drop:
        return executable
    script = folder / "browser"
    script.write_text(
        "#!/bin/sh\n"
        f'for word; do case $word in --user-data-dir=*) chown -R {NOBODY}:{NOBODY} "${{word#*=}}";; esac; done\n'
        f'exec {" ".join(drop)} {executable} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def _show(context: BrowserContext, body: bytes, width_px: int, shown: Shown) -> None:
    def refuse(what: str) -> None:
        if len(shown.refused) < MOST_LISTED and (what := what[:_LONGEST]) not in shown.refused:
            shown.refused.append(what)

    def complain(what: str) -> None:
        if what.startswith(_LOCAL):
            refuse(f"file {what.removeprefix(_LOCAL).strip()}")
        elif not what.startswith(_FAILED) and len(shown.errors) < MOST_LISTED and what[:_LONGEST] not in shown.errors:
            shown.errors.append(what[:_LONGEST])

    served = False

    def answer(route: Route) -> None:
        nonlocal served
        request = route.request
        if not served and request.url == ADDRESS:
            served = True
            route.fulfill(body=body, content_type="text/html; charset=utf-8")
            return
        refuse(f"{request.resource_type} {request.url}")
        route.abort("blockedbyclient")

    def hang_up(socket: WebSocketRoute) -> None:
        refuse(f"websocket {socket.url}")
        socket.close()

    def dismiss(dialog: Dialog) -> None:
        refuse(f"dialog {dialog.type}")
        dialog.dismiss()

    def forbid(other: Page) -> None:
        refuse("window")
        other.close()

    context.route("**/*", answer)
    context.route_web_socket("**/*", hang_up)
    page = context.new_page()
    context.on("page", forbid)
    page.on("crash", lambda _: setattr(shown, "fault", "crashed"))
    page.on("dialog", dismiss)
    page.on("download", lambda download: refuse(f"download {download.url}"))
    page.on("console", lambda line: complain(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complain(str(error)))
    page.goto(ADDRESS, wait_until="load")
    page.wait_for_timeout(SETTLE_S * 1000)
    page.wait_for_function("true", polling=50)  # in time, or not at all: what follows knows no time-outs
    shown.picture = _picture(context, page, width_px)
    shown.text = _text(context, page)


def _picture(context: BrowserContext, page: Page, width_px: int) -> RGB:
    """The whole page, up to a height. The size is asked of the browser: the page's scripts could lie about it."""
    size: dict[str, Any] = context.new_cdp_session(page).send("Page.getLayoutMetrics")["cssContentSize"]
    height_px = max(1, min(MAX_HEIGHT_PX, int(size["height"])))
    png = page.screenshot(
        full_page=True,
        clip={"x": 0, "y": 0, "width": width_px, "height": height_px},
        animations="disabled",
        caret="hide",
    )
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        return np.asarray(picture.convert("RGB"))


def _text(context: BrowserContext, page: Page) -> str:
    """Of what is laid out. It is asked of the browser: the page's scripts could lie about it."""
    snapshot: dict[str, Any] = context.new_cdp_session(page).send("DOMSnapshot.captureSnapshot", {"computedStyles": []})
    strings = snapshot["strings"]
    printed = (strings[text] for document in snapshot["documents"] for text in document["layout"]["text"] if text >= 0)
    return "\n".join(printed)[:LONGEST_TEXT]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:_LONGEST]
