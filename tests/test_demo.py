"""What a newcomer sees first, and real media: rows out = units in, and the nano checkpoint reads what it is shown."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import av
import pypdfium2
import pytest
import yaml
from PIL import Image

from jobs.demo_media import PAGES, SHAPES, SIGN, TICKET, write_demo_media
from model.nano.score import cer
from schemas.checkout import NANO as CHECKPOINT
from tests.support.samples import SAMPLES, needs_samples
from tests.support.world import ROOT, World, write_recording

pytestmark = pytest.mark.slow

TEXTS = {
    **{("lighthouse.pdf", index): "\n".join(line.text for line in page) for index, page in enumerate(PAGES)},
    ("sign.png", 0): "\n".join(SIGN),
    ("ticket.png", 0): TICKET,
}
CAPTIONS = {
    "clock.mp4": "A red circle moves to the right. A blue square circles.",
    "shapes.jpg": "A red circle, a blue square and a green triangle.",
    "sign.png": "Some lines of text.",
    "ticket.png": "A line of text.",
}


@pytest.mark.skipif(not CHECKPOINT.exists(), reason="no checkpoint is shipped")
def test_the_demo_comes_out_right_and_is_done_once(world: World) -> None:
    write_demo_media(world.inputs)
    demo = yaml.safe_load((ROOT / "jobs/specs/demo.yaml").read_text(encoding="utf-8"))
    world.spec = {**demo, "inputs": world.spec["inputs"], "output": world.spec["output"]}
    world.run()
    read = {(Path(row["input_uri"]).name, row["unit_index"]): row["result"]["text"] for row in world.rows("ocr")}
    assert read.keys() == {*TEXTS, ("shapes.jpg", 0)}
    assert read["shapes.jpg", 0].split("\n") == [f"{colour} {shape}" for shape, colour, _ in SHAPES]
    for unit, text in TEXTS.items():
        assert cer([" ".join(read[unit].split())], [" ".join(text.split())]) <= 0.05, (unit, read[unit])
    captions = {Path(row["input_uri"]).name: row["result"]["text"] for row in world.rows("caption")}
    assert captions == CAPTIONS
    assert "nothing to do" in world.run()


@needs_samples
def test_real_documents_pictures_and_clips_come_out_once(world: World) -> None:
    """Units are counted here by the libraries alone."""
    pages, frames, clips = Counter[str](), Counter[str](), Counter[str]()
    for path in sorted(SAMPLES.rglob("*")):
        match path.suffix.lower():
            case ".pdf":
                with pypdfium2.PdfDocument(path) as document:
                    pages[str(path)] = len(document)
            case ".jpg" | ".jpeg" | ".png":
                with Image.open(path) as picture:
                    frames[str(path)] = getattr(picture, "n_frames", 1)
            case ".mp4":
                with av.open(str(path)) as container:
                    shown = [frame.time for frame in container.decode(video=0)]
                    clips[str(path)] = math.ceil((shown[-1] - shown[0]) / 30)
    assert len(pages) > 3
    assert len(frames) > 3
    assert len(clips) > 1
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "what {sample} shows, unit {unit}"})
    world.spec["inputs"] = [str(SAMPLES)]
    world.run()
    audit = json.loads((world.output / "_job" / "summary.json").read_text())["tasks"]
    for task, wanted in (("ocr", pages + frames), ("caption", frames + clips)):
        rows = world.query(
            f"""select input_uri, count(*) as n, count(distinct unit_index) as once, min(unit_count) as planned,
                       count(*) filter (status = 'ok') as ok
                from '{world.output}/results/task={task}/*.parquet' group by 1"""
        )
        assert {row["input_uri"]: row["n"] for row in rows} == dict(wanted)
        assert all(row["n"] == row["once"] == row["planned"] == row["ok"] for row in rows)
        assert (audit[task]["missing"], audit[task]["duplicate"], audit[task]["unexpected"]) == (0, 0, 0)
