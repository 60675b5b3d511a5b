"""Pages are drawn at the sizes that are wanted of them, and look as those that were drawn larger and resized, or
better. The truth is the same page, drawn four times as wide and high, each square of 4 x 4 pixels as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from jobs.demo_media import Line, pdf_bytes
from model.prompts.rgb import RGB
from operators.media.pdf import render_pdf
from operators.media.source import opened_file
from operators.units import Decoded
from schemas.decode import DecodeSettings, LineReader
from tests.support.pdf_sheet import Sheet

SETTINGS = DecodeSettings(image_min_px=1024, image_max_px=1 << 20)
SMALLER = replace(SETTINGS, image_max_px=1 << 18)
FINE = 4
WORSE_DB = 0.25
"""Print is nearer to the truth by as much and more; thin slanted lines alone may be farther."""


def text_page() -> bytes:
    lines = [Line("Chapter 4", "Helvetica-Bold", 18, 30)]
    lines += [
        Line(
            "Its lamp was lit with oil until the spring of 1922, when the harbour office paid", "Times-Roman", size, 16
        )
        for size in (7, 9, 10, 11, 12) * 8
    ]
    return pdf_bytes((tuple(lines),))


def drawing() -> bytes:
    sheet = Sheet(width=500, height=700)
    sheet.draw(b"0.2 0.4 0.9 rg 60 80 150.3 90.7 re f 1 0 0 RG 0.7 w")
    sheet.draw(b"\n".join(b"%d 200 m %d 600 l S" % (20 + 9 * k, 60 + 10 * k) for k in range(40)))
    random = np.random.default_rng(5)
    smooth = Image.fromarray(random.integers(0, 256, (12, 9), np.uint8)).resize((180, 240), Image.Resampling.BICUBIC)
    grain = np.asarray(smooth).astype(int) + random.normal(0, 12, (240, 180)).astype(int)
    name = sheet.image(180, 240, grain.clip(0, 255).astype(np.uint8).tobytes())
    sheet.draw(b"q 180.5 0 0 240.5 280 300 cm /%s Do Q" % name.encode())
    return sheet.pdf()


PAGES = {"text": text_page, "drawing": drawing}


@pytest.fixture(params=PAGES)
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "page.pdf"
    path.write_bytes(PAGES[request.param]())
    return path


@pytest.fixture
def page(path: Path) -> Iterator[pypdfium2.PdfPage]:
    with closing(pypdfium2.PdfDocument(path)) as document:
        yield document[0]


def decoded(path: Path, settings: DecodeSettings) -> Decoded:
    with opened_file(path) as source:
        (unit,) = render_pdf.decode(source, render_pdf.probe(source, settings), settings)
    assert isinstance(unit, Decoded)
    return unit


def resized(page: pypdfium2.PdfPage, size: tuple[int, int]) -> RGB:
    """The page as it was drawn before: in proportion and no smaller, then resized."""
    scale = max(wanted / given for wanted, given in zip(size, page.get_size(), strict=True))
    picture = page.render(scale=scale, rev_byteorder=True, fill_color=(255, 255, 255, 255)).to_pil()
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def psnr(pixels: RGB, truth: np.ndarray[tuple[int, int, int], np.dtype[np.float64]]) -> float:
    """In decibels."""
    return float(10 * np.log10(255**2 / np.mean((pixels - truth) ** 2)))


@pytest.mark.parametrize("settings", [SETTINGS, SMALLER], ids=["large", "small"])
def test_a_page_is_nearer_to_what_it_shows_than_one_that_was_resized(
    path: Path, page: pypdfium2.PdfPage, settings: DecodeSettings
) -> None:
    (pixels,) = decoded(path, settings).frames
    height, width, _ = pixels.shape
    fine = render_pdf._drawn(page, (FINE * width, FINE * height))
    truth = fine.reshape(height, FINE, width, FINE, 3).mean(axis=(1, 3))
    before = resized(page, (width, height))
    assert psnr(pixels, truth) >= psnr(before, truth) - WORSE_DB
    assert np.abs(pixels.astype(int) - before).mean() <= 4


def test_nothing_is_resized_after_it_was_drawn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Image.Image, "resize")
    unit = decoded(path, replace(SETTINGS, full_res_max_px=1 << 22))
    assert unit.full_res is not None
    assert unit.full_res.shape[0] > unit.frames[0].shape[0]


def test_no_look_at_a_page_depends_on_which_others_are_taken(path: Path) -> None:
    alone = decoded(path, SETTINGS)
    full = decoded(path, replace(SETTINGS, full_res_max_px=1 << 22))
    lines = decoded(path, replace(SETTINGS, line_reader=LineReader()))
    both = decoded(path, replace(SETTINGS, full_res_max_px=1 << 22, line_reader=LineReader()))
    for other in (full, lines, both):
        assert np.array_equal(alone.frames[0], other.frames[0])
        assert alone.facts() == other.facts()
    assert full.full_res is not None
    assert both.full_res is not None
    assert np.array_equal(full.full_res, both.full_res)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_mark_is_where_the_rows_say(tmp_path: Path, turn: int) -> None:
    """By the share of the sides, which answers are in, the page's pixels and the model's are one."""
    sheet = Sheet(width=500, height=703, page=b"/Rotate %d" % turn)
    sheet.draw(b"0 g 100 203 150 90 re f")
    path = tmp_path / "mark.pdf"
    path.write_bytes(sheet.pdf())
    unit = decoded(path, SETTINGS)
    assert (unit.width_px, unit.height_px) == ((1000, 1406) if turn % 180 == 0 else (1406, 1000))
    dark = (unit.frames[0] < 128).all(axis=2)
    height, width = dark.shape
    rows, columns = np.nonzero(dark)
    left, right, top, bottom = 100 / 500, 250 / 500, 1 - 293 / 703, 1 - 203 / 703
    shown = {
        0: (left, top, right, bottom),
        90: (1 - bottom, left, 1 - top, right),
        180: (1 - right, 1 - bottom, 1 - left, 1 - top),
        270: (top, 1 - right, bottom, 1 - left),
    }[turn]
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.array(box) - np.array(shown) * [width, height, width, height]).max() <= 1
