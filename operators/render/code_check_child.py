"""The process that tries code out: one page, drawing, diagram or program after another.

It is shut off before it hears the first order, and not trusted: operators/render/code_checker.py checks what it says.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from operators.processes.channel import Channel
from operators.processes.startup import parent_channel
from operators.render.isolation import seclude
from operators.render.read_code import ParsedReply, read_drawio, read_python, read_svg
from operators.render.render_page import Renderer, Shown, missing


def main() -> None:
    channel = parent_channel()
    isolation = seclude(Path(os.environ["TMPDIR"]))
    if isolation == "namespaces":
        # the init of a PID namespace is sent no signal that it does not handle
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    renderer: Renderer | None = None
    while (order := channel.recv()) is not None:
        code = order.payloads[0].decode("utf-8", "replace")
        match order.head["kind"]:
            case "python":
                _tell_reading(channel, read_python(code))
            case "drawio":
                _tell_reading(channel, read_drawio(code))
            case "svg" if (found := read_svg(code)).message is not None:
                _tell_reading(channel, found)
            case _ if (reason := missing()) is not None:
                channel.send({"outcome": "no_browser", "message": reason})
            case kind:
                renderer = renderer or Renderer()
                show = renderer.show_svg if kind == "svg" else renderer.show
                _tell_shown(
                    channel, show(code, *(order.head[key] for key in ("width_px", "height_px", "load_s"))), isolation
                )
    if renderer is not None:
        renderer.close()


def _tell_reading(channel: Channel, found: ParsedReply) -> None:
    channel.send(
        {
            "outcome": "read" if found.message is None else "unreadable",
            "message": found.message,
            "imports": list(found.imports),
            "unresolved": list(found.unresolved),
        }
    )


def _tell_shown(channel: Channel, shown: Shown, isolation: str) -> None:
    said: dict[str, Any] = {
        "outcome": shown.fault or "shown",
        "message": shown.message,
        "isolation": isolation,
        "errors": shown.errors,
        "refused": shown.refused,
    }
    if shown.picture is None or shown.fault is not None:
        channel.send(said)
        return
    said["height_px"], said["width_px"], _ = shown.picture.shape
    channel.send(said, [shown.picture.tobytes()])


if __name__ == "__main__":
    main()
