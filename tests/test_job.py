"""Whole jobs through the real command, real Ray and real Parquet, with the scripted engine: rows out = units in."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import polars
import pytest

from tests.support.world import World, write_image, write_pdf, write_recording

pytestmark = pytest.mark.slow


ANYTHING = {"sample": "*", "task": "*", "reply": "the text of {sample}, unit {unit}"}


def statuses(rows: list[dict[str, Any]]) -> Counter[tuple[str, str | None]]:
    return Counter((row["status"], row["error"] and row["error"]["kind"]) for row in rows)


def test_pages_images_and_frames_become_rows_once(world: World) -> None:
    write_pdf(world.inputs / "a.pdf", pages=3)
    write_image(world.inputs / "b.png")
    write_image(world.inputs / "c.gif", frames=2)
    (world.inputs / "notes.txt").write_text("not an input")
    write_recording(world.recording, ANYTHING, {"sample": "b.png", "task": "caption", "reply": "A  sign.\n"})
    table = world.folder / "list.csv"
    table.write_text("path,shelf\nin/a.pdf,7\nin/b.png,8\n")
    world.spec |= {"inputs": [str(table), str(world.inputs)], "types": {"shelf": "int"}}

    printed = world.run()

    assert "left out: 2 named twice, 1 unknown type .txt" in printed
    pages = world.rows("ocr")
    assert [(Path(row["input_uri"]).name, row["unit_index"], row["page"], row["shelf"]) for row in pages] == [
        ("a.pdf", 0, 1, 7),
        ("a.pdf", 1, 2, 7),
        ("a.pdf", 2, 3, 7),
        ("b.png", 0, None, 8),
        ("c.gif", 0, 1, None),
        ("c.gif", 1, 2, None),
    ]
    assert [row["result"]["text"] for row in pages[:2]] == ["the text of a.pdf, unit 0", "the text of a.pdf, unit 1"]
    captions = world.rows("caption")
    assert [Path(row["input_uri"]).name for row in captions] == ["b.png", "c.gif", "c.gif"]
    assert captions[0]["result"] == {"text": "A sign."}
    assert captions[0]["text"] == "A  sign.\n"
    assert (captions[0]["width_px"], captions[0]["height_px"]) == (320, 160)
    assert {row["job"] for row in pages} == {"test"}
    assert len({row["spec_sha256"] for row in pages + captions}) == 1

    frame = polars.read_parquet(str(world.output / "results" / "task=ocr" / "*.parquet"))
    assert frame.filter(polars.col("status") == "ok").height == 6

    there = {path: path.stat().st_mtime_ns for path in (*world.parts(), *world.files())}
    assert [path.parent.name for path in world.files()] == ["task=caption", "task=ocr"]
    again = world.run()
    assert "nothing to do" in again
    assert "starting" not in again
    assert {path: path.stat().st_mtime_ns for path in (*world.parts(), *world.files())} == there

    world.spec["tasks"] = [{"name": "ocr", "prompt": "Read it."}, "caption"]
    refused = world.run(code=2)
    assert 'ocr.prompt: "Read all the text in the image." there, "Read it." now' in refused
    assert "--redo ocr" in refused
    assert "Traceback" not in refused
    world.nothing_left()


def test_bad_input_is_one_typed_row_each_and_neighbours_are_untouched(world: World) -> None:
    write_pdf(world.inputs / "good.pdf", pages=2)
    for name in ("bad.pdf", "bad.jpg", "bad.mp4"):
        (world.inputs / name).write_bytes(bytes(range(256)) * 20)
    (world.inputs / "empty.pdf").write_bytes(b"")
    world.spec["inputs"] = [str(world.inputs), str(world.folder / "gone.pdf")]
    write_recording(world.recording, ANYTHING)

    assert "75.0% of the rows failed" in world.run(code=3)

    read = statuses(world.rows("ocr"))
    assert read == {
        ("ok", None): 2,
        ("unreadable_input", "malformed"): 2,
        ("unreadable_input", "empty_file"): 1,
        ("unreadable_input", "not_found"): 1,
    }
    assert statuses(world.rows("caption")) == {("unreadable_input", "malformed"): 2}  # the jpg and the mp4
    assert all(row["error"]["message"] for row in world.rows("caption"))

    world.spec["limits"] = {"max_failed_fraction": 0.75}
    assert "nothing to do" in world.run()


def test_requests_that_kill_the_engine_are_one_typed_row_each(world: World) -> None:
    write_pdf(world.inputs / "a.pdf", pages=40)
    killers = {3: "crash", 17: "hang", 30: "error"}
    write_recording(
        world.recording,
        ANYTHING,
        *({"sample": "a.pdf", "task": "ocr", "unit": unit, "fault": fault} for unit, fault in killers.items()),
    )
    world.spec["engine"]["stall_s"] = 2
    assert f"times and was started anew; its log: {world.output}/_job/logs/" in world.run()
    (log,) = (world.output / "_job" / "logs").glob("engine-*.log")
    assert "sightread: the engine made no progress for 2 s" in log.read_text()
    rows = world.rows("ocr")
    assert [row["unit_index"] for row in rows] == list(range(40))
    failed = {row["unit_index"]: row["error"]["kind"] for row in rows if row["status"] == "engine_failed"}
    assert failed == {3: "crashed", 17: "timeout", 30: "engine_error"}
    world.nothing_left()


@pytest.mark.parametrize(
    ("victim", "dies"),
    [
        ("operators.infer.engine_child", False),
        ("operators.media.decoder_child", False),
        ("ray::MapWorker(MapBatches(Infer))", False),
        ("jobs.cli", True),
    ],
)
def test_whatever_is_killed_in_mid_run_every_unit_comes_out_once(world: World, victim: str, dies: bool) -> None:
    write_pdf(world.inputs / "a.pdf", pages=48)
    write_recording(world.recording, {**ANYTHING, "delay_s": 0.4})
    world.spec["engine"]["slots"] = 4
    world.spec["limits"] = {"chunk_units": 6}
    if victim == "operators.media.decoder_child":
        # pages that take longer to decode than to answer: small ones are all decoded before the second part is there
        write_recording(world.recording, ANYTHING)
        world.spec["decode"] = {"page_dpi": 450, "workers": 1}
    run = world.start()
    world.wait_for(lambda: len(world.parts()) >= 2)
    (pid, *_) = world.wait_for(lambda: world.processes(victim))
    os.kill(pid, signal.SIGKILL)
    text, _ = run.communicate(timeout=240)
    if dies:
        assert run.returncode == -signal.SIGKILL
        world.nothing_left()
        before = {path: path.stat().st_mtime_ns for path in world.parts()}
        assert 2 <= len(before) < 8
        assert "committed before" in world.run()
        assert {path: path.stat().st_mtime_ns for path in before} == before  # what was committed is not redone
    else:
        assert run.returncode == 0, text
        assert "nothing to do" in world.run()
    rows = world.rows("ocr")
    assert [row["unit_index"] for row in rows] == list(range(48))
    assert statuses(rows) == {("ok", None): 48}
    assert not list((world.output / "_job" / "tmp").iterdir())
    world.nothing_left()


def test_a_limit_stops_early_and_the_same_command_goes_on(world: World) -> None:
    write_pdf(world.inputs / "a.pdf", pages=10)
    write_recording(world.recording, ANYTHING)
    world.spec["limits"] = {"chunk_units": 4}
    assert "still to do" in world.run("run", str(world.spec_file), "--limit", "3")
    assert len(world.rows("ocr")) == 4
    world.run()
    assert len(world.rows("ocr")) == 10


def test_an_engine_that_cannot_be_had_ends_the_job_with_one_sentence(world: World) -> None:
    write_pdf(world.inputs / "a.pdf", pages=1)
    world.recording.write_text("not json\n")
    printed = world.run(code=1)
    assert "Traceback" not in printed
    assert "replies.jsonl" in printed
    assert world.parts() == world.files() == []
    assert "ended early: " in (world.output / "_job" / "logs" / "run.log").read_text()
    world.nothing_left()
