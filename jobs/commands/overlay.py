"""`sightread overlay OUTPUT`: draw boxes and points of a job's results into its pictures.

The inputs are decoded once more.
"""

from __future__ import annotations

import argparse
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.arguments import count
from jobs.echo import echo
from jobs.load import stored_decoding
from model.prompts.rgb import unpack
from operators.media.opened import full_res_of, media_of, pictures
from operators.media.sandbox import Sandbox
from operators.overlay import Mark, draw, marks_in
from operators.store.addresses import absolute, opened
from operators.store.results import Results
from operators.store.store import Store, overwrite
from pipelines.folder import JobFolder
from schemas.errors import SpecError
from schemas.request import Picture
from schemas.unit import Locator

_COLUMNS = (
    *("input_id", "input_uri", "media", "unit_index", "request_index", "unit_kind", "page", "start_s", "end_s"),
    *("width_px", "height_px", "status", "result"),
)
SHOWN_PX = 4_194_304
"""Area up to which a page or picture is drawn at its own size."""
_FEW = 64
"""Rows whose results are values of Python at once."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")
    parser.add_argument("--task", help="of this task alone")
    parser.add_argument("--rows", type=count, default=100, metavar="N", help="of each task at most")


def run(options: argparse.Namespace) -> int:
    """1 when a unit could not be decoded any more."""
    failed = False
    for drawing in write_overlays(options.output, task=options.task, rows=options.rows):
        failed |= drawing.failed
        echo(drawing.text)
    return 1 if failed else 0


@dataclass(frozen=True)
class Drawing:
    """text: where the picture was put; or why there is none, then failed."""

    text: str
    failed: bool = False


def write_overlays(output: str, *, task: str | None, rows: int) -> Iterator[Drawing]:
    """Writes <output>/overlay/<task>/<name>-<input_id>-<unit>[-<request>][-frame<n>].png; a unit that cannot be decoded
    any more is a Drawing that failed. output: an address. task: None for all that have places; rows: of each task.

    Raises SpecError when there is nothing to draw.
    """
    store = opened(absolute(output))
    results = Results(store)
    folder = JobFolder(store)
    folder.check_readable()
    drawn, tasks = 0, results.tasks()
    if not tasks:
        raise folder.without_results(output)
    for name in tasks if task is None else {task} & set(tasks):
        sandbox = Sandbox(stored_decoding(folder, name, full_res_max_px=SHOWN_PX))
        try:
            for row, marks in _marked(results, name, rows):
                drawn += 1
                yield from _draw(sandbox, store, f"overlay/{name}", row, marks)
        finally:
            sandbox.close()
    if not drawn:
        of = f"the task {task}" if task else "any task"
        raise SpecError(f"{output} holds no boxes or points of {of}")


def _marked(results: Results, task: str, rows: int) -> Iterator[tuple[dict[str, Any], list[Mark]]]:
    """The first rows that have places, each with its marks."""
    marked = (
        (row, marks)
        for batch in results.batches(task, _COLUMNS)
        for row in _good(batch)
        if (marks := list(marks_in(row["result"]))) and media_of(row) is not None
    )
    return islice(marked, rows)


def _good(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    is_good = pc.and_(pc.equal(batch.column("status"), "ok"), pc.greater(batch.column("width_px"), 0))
    for few in pa.Table.from_batches([batch.filter(is_good)]).to_batches(max_chunksize=_FEW):
        yield from few.to_pylist()


def _draw(sandbox: Sandbox, store: Store, folder: str, row: dict[str, Any], marks: list[Mark]) -> Iterator[Drawing]:
    media = media_of(row)
    assert media is not None
    (batch,) = sandbox.decode(row["input_uri"], media, [Locator.of(row)])
    unit = {name: batch.column(name)[0] for name in batch.schema.names}
    if unit["error"].is_valid:
        yield Drawing(f"{row['input_uri']}: {unit['error'].as_py()['message']}", failed=True)
        return
    frames: tuple[Picture, ...] = pictures(unit["pictures"])
    if len(frames) == 1 and (whole := full_res_of(unit["full_res"])) is not None:  # the model may have seen much less
        frames = (whole,)
    by_frame: dict[int, list[Mark]] = defaultdict(list)
    for mark in marks:
        by_frame[mark.frame].append(mark)
    # a name from elsewhere: nothing in it may lead out of the folder or steer a terminal
    stem = re.sub(r"[^\w.-]+", "_", Path(row["input_uri"]).stem)[:80]
    name = f"{stem}-{row['input_id']}-{row['unit_index']}" + (
        f"-{row['request_index']}" if row["request_index"] else ""
    )
    for index, in_frame in sorted(by_frame.items()):
        if index < len(frames):
            key = f"{folder}/{name}.png" if len(frames) == 1 else f"{folder}/{name}-frame{index}.png"
            png = io.BytesIO()
            try:
                shown = unpack(frames[index])
            except ValueError as error:  # a decoder that was taken over may send anything for a picture
                yield Drawing(f"{row['input_uri']}: {error}", failed=True)
                continue
            draw(shown, in_frame, row["width_px"], row["height_px"]).save(png, "PNG")
            overwrite(store, key, png.getvalue())
            yield Drawing(f"{store.address}/{key}")
