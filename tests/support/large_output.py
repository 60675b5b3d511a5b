"""A large output without a run: pages that parse_document read, in slices; and what reading it takes of memory at most:
a program of its own, since a peak is that of a process's life.

python -m tests.support.large_output COMMAND OUTPUT SMALL        what it adds to the peak of a small output, in MB
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.commands import markdown, overlay, show
from operators.store import sealed
from operators.store.part_log import PartLog
from operators.store.results import Results
from operators.store.store import Store
from operators.store.view import key_of
from pipelines.folder import JobFolder
from pipelines.rounds import Round
from pipelines.summary.audit import PLANNED, audit_slice
from pipelines.tasks.parse_document import TASK
from tests.support.result_rows import chunk_id, rows

CHUNK = 32
_TEXTS = 997
"""That differ from each other."""
_SPEC: dict[str, Any] = {
    "name": "large", "inputs": ["/in"], "tasks": [TASK.name], "output": "out",
    "engine": {"kind": "scripted", "recording": "x"},
}  # fmt: skip


def write(store: Store, inputs: int, *, of_slice: int, characters: int = 3000, log: bool = False) -> None:
    """A page an input, one in a hundred of them failed. characters: of a page. log: as parts too."""
    rng = random.Random(5)
    texts = ["".join(rng.choices("abcdefghij klmnop\n", k=characters)) for _ in range(min(_TEXTS, inputs))]
    folder = JobFolder(store)
    folder.claim()
    definition = {TASK.name: {"decode": {"line_reader": None}}}
    folder.add_round(Round(0, "first", (), definition, "2026-01-01T00:00:00+00:00", "somebody", _SPEC))
    for slice_, first in enumerate(range(0, inputs, of_slice)):
        parts = {}
        for start in range(first, min(first + of_slice, inputs), CHUNK):
            chunk = chunk_of(slice_, start)
            numbers = range(start, min(start + CHUNK, first + of_slice, inputs))
            plain = [_row(number, texts[number % len(texts)]) for number in numbers]
            parts[chunk] = rows(chunk, plain, TASK.output.arrow_type)
            if log:
                PartLog(store).write(TASK.name, chunk, parts[chunk])
        table, held = pa.concat_tables(parts.values()), dict.fromkeys(sorted(parts), 0)
        footer = {"task": TASK.name, "slice": slice_, "rows": table.num_rows, "chunks": held, "pruned": {}}
        assert store.put_if_absent(key_of(TASK.name, slice_), sealed.sealed(table, footer))


def chunk_of(slice_: int, start: int) -> str:
    return chunk_id(slice_, 0, start)


def _row(number: int, text: str) -> dict[str, Any]:
    row = {
        "input_id": f"{number:016x}", "input_uri": f"/in/{number:07}.png", "unit_index": 0, "unit_count": 1,
        "unit_kind": "image", "media": "image", "width_px": 800, "height_px": 900,
    }  # fmt: skip
    if number % 100 == 7:
        error = {"stage": "infer", "kind": "engine_error", "message": "a scripted error", "attempts": 1}
        return row | {"status": "engine_failed", "error": error, "result": None}
    block = {"type": "paragraph", "text": text, "markdown": text, "bbox_px": [1.0, 2.0, 3.0, 4.0]}
    return row | {
        "text": f"<p>{text}</p>",
        "finish_reason": "stop",
        "result": {"blocks": [block], "markdown": text},
        "verified": {"ok": True, "faults": []},
    }


def _show(output: str) -> None:
    show.show_rows(output, rows=20)


def _markdown(output: str) -> None:
    """Documents are put nowhere, or the figure would be that of a disk."""
    markdown.overwrite = lambda *_: None  # type: ignore[assignment]
    assert sum(1 for _ in markdown.write_documents(output))


def _overlay(output: str) -> None:
    """Of what has no boxes that are drawn, so that all of it is read."""
    overlay.marks_in = lambda _: iter(())
    with contextlib.suppress(overlay.SpecError):
        list(overlay.write_overlays(output, task=None, rows=5))


def _rows(output: str) -> None:
    for _ in Results.at(output).rows(TASK.name):
        pass


def _audit(output: str) -> None:
    results = Results.at(output)
    for slice_ in results.slices(TASK.name):
        assert audit_slice(results, TASK.name, slice_, [PLANNED.empty_table()]).rows


COMMANDS: dict[str, Callable[[str], None]] = {
    "show": _show, "markdown": _markdown, "overlay": _overlay, "rows": _rows, "audit": _audit,
}  # fmt: skip


def main() -> None:
    command, output, small = COMMANDS[sys.argv[1]], sys.argv[2], sys.argv[3]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        command(small)  # what a first time imports
        before_mb = _peak_mb()
        command(output)
    print(_peak_mb() - before_mb)


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
