"""A reader of `sightread bench decode` in a process of its own: `python -m jobs.bench.decode_worker` MODULE:CLASS.
Takes its orders as lines of JSON on stdin and answers with one each, on what was stdout; what libraries print goes to
stderr.

First it says {version}, or {missing}: why its library is not there. Then, for each order, {wanted, is_checked,
numbered}: {wall_s, cpu_s, count, sizes} and, where it is checked, {marks, times_s}; or {error}. CPU is of the process,
of all its threads, and of its children.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

from jobs.bench.decode_readers import Picture, Shown, Wanted
from jobs.bench.frame_number import read_number

THUMB_PX = 32


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    try:
        reader = getattr(importlib.import_module(module), name)()
    except (ImportError, RuntimeError, OSError) as error:  # torchcodec's, where FFmpeg or its torch is missing
        _send(answers, {"missing": _first_line(error)})
        return
    _send(answers, {"version": reader.version})
    for line in sys.stdin:
        order = json.loads(line)
        wanted = Wanted(**{**order["wanted"], "sizes": [tuple(size) for size in order["wanted"]["sizes"]]})
        _send(answers, _measured(reader, wanted, order))


def _measured(reader: Any, wanted: Wanted, order: dict[str, Any]) -> dict[str, Any]:
    started, used_s = time.perf_counter(), cpu_s()
    try:
        shown: Shown = reader.read(wanted)
    except Exception as error:  # noqa: BLE001  this order's boundary: whatever a library raises
        return {"error": _first_line(error)}
    wall_s, used_s = time.perf_counter() - started, cpu_s() - used_s
    figures: dict[str, Any] = {"wall_s": wall_s, "cpu_s": used_s, "count": len(shown)}
    figures["sizes"] = sorted({(picture.shape[1], picture.shape[0]) for picture, _ in shown})
    if order["is_checked"]:
        marks = [read_number(picture) if order["numbered"] else thumb(picture) for picture, _ in shown]
        figures |= {"marks": marks, "times_s": [float(time_s) for _, time_s in shown]}
    return figures


def thumb(picture: Picture) -> list[int]:
    """What a picture without a number is known by: THUMB_PX squared means of gray, by rows."""
    gray = picture.mean(axis=2)
    rows, columns = (np.linspace(0, side, THUMB_PX, endpoint=False).astype(int) for side in gray.shape)
    sums = np.add.reduceat(np.add.reduceat(gray, rows, axis=0), columns, axis=1)
    areas = np.outer(*(np.diff([*starts, side]) for starts, side in zip((rows, columns), gray.shape, strict=True)))
    means: list[int] = np.rint(sums / areas).astype(int).ravel().tolist()
    return means


def cpu_s() -> float:
    """Of this process, of what it has waited for, and of the children that live."""
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited.ru_utime + waited.ru_stime + sum(map(_clock_s, _children()))


def _children() -> list[int]:
    """Those that this process has started itself."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid():
            children.append(int(folder.name))
    return children


def _clock_s(pid: int) -> float:
    """Its CPU clock (clock_getcpuclockid(3)); 0 once it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]


def _send(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
