"""Whether to believe a row: readings against the PDF's own text, loops, blank pages, spans, and what is asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.load import parse
from operators.checks.loops import repeats
from operators.checks.spans import span_faults
from operators.checks.text_layer import compare
from operators.media.blank import is_blank
from pipelines.job import prepare
from pipelines.local import answer
from pipelines.replies.scripts import script_of
from schemas.task import View
from tests.support.samples import SAMPLES, needs_samples
from tests.support.world import write_image, write_pdf, write_recording


def rows_of(folder: Path, tasks: Any, inputs: list[Path], *replies: dict[str, Any]) -> list[dict[str, Any]]:
    recording = write_recording(folder / "replies.jsonl", *replies)
    spec = {
        "name": "check", "inputs": [str(path) for path in inputs], "tasks": tasks, "output": str(folder / "unused"),
        "engine": {"kind": "scripted", "recording": str(recording)},
        "decode": {"image_max_tokens": 512},
    }  # fmt: skip
    return list(answer(prepare(parse(spec, "test"))))


def test_what_no_reader_calls_an_error_is_none() -> None:
    same = compare("The efﬁcient “exam-\nple” — fine…", 'The efficient "example" - fine...')
    assert same is not None
    assert (same.cer, same.missing_words, same.extra_words) == (0.0, 0, 0)
    one = compare("one two two four", "one two three four")
    assert one is not None
    # two for three: t-h-r-e-e to t-w-o is 4 edits of 18 characters
    assert (one.cer, one.missing_words, one.extra_words) == (pytest.approx(4 / 18), 1, 1)
    assert compare("anything", " \n") is None
    chinese = compare("面包好", "面包")
    assert chinese is not None
    assert (chinese.missing_words, chinese.extra_words) == (0, 1)


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("and so on " * 30, True),
        ("A page.\n" + "the same line\n" * 30 + "another end", True),
        ("天" * 300, True),
        ("Contents " + ". " * 300 + "7", False),
        ("| --- " * 100, False),
        ("0.5\n" * 20, False),
        ("It was the best of times, it was the worst of times, " * 2, False),
        ("", False),
        # endless signs and blanks, counting up, and what goes on after a loop
        ("Total 7\n" + "| " * 400, True),
        ("| a | b |\n" + "|  |  |\n" * 500, True),
        ("A page." + " " * 900, True),
        ("A page." + "\n" * 1200, True),
        ("Note" + "!" * 80, True),
        ("- - " * 400 + "end", True),
        ("\n".join(f"{number}. The pump was tested." for number in range(12, 30)), True),
        (" ".join(f"{number}. The pump was tested." for number in range(12, 30)), True),
        (" ".join(f"In step {number} the pump was tested." for number in range(12, 30)) + " It is fit for use.", True),
        ("The pump was tested. " * 12 + "It is fit for use.", True),
        ("Intro. " + "the pump and " * 40 + "it is fit for use, all in all.", True),
        ("".join(f"第{number}步，对水泵进行了测试。" for number in range(12, 30)), True),
        ("<td>x</td>" * 200, True),
        # what repeats on pages
        ("| None |\n" * 25, False),
        ("None\n" * 25, False),
        ("<td>None</td>" * 25 + "</tr>", False),
        ("Name: ____\n" * 26, False),
        ("Name of the applicant: ________\n" * 26, False),
        ("0\n" * 100, False),
        ("0.00 " * 100, False),
        ("| 0 " * 100 + "|", False),
        ("| | | | | |\n" * 30, False),
        ("\n".join(f"{number}." for number in range(1, 60)), False),
        ("\n".join(f"Figure {number}" for number in range(1, 20)), False),
        ("\n".join(f"| {number} | not applicable | none so far |" for number in range(1, 30)), False),
        ('{"bbox_2d": [1, 2, 3, 4], "label": "car"}, ' * 12, False),
        ("[" + ", ".join(['{"bbox_2d": [1, 2, 3, 4], "label": "car"}'] * 20) + "]", True),
        ('{"bbox_2d": [1, 2, 3, 4], "label": "car"},\n' * 20, True),
        ("".join(f'{{"bbox_2d": [{x}, 2, 30, 4], "label": "car"}},\n' for x in range(20)), False),
        ('{"name": "none", "size": 0}, ' * 40, False),
        ("_" * 300, False),
        ("Contents\n" + "\n".join(f"{word} {'.' * 90} {page}" for page, word in enumerate("abcdefghij")), False),
        ("Signature: ____ Date: ____\n" * 20, False),
    ],
)
def test_loops(text: str, loops: bool) -> None:
    assert repeats(text) == loops


def test_spans_that_leave_the_clip_or_run_backwards() -> None:
    clip = View("clip", 0, 1, 1, start_s=30.0, end_s=60.0)
    assert span_faults([(30, 45.5), (40, 60.5)], clip, ordered=True) == ()
    assert span_faults([(12, 15)], clip) == ("span_outside",)
    assert span_faults([(50, 40)], clip) == ("span_order",)
    assert span_faults([(50, 51), (40, 41)], clip, ordered=True) == ("span_order",)


def test_blank_paper_and_a_page_number() -> None:
    page = np.full((800, 600, 3), 244, np.uint8) + np.random.default_rng(0).integers(0, 12, (800, 600, 3), np.uint8)
    assert is_blank(page)
    page[400:412, 300:308] = 30
    assert not is_blank(page)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Fresh bread, 3 €", "Latin"),
        ("Свежий хлеб", "Cyrillic"),
        ("خبز طازج", "Arabic"),
        ("新鲜面包", "Han"),
        ("焼きたてのパン", "Japanese"),
        ("신선한 빵", "Hangul"),
        ("ताज़ी रोटी", "Devanagari"),
        ("𐌀𐌁𐌂", "Old Italic"),
        ("ᚠᚢᚦ", "Runic"),
        ("12 – 34", None),
    ],
)
def test_scripts(text: str, script: str | None) -> None:
    assert script_of(text) == script


def pages(folder: Path) -> Iterator[tuple[str, int, str]]:
    """(document, page from 0, its own text as far as it shows it) of every sample page that holds text."""
    for row in rows_of(folder, ["parse_document"], [SAMPLES / "documents"], {"sample": "*", "task": "*", "reply": ""}):
        if row["text_layer"] and len(row["text_layer"].split()) >= 3:
            yield Path(row["input_uri"]).name, row["unit_index"], row["text_layer"]


@needs_samples
def test_the_true_text_comes_before_a_lossy_one_and_that_before_another_pages(tmp_path: Path) -> None:
    known = list(pages(tmp_path))
    assert len(known) > 10
    replies = []
    for place, (name, unit, text) in enumerate(known):
        words = text.split()
        lossy = " ".join(word for number, word in enumerate(words) if number % 20 != 1)  # one in twenty is gone
        for request, reply in enumerate([text, lossy, known[(place + 1) % len(known)][2]]):
            replies.append({"sample": name, "task": "ocr", "unit": unit, "request": request, "reply": reply})
    rows = rows_of(
        tmp_path,
        [{"name": "ocr", "prompt": "Read it, {how}.", "parameters": {"how": ["whole", "lossy", "other"]}}],
        [SAMPLES / "documents"],
        {"sample": "*", "task": "*", "reply": ""},
        *replies,
    )
    by_request = {(Path(row["input_uri"]).name, row["unit_index"], row["request_index"]): row for row in rows}
    for name, unit, _ in known:
        whole, lossy, other = (by_request[name, unit, request]["verified"] for request in range(3))
        assert 0 == whole["cer"] < lossy["cer"] < other["cer"], (name, unit)
        assert whole["missing_words"] < lossy["missing_words"]
        assert whole["ok"]
        assert whole["faults"] == []
    assert json.loads(by_request[*known[0][:2], 1]["parameters"]) == {"how": "lossy"}
    others = [by_request[name, unit, 2]["verified"]["faults"] for name, unit, _ in known]
    assert sum(faults == ["text_layer"] for faults in others) > 0.9 * len(others)


def test_a_page_that_fails_its_check_is_asked_again_and_the_best_reading_wins(tmp_path: Path) -> None:
    document = write_pdf(tmp_path / "a.pdf", pages=1)  # it says: Page 1 of a
    picture = write_image(tmp_path / "sign.png")
    loop = "read me " * 100
    (page, sign) = rows_of(
        tmp_path,
        ["ocr"],
        [document, picture],
        {"sample": "a.pdf", "task": "ocr", "step": 0, "reply": "something else that stands on another page"},
        {"sample": "a.pdf", "task": "ocr", "step": 1, "reply": "more and more of what is not there at all"},
        {"sample": "a.pdf", "task": "ocr", "step": 2, "reply": "Page 1 of a"},
        {"sample": "sign.png", "task": "ocr", "reply": loop},
        {"sample": "sign.png", "task": "ocr", "step": 2, "reply": "Sign"},
    )
    assert page["result"]["text"] == page["text"] == "Page 1 of a"
    assert page["verified"] == {
        "ok": True, "faults": [], "dropped": 0, "cer": 0.0, "missing_words": 0, "extra_words": 0, "code_check": None,
    }  # fmt: skip
    assert [attempt["note"] for attempt in page["attempts"]] == ["", "enlarged", "rotated 90"]
    assert page["text_layer"].strip() == "Page 1 of a"
    assert [attempt["note"] for attempt in sign["attempts"]] == ["", "enlarged", "rotated 90"]
    assert sign["attempts"][0]["text"] == loop
    assert sign["result"]["text"] == "Sign"
    assert sign["verified"]["ok"]
    assert sign["prompt_tokens"] == sum(attempt["prompt_tokens"] for attempt in sign["attempts"])


def test_a_reading_that_may_be_better_than_the_text_layer_is_flagged_and_not_asked_again(tmp_path: Path) -> None:
    document = write_pdf(tmp_path / "the quick brown fox jumps over it.pdf", pages=1)
    reply = "Page 1 of the quick red cat sits under that"  # 5 of 10 words differ
    (row,) = rows_of(tmp_path, ["ocr"], [document], {"sample": "*", "task": "ocr", "reply": reply})
    assert row["verified"]["faults"] == ["text_layer"]
    assert (row["verified"]["missing_words"], row["verified"]["extra_words"]) == (5, 5)
    assert row["attempts"] is None


def test_text_on_a_blank_page_and_a_reply_that_was_cut(tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), "white").save(tmp_path / "blank.png")
    write_image(tmp_path / "sign.png")
    (blank, sign) = rows_of(
        tmp_path,
        ["ocr"],
        [tmp_path / "blank.png", tmp_path / "sign.png"],
        {"sample": "blank.png", "task": "ocr", "reply": "The quick brown fox"},
        {"sample": "sign.png", "task": "ocr", "reply": "Sig", "finish_reason": "length"},
    )
    assert blank["blank"]
    assert blank["verified"]["faults"] == ["text_on_blank"]
    assert sign["verified"]["faults"] == ["cut"]
    assert (sign["status"], sign["verified"]["ok"]) == ("ok", False)
    assert sign["attempts"] is None
