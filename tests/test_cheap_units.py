"""What a small picture costs around its decoding: things that are counted, since no clock is the same twice."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model.prompts.rgb import unpack
from operators.media import sandbox
from operators.media.decoder_wire import pack_unit, sealed, unpack_unit
from operators.media.sandbox import Sandbox
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.request import Picture
from schemas.unit import Indexed
from tests.support.world import write_image

SETTINGS = DecodeSettings(image_min_px=1024)
PICTURE = {"width_px": 32, "height_px": 64, "data": b"x" * 700}
FACTS = {"times_s": [], "text_layer": "à", "blank": False, "damaged_frames": None, "input_notes": ["damaged"]}
ROW = {"width_px": 31, "height_px": 65, **FACTS, "pictures": [PICTURE], "line_images": None, "full_res": None}


def test_a_unit_comes_as_one_array_of_what_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack_unit({**ROW, "decode_s": 0.5, "error": None})
    assert packed is not None
    head, parts = packed
    memory, made, array = sealed(parts), Counter[str](), pa.array

    def counted(*arguments: Any, **named: Any) -> Any:
        made.update(["array"])
        return array(*arguments, **named)

    monkeypatch.setattr(pa, "array", counted)
    try:
        batch = unpack_unit(head["unit"], [memory], "image", SETTINGS)
    finally:
        os.close(memory)
    assert made == {"array": 1}
    assert batch.schema == tables.DECODED
    assert batch.to_pylist() == [{**ROW, "decode_s": 0.5, "error": None}]


def test_settings_are_put_into_words_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that last: a hurried order has others."""
    words = Counter[int]()
    asdict = sandbox.asdict
    monkeypatch.setattr(
        sandbox,
        "asdict",
        lambda thing: (words.update([1] if isinstance(thing, DecodeSettings) else []), asdict(thing))[1],
    )
    sandbox._plain.cache_clear()
    paths = [write_image(tmp_path / f"{number}.png") for number in range(5)]
    with closing(Sandbox(SETTINGS)) as box:
        for path in paths:
            (batch,) = box.decode(str(path), "image", [Indexed()])
            (picture,) = batch.to_pylist()[0]["pictures"]
            assert np.ptp(unpack(Picture(**picture))) > 0
        list(box.decode(str(paths[0]), "image", [Indexed()], replace(SETTINGS, timeout_s=30.0)))
    assert words.total() == 2
