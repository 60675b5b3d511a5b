"""Try out the code that committed rows hold, and say in `verified` what came of it. Knows nothing of Ray or engines.

A code_check takes seconds, and no engine should wait for one: so it is made over parts that are in their place, and the
part is swapped for one with the same units (operators/commit.py). A part that was tried is not pending again; what a
kill interrupts is a part that is still pending. What was seen lies beside the rows as PNG:

    <output>/screenshots/task=<task>/<input_id>-<unit_index>-<request_index>.png
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from model.prompts.rgb import RGB, unpack
from operators.commit import part_path, replace_part
from operators.media.blank import is_blank
from operators.media.opened import media_of, pictures
from operators.media.sandbox import Sandbox
from operators.render.code_checker import CodeChecker, Made
from operators.render.render_page import missing
from operators.render.visual_similarity import compare
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import JobConflict
from schemas.task import CodeKind, Task
from schemas.unit import Locator

_WIDTHS_PX = (320, 1920)
_HEIGHTS_PX = (240, 2160)
"""Least and most of a window. It is as wide as the input, so that a page is laid out as its original was."""
_LARGEST_PX = 8_000_000


class CodeCheck:
    """CODE_UNCHECKED in, CODE_CHECKED out. tasks: of the job, those with a code_check. decode: how its inputs are
    opened.

    Total: what cannot be read or written leaves the part as it is, and is told.
    """

    def __init__(self, output: Path, tasks: tuple[Task, ...], decode: DecodeSettings) -> None:
        self._output = output
        self._tasks = {task.name: task for task in tasks}
        self._checker = CodeChecker()
        # as it is, not as the model sees it; of a clip the first frame, which shows a page as it opens
        seen = replace(decode, line_reader=None, token_side_px=1, image_min_px=1, video_min_px=1, video_fps=1e-3)
        self._sandbox = Sandbox(replace(seen, image_max_px=_LARGEST_PX, video_max_px=_LARGEST_PX))

    def __call__(self, parts: pa.Table) -> pa.Table:
        told = []
        for part in parts.to_pylist():
            try:
                outcomes = self._part(self._tasks[part["task"]], part["chunk_id"])
                told.append({**part, "rows": len(outcomes), "outcomes": outcomes, "message": None})
            except (OSError, JobConflict, pa.ArrowException) as error:
                told.append({**part, "rows": 0, "outcomes": [], "message": f"{error}"})
        return pa.Table.from_pylist(told, schema=tables.CODE_CHECKED)

    def close(self) -> None:
        self._checker.close()
        self._sandbox.close()

    def _part(self, task: Task, chunk_id: str) -> list[str]:
        """The outcome of every code_check that was made."""
        table = pq.read_table(part_path(self._output, task.name, chunk_id), partitioning=None)
        rows = table.to_pylist()
        outcomes = []
        for row in filter(is_pending, rows):
            code_check, faults = self._check(task, row)
            kept = [fault for fault in row["verified"]["faults"] if fault not in faults]
            row["verified"] |= {"ok": not (kept or faults), "faults": [*kept, *faults], "code_check": code_check}
            outcomes.append(code_check["outcome"])
        if outcomes:
            schema = tables.results_schema(task.output.arrow_type, tables.passthrough_fields(table.schema))
            replace_part(self._output, task.name, chunk_id, pa.Table.from_pylist(rows, schema=schema))
        return outcomes

    def _check(self, task: Task, row: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """A value of tables.CODE_CHECK, and the faults that follow from it."""
        assert task.code_check is not None
        given = self._given(row) if task.code_check in ("html", "svg") else None
        made = self._checker.make(task.code_check, row["result"]["code"], *_window(given, row))
        code_check = dict.fromkeys(field.name for field in tables.CODE_CHECK) | made.said
        if made.picture is not None:
            code_check["screenshot"] = self._store(task.name, row, made.picture)
            try:
                code_check |= asdict(compare(given, made.picture)) if given is not None else {}
            except Exception as error:  # noqa: BLE001  the row's boundary: two pictures may be anything
                code_check["message"] = f"not compared with the input: {error!r}"[:300]
        return code_check, faults_of(task.code_check, made, shows_something=given is not None and not is_blank(given))

    def _given(self, row: dict[str, Any]) -> RGB | None:
        """The picture that the code was made from; None where it cannot be had any more."""
        if (media := media_of(row)) is None:
            return None
        (batch,) = self._sandbox.decode(row["input_uri"], media, [Locator.of(row)])
        if batch.column("error")[0].is_valid:
            return None
        return unpack(pictures(batch.column("pictures")[0])[0])

    def _store(self, task: str, row: dict[str, Any], picture: RGB) -> str:
        name = f"{row['input_id']}-{row['unit_index']}-{row['request_index']}.png"
        place = Path("screenshots") / f"task={task}" / name
        final = self._output / place
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_suffix(f".{os.getpid()}.tmp")
        try:
            Image.fromarray(picture).save(temporary, format="PNG")
            temporary.replace(final)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        return str(place)


def is_pending(row: dict[str, Any]) -> bool:
    """row: of a result, its status and verified. A code_check that found no browser is pending again once there is
    one."""
    if row["status"] != "ok":
        return False
    code_check = row["verified"].get("code_check")  # parts of older versions have no such field
    return code_check is None or (code_check["outcome"] == "no_browser" and missing() is None)


def pending_code_checks(output: Path, tasks: tuple[Task, ...]) -> Iterator[dict[str, str]]:
    """Rows of CODE_UNCHECKED: the committed parts with rows whose code is to be tried out."""
    for task in tasks:
        if task.code_check is not None:
            for path in sorted((output / "results" / f"task={task.name}").glob("part-*.parquet")):
                rows = pq.read_table(path, columns=["status", "verified"], partitioning=None).to_pylist()
                if any(map(is_pending, rows)):
                    chunk_id = path.name.removeprefix("part-").removesuffix(".parquet")
                    yield {"chunk_id": chunk_id, "task": task.name}


def faults_of(kind: CodeKind, made: Made, *, shows_something: bool) -> list[str]:
    """Of schemas.task.FAULTS."""
    said = made.said
    died = said["outcome"] in ("timeout", "out_of_memory", "crashed")
    faults = {
        "unresolved_id": bool(said.get("unresolved")),
        "not_shown": died and kind in ("html", "svg"),
        # Python's or the XML parser gave up
        "not_well_formed": said["outcome"] == "unreadable" or (died and kind in ("drawio", "python")),
        "shows_nothing": shows_something and made.picture is not None and is_blank(made.picture),
        "script_errors": bool(said.get("errors")),
        "reaches_out": bool(said.get("refused")),
    }
    return [fault for fault, found in faults.items() if found]


def _window(given: RGB | None, row: dict[str, Any]) -> tuple[int, int]:
    """(width, height) of the browser's window in pixels."""
    height, width = given.shape[:2] if given is not None else (row["height_px"] or 720, row["width_px"] or 1280)
    shown = min(max(width, _WIDTHS_PX[0]), _WIDTHS_PX[1])
    return shown, min(max(round(height * shown / width), _HEIGHTS_PX[0]), _HEIGHTS_PX[1])
