"""What was found, drawn into the pictures of a job."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.commands.overlay import write_overlays
from operators.overlay import Mark, draw
from operators.store.memory import MemoryStore
from schemas.decode import DecodeSettings
from schemas.errors import SpecError
from tests.support.stored import begin, put_rows
from tests.support.world import write_image


def test_drawings() -> None:
    """A frame twice as large as the original: what stands at 10..20 px is drawn at 20..40."""
    white = np.full((200, 300, 3), 255, np.uint8)
    far = [[1e7, 50.0] if number & 4 else [75.0, 50.0] for number in range(8)]
    marks = [
        Mark("面", [10, 10, 20, 20], None, None, 0),
        Mark("b" * 99, None, [100, 80], None, 0),
        Mark("", [0, 0, 9, 9], None, far, 0),
    ]
    drawn = np.asarray(draw(white, marks, 150, 100))
    assert drawn.shape == white.shape
    assert tuple(drawn[30, 20]) == (0xE6, 0x19, 0x4B)
    assert tuple(drawn[160, 200]) == (0x3C, 0xB4, 0x4B)
    assert tuple(drawn[100, 250]) == (0x43, 0x63, 0xD8)  # a line out of the picture, up to its edge
    assert tuple(drawn[100, 100]) == (255, 255, 255)


def test_overlays_of_a_job(tmp_path: Path) -> None:
    write_image(tmp_path / "a [1].png")  # 320 x 160
    row = {
        "input_id": "0123", "unit_index": 0, "request_index": 0, "unit_kind": "image", "status": "ok",
        "width_px": 320, "height_px": 160,
        "result": {"objects": [{"label": "[bold]sign", "bbox_px": [32, 40, 160, 120]}]},
    }  # fmt: skip
    inputs = {"0123": "a [1].png", "4567": "gone.png"}
    rows = [{**row, "input_id": input_id, "input_uri": str(tmp_path / name)} for input_id, name in inputs.items()]
    empty = [{**row, "input_uri": str(tmp_path / "a [1].png"), "result": {"objects": [{"label": "", "bbox_px": None}]}}]
    output = f"memory://{tmp_path}"
    store = MemoryStore(output)
    decode = {**asdict(DecodeSettings()), "of_an_older_version": 1}
    begin(store, {"ground_2d": {"decode": decode}, "caption": {"decode": decode}})
    for task, values in (("ground_2d", rows), ("caption", empty)):
        put_rows(store, task, pa.Table.from_pylist(values))  # without the columns that are null

    drawing, failed = write_overlays(output, task=None, rows=5)
    key = "overlay/ground_2d/a_1_-0123-0.png"
    assert (drawing.text, drawing.failed) == (f"{output}/{key}", False)
    assert "gone.png: " in failed.text
    assert failed.failed
    with store.open(key) as file, Image.open(file) as picture:
        x, y = (round(side * scale) for side, scale in zip(picture.size, (0.3, 0.25), strict=True))
        assert picture.getpixel((x, y)) == (0xE6, 0x19, 0x4B)
    with pytest.raises(SpecError, match="no boxes or points of the task caption"):
        list(write_overlays(output, task="caption", rows=5))
