"""Probe and decode every input of a folder as a job does, and print a line of JSON for each. A program of its own, so
that a test can trace it: python -m tests.support.decode_all FOLDER BACKEND..."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from model.prompts.rgb import unpack
from operators.media.opened import pictures
from operators.media.sandbox import Sandbox
from schemas.decode import DecodeSettings
from schemas.unit import Locator

SETTINGS: dict[str, Any] = {"image_max_px": 64 * 64, "video_max_px": 8 * 64 * 64, "timeout_s": 60}


def main() -> None:
    """The first backend probes: what the others do is decode."""
    folder, *backends = sys.argv[1:]
    sandboxes = {backend: Sandbox(DecodeSettings(**SETTINGS, video_backend=backend)) for backend in backends}
    for path in sorted(Path(folder).iterdir()):
        answer = sandboxes[backends[0]].probe(str(path), None)  # as a job does: the first bytes decide
        for backend in backends if answer["media"] == "video" else backends[:1]:
            line = {"path": str(path), "backend": backend, "rows": decoded(sandboxes[backend], path, answer)}
            print(json.dumps(line))
    for sandbox in sandboxes.values():
        sandbox.close()


def rows(sandbox: Sandbox, path: Path, media: str | None) -> list[list[Any]]:
    return decoded(sandbox, path, sandbox.probe(str(path), media))


def decoded(sandbox: Sandbox, path: Path, answer: dict[str, Any]) -> list[list[Any]]:
    """[kind of failure, message] or ["ok", the mean color of its pictures] for each unit."""
    if answer.get("error"):
        return [[answer["error"]["kind"], answer["error"]["message"]]]
    units = answer["units"]
    locators = [
        Locator(**{name: unit[name] for name in ("page", "start_s", "end_s")}) for unit in units if not unit["error"]
    ]
    failures = [[unit["error"]["kind"], unit["error"]["message"]] for unit in units if unit["error"]]
    return failures + [_row(batch) for batch in sandbox.decode(str(path), answer["media"], locators)]


def _row(batch: Any) -> list[Any]:
    if batch.column("error")[0].is_valid:
        error = batch.column("error")[0].as_py()
        return [error["kind"], error["message"]]
    frames = [unpack(picture) for picture in pictures(batch.column("pictures")[0])]
    return ["ok", np.mean([frame.reshape(-1, 3).mean(axis=0) for frame in frames], axis=0).round().tolist()]


if __name__ == "__main__":
    main()
