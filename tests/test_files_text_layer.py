"""What a PDF says of its pages is evidence: right readings are not doubted, wrong ones are, and a layer that does not
fit its page blames nobody."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.load import parse
from operators.checks.page_check import text_faults
from operators.checks.text_layer import compare, is_relabeled
from operators.media.pdf import render_pdf
from operators.media.pdf.layer_fitness import is_odd
from operators.media.source import opened_file
from operators.units import Decoded, Planned
from pipelines.job import prepare
from pipelines.local import answer
from schemas.decode import DecodeSettings
from schemas.task import View
from tests.support.languages import ALL, LATIN
from tests.support.layer_pages import HIDDEN, KINDS, Case, cases
from tests.support.pdf_sheet import Sheet
from tests.support.samples import shared
from tests.support.world import write_recording

FAULTS = shared("faults/documents")
needs_faults = pytest.mark.skipif(not FAULTS.is_dir(), reason="no shared faults")


def decoded(path: Path, content: bytes | None = None, **settings: Any) -> Decoded:
    """The first page."""
    if content is not None:
        path.write_bytes(content)
    with opened_file(path) as source:
        (page,) = render_pdf.decode(source, [Planned(page=1)], DecodeSettings(**settings))
    assert isinstance(page, Decoded)
    return page


def view_of(page: Decoded) -> View:
    return View("page", 0, **page.facts())


def rows_of(folder: Path, inputs: list[Path], *replies: dict[str, Any], task: str = "ocr") -> list[dict[str, Any]]:
    recording = write_recording(folder / "replies.jsonl", *replies)
    spec = {
        "name": "check", "inputs": [str(path) for path in inputs], "tasks": [task], "output": str(folder / "unused"),
        "engine": {"kind": "scripted", "recording": str(recording)},
    }  # fmt: skip
    return list(answer(prepare(parse(spec, "test"))))


@pytest.fixture
def drawn(amount: Callable[[int, int], int], tmp_path: Path) -> Iterator[list[tuple[Case, View]]]:
    return [(case, view_of(decoded(tmp_path / "a.pdf", case.pdf))) for case in cases(amount(48, 300))]


def test_right_readings_are_not_doubted_and_wrong_ones_are(
    drawn: list[tuple[Case, View]], figure: Callable[[str], None]
) -> None:
    doubted = Counter(case.kind for case, view in drawn if text_faults(case.reading, view).faults)
    assert sum(doubted.values()) <= 0.02 * len(drawn), doubted
    missing = [case.kind for case, view in drawn if not case.unfit and not case.empty and view.text_layer is None]
    assert not missing
    unfit = [case for case, view in drawn if case.unfit and "text_layer_unfit" in view.input_notes]
    assert len(unfit) >= 0.95 * sum(case.unfit for case, _ in drawn)
    assert not [case.kind for case, view in drawn if not case.unfit and "text_layer_unfit" in view.input_notes]
    assert not [case.kind for case, view in drawn if view.blank != case.empty]
    # a check that blames nobody would pass all that
    held = [(case, view) for case, view in drawn if view.text_layer and len(case.reading.split()) > 8]
    others = [case.reading for case, _ in held]
    blamed = sum(
        "text_layer" in text_faults(other, view).faults
        for (_, view), other in zip(held, others[3:] + others[:3], strict=True)
    )
    assert blamed >= 0.95 * len(held)
    figure(
        f"right readings of {len(drawn)} pages of {len(KINDS)} kinds: {sum(doubted.values())} doubted {dict(doubted)};"
        f" unfit layers said to be so: {len(unfit)} of {sum(case.unfit for case, _ in drawn)};"
        f" wrong readings blamed: {blamed} of {len(held)}"
    )


def test_every_way_to_hide_words_is_among_them() -> None:
    hidden = [KINDS["hidden"]("hidden", random.Random(seed)) for seed in range(10 * len(HIDDEN))]
    marks = [b"/CropBox", b" -40 Tm", b"/OC /MC0", b" W n", b"1 g 1 0", b"40 100 560 240 re f", b"3 Tr", b"/G0 gs"]
    assert all(any(mark in case.pdf for case in hidden) for mark in marks)


@pytest.mark.parametrize("language", ALL)
def test_no_language_is_taken_for_nonsense(language: str) -> None:
    assert not is_odd(list(ALL[language].replace(" ", "")))
    assert not is_odd(list(ALL[language].upper().replace(" ", "")))


def test_an_alphabet_moved_by_some_places_mostly_is() -> None:
    moved = [
        "".join(chr((ord(char) - 97 + by) % 26 + 97) if "a" <= char <= "z" else char for char in text.lower())
        for text in LATIN.values()
        for by in range(1, 26)
    ]
    assert sum(is_odd(list(text.replace(" ", ""))) for text in moved) > 0.7 * len(moved)


def test_words_parted_in_other_places_are_the_same_words() -> None:
    text = "The committee met on Tuesday morning in the old town hall and seven members were present."
    for layer in (" ".join(text), text.replace(" ", ""), text.replace("itt", "it t").replace("day", "- day")):
        difference = compare(text, layer)
        assert difference is not None
        assert (difference.missing_words, difference.extra_words) == (0, 0), layer
    other = compare("A quite different sentence that tells of something else in as many words as that.", text)
    assert other is not None
    assert other.missing_words > 10


def test_a_layer_whose_letters_are_others_one_for_one_is_known_by_the_reading() -> None:
    """Where neither shapes nor spread tell: a font without outlines, a cipher that keeps common letters common."""
    text = " ".join(LATIN["en"].split())
    cipher = str.maketrans("etaoinsrhldcumfp", "aeiotsnrldhucfmp")
    assert is_relabeled(text, text.translate(cipher).swapcase())
    assert not is_relabeled(text, text)
    assert not is_relabeled(LATIN["de"], text)
    view = View(
        "page",
        0,
        text_layer=text.translate(str.maketrans("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza")),
        blank=False,
    )
    assert text_faults(text, view).faults == ()
    assert text_faults(LATIN["de"], view).faults == ("text_layer",)


def test_a_blank_page_is_not_held_to_its_layer_and_print_that_the_layer_confirms_is_there() -> None:
    blank = View("page", 0, text_layer="ghost words of an old scan", blank=True)
    assert text_faults("", blank).faults == ()
    assert text_faults("something else", blank).faults == ("text_on_blank",)
    assert text_faults("ghost words of an old scan", blank).faults == ()


def test_of_a_page_with_too_many_characters_some_are_read(tmp_path: Path) -> None:
    sheet = Sheet()
    for number in range(2500):
        sheet.line("many words on one page " * 4, 20, 20 + number % 700, size=4)
    page = decoded(tmp_path / "a.pdf", sheet.pdf())
    assert page.text_layer is None or len(page.text_layer) <= 200_000


# which reading wins, and how often a page is asked about

NAMES = "Name: Jo Example of the old harbour office\nStreet: Nine Lantern Street by the north gate"


def sheet_with_labels(text: str) -> bytes:
    sheet = Sheet()
    for number, line in enumerate(text.splitlines()):
        sheet.line(line, 60, 700 - 20 * number)
    return sheet.pdf()


def test_two_looks_that_agree_outvote_the_layer(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(
        sheet_with_labels("Quite another text that somebody put there\nand that no one can see in the picture")
    )
    reading = {"sample": "a.pdf", "task": "ocr", "reply": NAMES}
    turned = {"sample": "a.pdf", "task": "ocr", "step": 2, "reply": "Quite another tale that nobody ever told"}
    (row,) = rows_of(tmp_path, [path], reading, turned)
    assert row["result"]["text"] == NAMES
    assert [attempt["note"] for attempt in row["attempts"]] == ["", "enlarged"]


def test_a_few_letters_twice_outvote_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(sheet_with_labels(NAMES))
    (row,) = rows_of(
        tmp_path,
        [path],
        {"sample": "a.pdf", "task": "ocr", "reply": "IIII"},
        {"sample": "a.pdf", "task": "ocr", "step": 2, "reply": NAMES},
    )
    assert row["result"]["text"] == NAMES
    assert row["verified"]["ok"]


def test_where_no_reading_is_near_the_layer_the_first_that_has_its_words_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(sheet_with_labels("Name: Street: Town:"))
    first = {"sample": "a.pdf", "task": "ocr", "step": 0, "reply": NAMES + "\nTown: Grey Point upon the river mouth"}
    (row,) = rows_of(tmp_path, [path], {"sample": "a.pdf", "task": "ocr", "reply": "IIII"}, first)
    assert row["result"]["text"] == first["reply"]


# the files that were kept


@needs_faults
def test_right_readings_of_the_kept_files(tmp_path: Path) -> None:
    lines = (FAULTS / "make/right_readings.jsonl").read_text(encoding="utf-8").splitlines()
    replies = [json.loads(line) for line in lines]
    files = [FAULTS / "pdf" / name for name in dict.fromkeys(reply["sample"] for reply in replies)]
    for task in ("ocr", "parse_document"):
        rows = rows_of(tmp_path, files, *({**reply, "task": task} for reply in replies), task=task)
        for row in rows:
            name = Path(row["input_uri"]).name
            assert row["verified"]["ok"], (name, row["verified"])
            assert row["attempts"] is None, name
            assert row["blank"] == (name == "blank_with_layer.pdf")
            assert ("text_layer_unfit" in row["input_notes"]) == name.startswith("tounicode"), name


@needs_faults
def test_the_right_reading_of_the_kept_files_is_chosen(tmp_path: Path) -> None:
    lines = (FAULTS / "make/choose_recording.jsonl").read_text(encoding="utf-8").splitlines()
    replies = [json.loads(line) for line in lines]
    right = {reply["sample"]: reply["reply"] for reply in replies if reply.get("step") == 0}
    rows = rows_of(tmp_path, [FAULTS / "pdf" / name for name in right], *replies)
    assert {Path(row["input_uri"]).name: row["result"]["text"] for row in rows} == right
