"""`sightread golden`: right answers pass, each kind of wrong one is named, and the nano checkpoint reads its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cli import main
from jobs.commands.golden import EXPECTATIONS, PAGE, PICTURE
from jobs.demo_media import PAGES, SIGN
from schemas.checkout import NANO as CHECKPOINT
from tests.support.world import write_recording

LINES = {PAGE: [line.text for line in PAGES[0]], PICTURE: list(SIGN)}


def right() -> list[dict[str, Any]]:
    """What a model says that reads well, in the words of Qwen3-VL."""
    replies = []
    for name, lines in LINES.items():
        boxes = [[100, 20 * number, 900, 20 * number + 15] for number in range(1, len(lines) + 1)]
        spotted = [{"bbox_2d": box, "text_content": line} for box, line in zip(boxes, lines, strict=True)]
        blocks = "\n".join(
            f'<p data-bbox="{" ".join(map(str, box))}">{line}</p>' for box, line in zip(boxes, lines, strict=True)
        )
        replies += [
            {"sample": name, "task": "ocr", "reply": "\n".join(lines)},
            {"sample": name, "task": "ocr_spotting", "reply": json.dumps(spotted)},
            {
                "sample": name,
                "task": "parse_document",
                "reply": f"```html\n<html><body>\n{blocks}\n</body></html>\n```",
            },
        ]
    return [
        *replies,
        {"task": "caption", "reply": "A red circle crosses a white field."},
        {
            "task": "events",
            "reply": json.dumps({"00:00.00 - 00:06.00": "A circle.", "00:06.00 - 00:12.00": "A square."}),
        },
    ]


def run(folder: Path, *replies: dict[str, Any]) -> int:
    recording = write_recording(folder / "replies.jsonl", *replies)
    spec = folder / "spec.yaml"
    engine = {"kind": "scripted", "recording": str(recording)}
    spec.write_text(yaml.safe_dump({"name": "x", "inputs": "x", "tasks": "ocr", "engine": engine, "output": "x"}))
    return main(["golden", str(spec)])


def test_right_answers_are_as_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(tmp_path, *right())
    said = capsys.readouterr().out
    assert f"all {len(EXPECTATIONS)} answers are as expected" in said
    assert code == 0


def test_each_wrong_answer_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong: list[dict[str, Any]] = [
        {"sample": PAGE, "task": "ocr", "reply": "\n".join(line.replace("e", "[red]a") for line in LINES[PAGE])},
        {"sample": PICTURE, "task": "ocr", "reply": "\n".join(SIGN), "finish_reason": "length"},
        {"sample": PICTURE, "task": "ocr_spotting", "reply": "I cannot do that."},
        {"sample": PAGE, "task": "parse_document", "fault": "error"},
        {"task": "events", "reply": '{"00:00.00 - 01:06.00": "A circle moves."}'},
    ]
    code = run(tmp_path, *right(), *wrong)  # of equals the last wins
    said = capsys.readouterr().out
    assert code == 1
    assert f"{len(wrong)} of {len(EXPECTATIONS)} answers are not as expected" in said
    rows = " ".join(said.split())
    for sentence in (
        "of characters are wrong (5% at most)",
        "ended with length after",
        "invalid_output: the model declines to list texts and boxes",
        "engine_failed: a scripted error",
        "its check finds span_outside",
        "[red]a",  # shown, not obeyed
    ):
        assert sentence in rows, sentence


@pytest.mark.slow
@pytest.mark.skipif(not CHECKPOINT.exists(), reason="no checkpoint is shipped")
def test_nano_passes_what_it_was_taught(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", str(CHECKPOINT)]) == 0
    assert "all 4 answers are as expected" in capsys.readouterr().out
