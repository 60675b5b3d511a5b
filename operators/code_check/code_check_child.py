"""The process that checks code: one page, drawing, diagram or program after another.

It is isolated before it receives the first order, and not trusted: operators/code_check/code_checker.py checks what it
sends. Knows nothing of rows.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from operators.code_check.code_check_wire import listed
from operators.code_check.isolation import isolate
from operators.code_check.read_code import ReadCode, read_drawio, read_python, read_svg
from operators.code_check.render_page import Renderer, Shown, missing
from operators.processes.channel import Channel
from operators.processes.startup import parent_channel


def main() -> None:
    channel = parent_channel()
    isolation = isolate(Path(os.environ["TMPDIR"]))
    if isolation == "namespaces":
        # the init of a PID namespace is sent no signal that it does not handle
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    renderer: Renderer | None = None
    while (order := channel.recv()) is not None:
        code = bytes(order.payloads[0]).decode("utf-8", "replace")
        match order.head["kind"]:
            case "python":
                _send_read(channel, read_python(code))
            case "drawio":
                _send_read(channel, read_drawio(code))
            case "svg" if (parsed := read_svg(code)).message is not None:
                _send_read(channel, parsed)
            case _ if (reason := missing()) is not None:
                channel.send({"outcome": "no_browser", "message": reason})
            case kind:
                renderer = renderer or Renderer()
                show = renderer.show_svg if kind == "svg" else renderer.show
                shown = show(code, *(order.head[key] for key in ("width_px", "height_px", "load_s")))
                # a picture within a page has no text of its own there
                shown.text = read_svg(code).text if kind == "svg" else shown.text
                _send_shown(channel, shown, isolation)
    if renderer is not None:
        renderer.close()


def _send_read(channel: Channel, parsed: ReadCode) -> None:
    channel.send(
        {
            "outcome": "read" if parsed.message is None else "unreadable",
            "message": parsed.message,
            "imports": listed(parsed.imports),
            "unresolved": listed(parsed.unresolved),
        }
    )


def _send_shown(channel: Channel, shown: Shown, isolation: str) -> None:
    columns: dict[str, Any] = {
        "outcome": shown.fault or "shown",
        "message": shown.message,
        "isolation": isolation,
        "errors": listed(shown.errors),
        "refused": listed(shown.refused),
    }
    if shown.picture is None or shown.fault is not None:
        channel.send(columns)
        return
    columns["text"] = shown.text
    columns["height_px"], columns["width_px"], _ = shown.picture.shape
    channel.send(columns, [shown.picture.tobytes()])


if __name__ == "__main__":
    main()
