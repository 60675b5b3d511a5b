"""How like two pictures look: colours against published distances, and words that move, change and vanish."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from model.prompts.rgb import RGB
from operators.code_check.color_distance import delta_e, lab_of
from operators.code_check.visual_similarity import Similarity, compare, ssim

WORDS = ("Harbour office opening hours", "Monday to Friday", "Closed on public holidays", "Tickets cost seven pounds")
OTHERS = (
    "Mountain railway summer fares",
    "Sunday or Tuesday",
    "Opened by early visitors",
    "Engines need twelve wagons",
)


def page(
    words: tuple[str, ...] = WORDS, color: str = "black", background: str = "white", size: tuple[int, int] = (500, 300)
) -> RGB:
    picture = Image.new("RGB", size, background)
    font = ImageFont.load_default(20)
    for line, text in enumerate(words):
        ImageDraw.Draw(picture).text((40 + 30 * (line % 2), 30 + 60 * line), text, fill=color, font=font)
    return np.asarray(picture)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [  # Sharma, Wu, Dalal 2005, table 1: pairs 1, 4, 7, 9, 13, 15, 17, 19, 25, 31, 34
        ((50.0000, 2.6772, -79.7751), (50.0000, 0.0000, -82.7485), 2.0425),
        ((50.0000, -1.3802, -84.2814), (50.0000, 0.0000, -82.7485), 1.0000),
        ((50.0000, 0.0000, 0.0000), (50.0000, -1.0000, 2.0000), 2.3669),
        ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0009), 7.1792),
        ((50.0000, -0.0010, 2.4900), (50.0000, 0.0009, -2.4900), 4.8045),
        ((50.0000, -0.0010, 2.4900), (50.0000, 0.0011, -2.4900), 4.7461),
        ((50.0000, 2.5000, 0.0000), (73.0000, 25.0000, -18.0000), 27.1492),
        ((50.0000, 2.5000, 0.0000), (56.0000, -27.0000, -3.0000), 31.9030),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_colors_are_as_far_apart_as_published(
    one: tuple[float, ...], other: tuple[float, ...], distance: float
) -> None:
    for pair in ((one, other), (other, one)):
        assert float(delta_e(*map(np.array, pair))) == pytest.approx(distance, abs=1e-4)


def test_lab_of_known_colors() -> None:
    white, red, black = lab_of(np.array([(255, 255, 255), (255, 0, 0), (0, 0, 0)]))
    assert white == pytest.approx([100, 0, 0], abs=0.01)
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.01)
    assert float(delta_e(white, black)) == pytest.approx(100, abs=1e-3)


def test_a_picture_is_like_itself() -> None:
    assert compare(page(), page()) == Similarity(*[pytest.approx(1.0)] * 6)
    # and like itself at another size, but for what resampling costs
    large = np.asarray(Image.fromarray(page()).resize((1000, 600), Image.Resampling.BICUBIC))
    assert (compare(large, page()).score or 0) > 0.9


def test_each_change_shows_where_it_belongs() -> None:
    original = page()
    moved = compare(original, page((*WORDS[2:], *WORDS[:2])))
    assert moved.position is not None
    assert moved.position < 0.75
    assert (moved.block_match or 0) > 0.9
    tinted = compare(original, page(color="#b03060", background="#ffe9b0"))
    assert tinted.color is not None
    assert tinted.color < 0.85
    assert (tinted.position or 0) > 0.99
    # words of the same number and length, in the same places
    other = compare(original, page(OTHERS))
    assert other.text is not None
    assert other.text < 0.8
    assert (other.block_match or 0) < 0.6
    half = compare(original, page(WORDS[:2]))
    assert 0.4 < (half.block_match or 0) < 0.9
    scores = [similarity.score or 0 for similarity in (moved, tinted, other, half)]
    assert max(scores) < 0.97
    assert min(scores) > 0.3


def test_nothing_is_like_nothing() -> None:
    blank = np.full((300, 500, 3), 255, np.uint8)
    assert compare(page(), blank).score == 0.0
    nothing = compare(blank, page())
    assert (nothing.score, nothing.text) == (None, None)  # an input without words says nothing about them
    assert nothing.ssim < 1
    assert compare(blank, blank).ssim == pytest.approx(1.0)


def test_ssim_against_its_formula() -> None:
    """Two flat pictures: only the means differ, so eq. 13 is (2ab + c1) / (a^2 + b^2 + c1)."""
    a, b, c1 = 100.0, 180.0, (0.01 * 255) ** 2
    one, other = (np.full((20, 30, 3), int(value), np.uint8) for value in (a, b))
    assert ssim(one, other) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1))
    noise = np.random.default_rng(7).integers(0, 255, (60, 40, 3), np.uint8)
    assert ssim(noise, noise) == pytest.approx(1.0)
    assert ssim(noise, noise[::-1].copy()) < 0.2
    assert ssim(noise[:30], noise) < 0.8  # what is missing below counts
    tiny = np.zeros((2, 3, 3), np.uint8)
    assert ssim(tiny, tiny) == pytest.approx(1.0)
