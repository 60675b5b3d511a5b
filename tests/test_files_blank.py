"""Whether a picture shows anything: print in any color and of any size does; grain, shadows and dust do not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from model.prompts.rgb import gray_as_one
from operators.media.blank import is_blank
from tests.support.layer_pages import Sheet

Pixels = NDArray[np.uint8]
COLORS = [
    ("yellow", "white"), ("cyan", "white"), ("white", "yellow"), ("#dcdcdc", "white"), ("red", "black"),
    ("blue", "black"), ("magenta", "black"), ("red", "blue"), ("#30a030", "#30a0d0"), ("black", "white"),
    ("#1c1c1c", "black"), ("#ffffd0", "white"),
]  # fmt: skip


@pytest.mark.parametrize(("color", "background"), COLORS)
@pytest.mark.parametrize("size", [(900, 600), (1100, 1500)])
def test_print_in_any_color_is_print(color: str, background: str, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, background)
    ImageDraw.Draw(picture).text((60, 60), "Seven members were present", color, ImageFont.load_default(16))
    assert not is_blank(np.asarray(picture))
    assert is_blank(np.asarray(Image.new("RGB", size, background)))


@pytest.mark.parametrize("letter", ["1", "i", "l", "7", "a", "12", "xvii"])
@pytest.mark.parametrize("scale", [1.0, 1.3, 2.0, 2.78])
def test_a_page_with_nothing_but_its_number_is_not_blank(letter: str, scale: float) -> None:
    sheet = Sheet()
    sheet.line(letter, 300, 40, size=9)
    document = pypdfium2.PdfDocument(sheet.pdf())
    assert not is_blank(np.asarray(document[0].render(scale=scale).to_pil().convert("RGB")))


def grain(sigma: float) -> Callable[[np.random.Generator], Pixels]:
    return lambda random: np.clip(236 + random.normal(0, sigma, (1400, 1000, 3)), 0, 255).astype(np.uint8)


def shadow(random: np.random.Generator) -> Pixels:
    """At the gutter, as of a book on a scanner."""
    depth = 110 * np.exp(-np.arange(1000) / 90.0)
    page = 240 - depth[None, :, None] + random.normal(0, 4, (1400, 1000, 3))
    return np.clip(page, 0, 255).astype(np.uint8)


def jpeg(random: np.random.Generator) -> Pixels:
    page = Image.fromarray(grain(5)(random))
    stored = io.BytesIO()
    page.save(stored, "JPEG", quality=20)
    return np.asarray(Image.open(stored))


def dust(random: np.random.Generator) -> Pixels:
    page = grain(3)(random).copy()
    for _ in range(40):
        y, x = random.integers(10, 1380), random.integers(10, 980)
        height, width = random.integers(1, 5, 2)
        page[y : y + height, x : x + width] = random.integers(20, 120)
    return page


def clean_dust(random: np.random.Generator) -> Pixels:
    """Of a scan in black and white."""
    page = np.full((1400, 1000, 3), 255, np.uint8)
    for y, x in random.integers(0, 990, (40, 2)):
        page[y : y + 3, x : x + 3] = 0
    return page


def show_through(random: np.random.Generator) -> Pixels:
    """Print on the back of thin paper."""
    back = Image.new("L", (1000, 1400), 0)
    for line in range(40):
        ImageDraw.Draw(back).text(
            (60, 60 + 30 * line), "the accounts for the year just ended", 22, ImageFont.load_default(20)
        )
    faint = np.asarray(back.transpose(Image.Transpose.FLIP_LEFT_RIGHT).filter(ImageFilter.GaussianBlur(1.5)), np.int16)
    return np.clip(grain(3)(random) - faint[..., None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("empty", [grain(0), grain(4), grain(8), shadow, jpeg, dust, clean_dust, show_through])
def test_what_paper_and_scanners_leave_is_nothing(empty: Callable[[np.random.Generator], Pixels]) -> None:
    for seed in range(3):
        assert is_blank(empty(np.random.default_rng(seed)))


def test_print_amid_grain_and_shadow_is_print() -> None:
    for seed, empty in enumerate([grain(8), shadow, jpeg, dust]):
        picture = Image.fromarray(empty(np.random.default_rng(seed)))
        ImageDraw.Draw(picture).text((500, 1300), "1", "black", ImageFont.load_default(18))
        assert not is_blank(np.asarray(picture)), seed


def test_one_channel_tells_what_three_equal_ones_do() -> None:
    for seed, empty in enumerate([grain(0), grain(4), grain(8), shadow, dust, clean_dust, show_through]):
        gray = np.repeat(empty(np.random.default_rng(seed))[..., :1], 3, axis=2)
        picture = Image.fromarray(gray)
        ImageDraw.Draw(picture).text((500, 1300), "1", "black", ImageFont.load_default(18))
        for pixels in (gray, np.asarray(picture)):
            assert is_blank(gray_as_one(pixels)) == is_blank(pixels), seed
