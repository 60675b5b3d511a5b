"""The line splitter on pages drawn here, whose lines are known."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw, ImageFont

from jobs.load import parse
from model.nano.line_image import READER
from operators.text_lines.cut_lines import cut_lines
from operators.text_lines.find_lines import find_lines, reading_order, slope_of
from operators.text_lines.foreground import components
from operators.units import LineImage
from pipelines.job import prepare
from pipelines.local import answer
from schemas.decode import LineReader
from tests.support.world import write_recording

WORDS = (
    *("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "judging"),
    *("my", "quartz", "vow", "by", "every", "light", "of", "day"),
)


def font(size: int) -> ImageFont.FreeTypeFont:
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


class Page:
    """A page on which every line's foreground box is noted."""

    def __init__(
        self, width: int = 1200, height: int = 900, background: str = "white", foreground: str = "black"
    ) -> None:
        self.picture = Image.new("RGB", (width, height), background)
        self.foreground = foreground
        self.boxes: list[tuple[float, float, float, float]] = []

    def write(self, x: int, y: int, text: str, size: int = 24, foreground: str | None = None) -> Page:
        draw = ImageDraw.Draw(self.picture)
        draw.text((x, y), text, fill=foreground or self.foreground, font=font(size))
        self.boxes.append(draw.textbbox((x, y), text, font=font(size)))
        return self

    def column(self, x: int, y: int, lines: int, words: int = 6, size: int = 24, pitch: float = 1.3) -> Page:
        for line in range(lines):
            text = " ".join(WORDS[(line * 5 + i) % len(WORDS)] for i in range(words))
            self.write(x, round(y + line * size * pitch), text, size)
        return self

    def found(self) -> list[tuple[int, int, int, int]]:
        return [line.box for line in find_lines(np.asarray(self.picture.convert("L"))).lines]

    def check(self) -> None:
        """Every line once, in the order in which it was written."""
        found = self.found()
        assert len(found) == len(self.boxes)
        for mine, drawn in zip(found, self.boxes, strict=True):
            assert np.abs(np.array(mine) - np.array(drawn)).max() <= 4


def test_rows_of_solid_shapes_are_no_lines_but_bold_words_and_the_full_stop_of_a_headline_are() -> None:
    page = Page(600, 300)
    draw = ImageDraw.Draw(page.picture)
    draw.ellipse((40, 60, 160, 180), fill=(205, 45, 40))
    draw.rectangle((240, 80, 350, 190), fill=(35, 80, 190))
    draw.polygon(((430, 180), (560, 180), (495, 60)), fill=(30, 140, 70))
    assert page.found() == []
    page.write(60, 216, "red circle", 26).write(250, 216, "blue square", 26).write(430, 216, "green triangle", 26)
    page.check()
    for times in (1.5, 2, 3):  # so large that what fills them passes for background
        size = round(times * page.picture.width), round(times * page.picture.height)
        kept = io.BytesIO()
        page.picture.resize(size, Image.Resampling.BICUBIC).save(kept, "jpeg", quality=80)
        large = find_lines(np.asarray(Image.open(kept).convert("L"))).lines
        for line, drawn in zip(large, page.boxes, strict=True):
            assert np.abs(np.array(line.box) / times - np.array(drawn)).max() <= 4
    headline = Page(1200, 900).write(60, 40, "BOLD HEADLINE.", 110).column(60, 220, 8)
    assert len(headline.found()) == 9
    assert abs(headline.found()[0][2] - headline.boxes[0][2]) < 10


@pytest.mark.parametrize("text", ["k", "II", "O", "W", "1", "A k"])
def test_a_letter_that_stands_alone_is_a_line(text: str) -> None:
    assert len(Page(600, 300).write(60, 60, text, 120).found()) == 1


def test_paragraphs_of_several_sizes() -> None:
    page = Page().write(60, 30, "A heading in larger type", 48)
    page.column(60, 120, lines=8).column(60, 420, lines=6, words=8, size=16).column(60, 580, lines=3, size=36)
    page.check()


def test_figures_and_words_of_one_size_are_of_one_size() -> None:
    texts = ("Saturday and Sunday: 9:00 - 19:00", "the quick brown fox jumps over the lazy dog", "Total of 7: 1,204.50")
    page = Page()
    for row, text in enumerate(texts):
        page.write(60, 60 + 60 * row, text, 30)
    sizes = [line.em_px for line in find_lines(np.asarray(page.picture.convert("L"))).lines]
    assert sizes == pytest.approx([30] * 3, rel=0.15)


def test_two_columns_under_a_title_are_read_one_after_the_other() -> None:
    page = Page().write(60, 30, "A title that stands across both of the columns below", 40)
    # the second column is set a little lower: its rows do not match the first's
    page.column(60, 130, lines=14, words=5).column(640, 141, lines=14, words=5)
    page.check()


def test_a_heading_that_hangs_left_of_its_text_comes_before_it() -> None:
    page = Page().column(300, 60, lines=4)
    page.write(60, 230, "Next", 40)
    page.column(300, 300, lines=4)
    page.check()


def test_light_print_on_a_dark_page_and_on_a_bar() -> None:
    Page(background="#203040", foreground="white").column(60, 60, lines=5).check()
    page = Page().column(60, 60, lines=4)
    ImageDraw.Draw(page.picture).rectangle((60, 240, 560, 300), fill="black")
    page.write(80, 252, "ABOARD A BAR", 28, foreground="white").column(60, 340, lines=4)
    page.check()


def test_uneven_light_rules_and_specks_are_no_lines() -> None:
    page = Page().column(60, 60, lines=6)
    draw = ImageDraw.Draw(page.picture)
    draw.line((60, 300, 1100, 300), fill="black", width=3)
    for x in range(60, 1100, 14):  # a dotted rule
        draw.ellipse((x, 330, x + 3, 333), fill="black")
    page.column(60, 360, lines=6)
    shade = np.linspace(1.0, 0.6, page.picture.width)[None, :, None]
    page.picture = Image.fromarray((np.asarray(page.picture) * shade).astype(np.uint8))
    page.check()


def test_touching_lines_are_parted() -> None:
    page = Page(600, 300)
    for row in range(4):  # pitch below the font's own height: g and l touch
        page.write(40, 40 + row * 28, "galley light glyph flag", 32)
    assert len(page.found()) == 4


@pytest.mark.parametrize("degrees", [-2.0, 1.0, 2.5])
def test_a_tilted_page_is_read_upright_and_its_boxes_lie_on_the_original(degrees: float) -> None:
    page = Page().column(150, 150, lines=12)
    tilted = page.picture.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white")
    slope = slope_of(find_lines(np.asarray(tilted.convert("L"))))
    assert slope == pytest.approx(-np.tan(np.radians(degrees)), abs=0.003)
    line_images = cut_lines(tilted, READER, 1.0)
    boxes = {line_image.line: line_image.bbox_px for line_image in line_images}
    assert len(boxes) == 12
    foreground = np.asarray(tilted.convert("L")) < 100
    covered = np.zeros_like(foreground)
    for x0, y0, x1, y1 in boxes.values():
        covered[int(y0) - 2 : int(y1) + 3, int(x0) - 2 : int(x1) + 3] = True
    assert (foreground & ~covered).sum() < 0.002 * foreground.sum()


def test_a_blank_page_and_a_speck_have_no_lines() -> None:
    assert cut_lines(Image.new("RGB", (300, 200), "white"), READER, 1.0) == ()
    speck = Image.new("RGB", (300, 200), "white")
    speck.putpixel((20, 20), (0, 0, 0))
    assert cut_lines(speck, READER, 1.0) == ()
    assert cut_lines(Image.new("RGB", (1, 1), "black"), READER, 1.0) == ()


def line_images_of(page: Page, reader: LineReader = READER) -> tuple[LineImage, ...]:
    return cut_lines(page.picture, reader, 1.0)


def test_line_images_have_the_readers_form_and_hold_one_line_each() -> None:
    page = Page().column(60, 60, lines=5, pitch=1.05)
    line_images = line_images_of(page)
    assert [line_image.line for line_image in line_images] == [0, 1, 2, 3, 4]
    for line_image in line_images:
        height, width, _ = line_image.frame.shape
        assert height == READER.height_px
        assert width % READER.token_side_px == 0
        dark = line_image.frame.min(axis=2) < 128
        # neighbors stand close; none of their foreground may show at the edges
        assert not dark[0].any()
        assert not dark[-1].any()


def test_a_long_line_comes_in_pieces_cut_between_words() -> None:
    page = Page(1800, 120).write(20, 40, " ".join(WORDS), 24)
    line_images = line_images_of(page)
    assert len(line_images) > 1
    assert {line_image.line for line_image in line_images} == {0}
    assert all(line_image.frame.shape[1] <= READER.max_width_px + READER.token_side_px for line_image in line_images)
    for line_image in line_images:  # nothing is cut through a letter: white at both sides
        dark = line_image.frame.min(axis=2) < 128
        assert not dark[:, :2].any()


def test_colors_survive_and_other_foreground_is_wiped_away() -> None:
    page = Page(600, 200, background="#f0e0c0", foreground="#802010").write(40, 60, "rust on sand", 40)
    (line_image,) = line_images_of(page)
    assert np.abs(np.median(line_image.frame.reshape(-1, 3), axis=0) - (0xF0, 0xE0, 0xC0)).max() <= 2
    darkest = line_image.frame.reshape(-1, 3)[line_image.frame.sum(axis=2).argmin()]
    assert darkest[0] > darkest[1] + 40


def slow_components(foreground: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> set[frozenset[tuple[int, int]]]:
    """By flooding, 8 neighbors."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(foreground), strict=True)}
    found = set()
    while left:
        flood, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            flood.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.add(frozenset(flood))
    return found


@settings(max_examples=150, deadline=None)
@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_components_are_those_of_a_flood(foreground: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> None:
    labels, boxes, areas = components(foreground)
    assert ((labels > 0) == foreground).all()
    mine = set()
    for label in range(1, len(boxes)):
        ys, xs = np.nonzero(labels == label)
        assert boxes[label].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert areas[label] == len(xs)
        mine.add(frozenset(zip(ys.tolist(), xs.tolist(), strict=True)))
    assert mine == slow_components(foreground)


line_boxes = st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 300), st.integers(1, 40))


@given(st.lists(line_boxes, max_size=25))
def test_any_boxes_are_put_in_some_order_once(drawn: list[tuple[int, int, int, int]]) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in drawn]).reshape(-1, 4)
    assert sorted(reading_order(boxes)) == list(range(len(drawn)))


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60), st.just(3))))
def test_any_picture_is_cut_without_an_error(pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> None:
    for line_image in cut_lines(Image.fromarray(pixels), READER, 1.0):
        assert line_image.frame.shape[0] == READER.height_px


def test_a_split_page_is_one_row_with_its_lines(tmp_path: Path) -> None:
    page = Page(800, 300).column(60, 60, lines=3)
    page.picture.save(tmp_path / "page.png")
    recording = write_recording(
        tmp_path / "r.jsonl",
        {"sample": "*", "task": "ocr", "reply": " read \n"},
        {"sample": "*", "task": "caption", "reply": "A page."},
    )
    spec = {
        "name": "split", "inputs": [str(tmp_path / "page.png")], "tasks": ["ocr", "caption"], "output": "unused",
        "engine": {"kind": "scripted", "recording": str(recording)}, "decode": {"page_split": "lines"},
    }  # fmt: skip
    rows = {row["prompt_sha256"]: row for row in answer(prepare(parse(spec, "test")))}
    assert len(rows) == 2
    by_text = {row["result"]["text"]: row for row in rows.values()}
    assert set(by_text) == {"read\nread\nread", "A page."}
    read = by_text["read\nread\nread"]
    assert read["text"] == " read \n\n read \n\n read \n"
    assert read["finish_reason"] == "stop"
    assert read["output_tokens"] == 3
    for line, drawn in zip(read["result"]["lines"], page.boxes, strict=True):
        assert line["text"] == "read"
        assert np.abs(np.array(line["bbox_px"]) - drawn).max() <= 4
    assert json.dumps(read["result"])


def test_a_line_that_fails_fails_its_page_with_its_number(tmp_path: Path) -> None:
    Page(800, 300).column(60, 60, lines=2).picture.save(tmp_path / "page.png")
    recording = write_recording(tmp_path / "r.jsonl", {"sample": "*", "task": "ocr", "fault": "error"})
    spec = {
        "name": "split", "inputs": [str(tmp_path / "page.png")], "tasks": ["ocr"], "output": "unused",
        "engine": {"kind": "scripted", "recording": str(recording)}, "decode": {"page_split": "lines"},
    }  # fmt: skip
    (row,) = answer(prepare(parse(spec, "test")))
    assert row["status"] == "engine_failed"
    assert row["error"]["message"].startswith("part 1 of 2: ")
