"""A page from the disk in headless Chromium, as a person opens it: what stands in it, and what it did."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from operators.code_check.render_page import browser, missing
from schemas.checkout import ROOT

AXE = ROOT / "jobs" / "report" / "page" / "node_modules" / "axe-core" / "axe.min.js"
"""Where scripts/report-page has been run."""
needs_browser = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@dataclass
class Viewer:
    """page: Playwright's. complaints: of its console and scripts. requests: of what is not a file beside it."""

    page: Any
    folder: Path
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, fragment: str = "", name: str = "index.html") -> None:
        self.page.goto(f"{(self.folder / name).as_uri()}{fragment}")
        self.page.wait_for_selector("main")
        self.settle()

    def go(self, fragment: str) -> None:
        self.page.evaluate("fragment => { location.hash = fragment }", fragment)
        self.settle()

    def settle(self) -> None:
        """Until all that was asked for is there."""
        self.page.wait_for_function("() => !document.querySelector('.loading')")
        images = "[...document.images].filter(image => image.loading !== 'lazy')"  # others may be out of sight
        self.page.wait_for_function(f"() => {images}.every(image => image.complete)")
        self.page.wait_for_timeout(150)

    def requested(self, address: str) -> None:
        if not address.startswith((self.folder.as_uri(), "data:")):
            self.requests.append(address)

    def text(self, selector: str = "main") -> str:
        return str(self.page.locator(selector).inner_text())


@contextmanager
def viewed(folder: Path, width_px: int = 1280, height_px: int = 800, scheme: str = "light") -> Iterator[Viewer]:
    """folder: of a page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as manager:
        chromium = manager.chromium.launch(executable_path=browser(), args=["--no-sandbox", "--disable-gpu"])
        try:
            page = chromium.new_page(
                viewport={"width": width_px, "height": height_px}, color_scheme=scheme, reduced_motion="reduce"
            )
            viewer = Viewer(page, folder)
            page.on("console", lambda message: viewer.complaints.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: viewer.complaints.append(f"error: {error}"))
            page.on("dialog", lambda dialog: (viewer.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page.on("request", lambda request: viewer.requested(request.url))
            page.set_default_timeout(60_000)
            yield viewer
        finally:
            chromium.close()


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """An address of this machine, and what was said to it: an entry for each connection."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed
                    return
                with connection:
                    connection.settimeout(0.3)
                    try:
                        heard.append(connection.recv(1024))
                    except TimeoutError:
                        heard.append(b"")

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
        time.sleep(0.5)  # for what is on its way
        server.shutdown(socket.SHUT_RDWR)
        listener.join()
