"""`sightread overlay OUTPUT`: draw boxes and points of a job's results into its pictures.

The inputs are decoded once more.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from jobs.arguments import count
from model.prompts.rgb import unpack
from operators.media.opened import media_of, pictures
from operators.media.sandbox import Sandbox
from operators.overlay import Mark, draw, marks_in
from schemas.decode import DecodeSettings
from schemas.errors import SpecError
from schemas.request import Picture
from schemas.unit import Locator

_QUERY = """
select * replace (to_json(result) as result) from read_parquet($parts, hive_partitioning = false, union_by_name = true)
where status = 'ok' and width_px > 0 order by input_uri, unit_index, request_index
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, help="the folder of a job's output")
    parser.add_argument("--task", help="of this task alone")
    parser.add_argument("--rows", type=count, default=100, metavar="N", help="of each task at most")


def run(options: argparse.Namespace) -> int:
    """1 when a unit could not be decoded any more."""
    failed = False
    for written in write_overlays(options.output, task=options.task, rows=options.rows):
        failed |= isinstance(written, str)
        print(written)
    return 1 if failed else 0


def write_overlays(output: Path, *, task: str | None, rows: int) -> Iterator[Path | str]:
    """Writes <output>/overlay/<task>/<name>-<input_id>-<unit>[-<request>][-frame<n>].png and yields the paths, or a
    sentence for a unit that cannot be decoded any more. task: None for all that say of places; rows: of each task.

    Raises SpecError when there is nothing to draw.
    """
    folders = [
        folder
        for folder in sorted((output / "results").glob("task=*"))
        if task in (None, folder.name.removeprefix("task=")) and any(folder.glob("part-*.parquet"))
    ]
    sandbox = Sandbox(_settings(output))
    drawn = 0
    try:
        for folder in folders:
            for row, marks in _marked(folder, rows):
                drawn += 1
                place = output / "overlay" / folder.name.removeprefix("task=")
                yield from _draw(sandbox, place, row, marks)
    finally:
        sandbox.close()
    if not drawn:
        of = f"the task {task}" if task else "any task"
        raise SpecError(f"{output} holds no boxes or points of {of}")


def _marked(folder: Path, rows: int) -> Iterator[tuple[dict[str, Any], list[Mark]]]:
    """The first rows that say of places, each with its marks."""
    with duckdb.connect() as db:
        found = db.execute(_QUERY, {"parts": str(folder / "part-*.parquet")})
        names = [column[0] for column in found.description or ()]
        while rows and (values := found.fetchone()) is not None:
            row = dict(zip(names, values, strict=True))
            marks = list(marks_in(json.loads(row["result"])))
            if marks and media_of(row) is not None:
                rows -= 1
                yield row, marks


def _draw(sandbox: Sandbox, place: Path, row: dict[str, Any], marks: list[Mark]) -> Iterator[Path | str]:
    media = media_of(row)
    assert media is not None
    (batch,) = sandbox.decode(row["input_uri"], media, [Locator.of(row)])
    unit = {name: batch.column(name)[0] for name in batch.schema.names}
    if unit["error"].is_valid:
        yield f"{row['input_uri']}: {unit['error'].as_py()['message']}"
        return
    frames: tuple[Picture, ...] = pictures(unit["pictures"])
    by_frame: dict[int, list[Mark]] = defaultdict(list)
    for mark in marks:
        by_frame[mark.frame].append(mark)
    # a name from elsewhere: nothing in it may lead out of the folder or steer a terminal
    stem = re.sub(r"[^\w.-]+", "_", Path(row["input_uri"]).stem)[:80]
    name = f"{stem}-{row['input_id']}-{row['unit_index']}" + (
        f"-{row['request_index']}" if row["request_index"] else ""
    )
    place.mkdir(parents=True, exist_ok=True)
    for index, own in sorted(by_frame.items()):
        if index < len(frames):
            path = place / (f"{name}.png" if len(frames) == 1 else f"{name}-frame{index}.png")
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            draw(unpack(frames[index]), own, row["width_px"], row["height_px"]).save(temporary, "PNG")
            temporary.replace(path)
            yield path


def _settings(output: Path) -> DecodeSettings:
    """As the job decoded, so that a clip has the same frames."""
    try:
        identity = json.loads((output / "_job" / "identity.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{output} holds no job: {error}") from error
    return DecodeSettings(**{**identity["decode"], "line_reader": None})
