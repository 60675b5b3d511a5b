"""What was found, drawn into the pictures of a job."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from jobs.commands.overlay import write_overlays
from operators.overlay import COLORS, Mark, draw, marks_in
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
    times = 4  # small pictures are drawn larger, so that letters beside them are in proportion
    assert drawn.shape[0] == times * len(white)
    colors = [ImageColor.getrgb(color) for color in COLORS]
    assert tuple(drawn[30 * times, 20 * times - 2]) == colors[0], "around the box, not over what is in it"
    assert tuple(drawn[30 * times, 20 * times + 2]) == (255, 255, 255)
    assert tuple(drawn[160 * times, 200 * times]) == colors[1]
    assert tuple(drawn[100 * times, 250 * times]) == colors[2]  # a line out of the picture, up to its edge
    assert tuple(drawn[100 * times, 100 * times]) == (255, 255, 255)


PLACES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 15)), min_size=1, max_size=60, unique=True)


@settings(max_examples=15, deadline=None)
@given(PLACES, st.booleans(), st.integers(1, 4))
def test_no_label_covers_what_is_printed(places: list[tuple[int, int]], is_text: bool, reach: int) -> None:
    """Words anywhere in rows and columns, near each other: all their ink is there still, whatever they are called."""
    page = np.full((960, 1200, 3), 255, np.uint8)
    marks = []
    for column, row in places:
        x, y = 20 + 145 * column, 14 + 58 * row
        page[y : y + 40, x : x + 34 * reach : 2] = 0
        marks.append(Mark("name " * reach, [x, y, x + 34 * reach, y + 40], None, None, 0, is_text))
    drawn = np.asarray(draw(page, marks, 1200, 960))
    is_ink = page[..., 0] == 0
    assert (drawn[:960, :1200][is_ink] == 0).all()
    if is_text:
        assert drawn.shape[1] > 1200, "what is read stands beside the page"


def test_letters_and_their_ground_are_far_apart() -> None:
    """By the contrast ratio of WCAG 2.2 (1.4.3): 4.5 for text."""
    for color in COLORS:
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in (part / 255 for part in ImageColor.getrgb(color))
        ]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5


def test_what_a_mark_is_called() -> None:
    """A block by what it is, a thing of a screen with its words; a line of print by what it reads."""
    box = {"bbox_px": [0, 0, 1, 1]}
    for value, label, is_text in (
        ({"type": "table", "text": "Item Price 1 2 3"}, "table", False),
        ({"role": "button", "text": "Save"}, "button Save", False),
        (
            {"text": "The tower was built in 1874 and stands 31 metres"},
            "The tower was built in 1874 and stands 31 metres",
            True,
        ),
        ({"label": "x" * 50}, "x" * 40 + " …", False),
    ):
        (mark,) = marks_in(value | box)
        assert (mark.label, mark.is_text) == (label, is_text)


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
    seen = DecodeSettings(image_min_px=1024, image_max_px=4096)  # much less than there is
    decode = {**asdict(seen), "of_an_older_version": 1}
    begin(store, {"ground_2d": {"decode": decode}, "caption": {"decode": decode}})
    for task, values in (("ground_2d", rows), ("caption", empty)):
        put_rows(store, task, pa.Table.from_pylist(values))  # without the columns that are null

    drawing, failed = write_overlays(output, task=None, rows=5)
    key = "overlay/ground_2d/a_1_-0123-0.png"
    assert (drawing.text, drawing.failed) == (f"{output}/{key}", False)
    assert "gone.png: " in failed.text
    assert failed.failed
    with store.open(key) as file, Image.open(file) as picture:
        assert picture.size == (320 * 5, 160 * 5), "of the original, enlarged; not of what the model sees"
        assert picture.getpixel((96 * 5, 40 * 5 - 2)) == ImageColor.getrgb(COLORS[0])
    with pytest.raises(SpecError, match="holds no results of a job"):
        list(write_overlays(str(tmp_path / "nowhere"), task=None, rows=1))
    with pytest.raises(SpecError, match="no boxes or points of the task caption"):
        list(write_overlays(output, task="caption", rows=5))
