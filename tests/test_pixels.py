"""Pixel budgets: the vectors of docs/facts/qwen3-vl.md §1.7 and §1.8, and what must hold for any size."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model.prompts.pixels import frame_pair_times_s, smart_resize, smart_resize_video
from schemas.errors import InputError

IMAGE = {"min_pixels": 65_536, "max_pixels": 16_777_216}


@pytest.mark.parametrize(
    ("height", "width", "seen", "tokens"),
    [
        (1080, 1920, (1088, 1920), 2040),
        (2160, 3840, (2176, 3840), 8160),
        (480, 640, (480, 640), 300),
        (100, 100, (256, 256), 64),
        (3508, 2480, (3520, 2496), 8580),
        (8000, 8000, (4096, 4096), 16384),
        (720, 1280, (704, 1280), 880),
        (16, 2000, (32, 2880), 90),
    ],
)
def test_images(height: int, width: int, seen: tuple[int, int], tokens: int) -> None:
    assert smart_resize(height, width, **IMAGE) == seen
    assert seen[0] // 32 * (seen[1] // 32) == tokens


@pytest.mark.parametrize(
    ("frames", "max_pixels", "seen", "tokens"),
    [
        (60, 25_165_824, (480, 832), 11_700),
        (768, 25_165_824, (128, 224), 10_752),
        (768, 458_752_000, (576, 1024), 221_184),
        (2048, 458_752_000, (352, 608), 214_016),
    ],
)
def test_clips_of_1080p(frames: int, max_pixels: int, seen: tuple[int, int], tokens: int) -> None:
    assert smart_resize_video(frames, 1080, 1920, min_pixels=4096, max_pixels=max_pixels) == seen
    assert seen[0] // 32 * (seen[1] // 32) * (frames // 2) == tokens


def test_too_long_and_thin_is_refused() -> None:
    assert smart_resize(10, 2000, **IMAGE)
    with pytest.raises(InputError, match="200 times"):
        smart_resize(10, 2001, **IMAGE)


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_any_image_comes_out_in_whole_tokens_within_the_bounds(height: int, width: int) -> None:
    assume(max(height, width) <= 200 * min(height, width))
    seen_height, seen_width = smart_resize(height, width, **IMAGE)
    assert seen_height % 32 == seen_width % 32 == 0
    assert seen_height * seen_width >= IMAGE["min_pixels"]
    # a very thin picture that is shrunk keeps one token of height
    assert seen_height * seen_width <= IMAGE["max_pixels"] or min(seen_height, seen_width) == 32


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=40))
def test_pair_times_are_means_and_an_odd_end_is_itself(times: list[float]) -> None:
    times = sorted(times)
    pairs = frame_pair_times_s(times)
    assert len(pairs) == (len(times) + 1) // 2
    assert pairs == sorted(pairs)
    assert pairs[0] == (times[0] + times[min(1, len(times) - 1)]) / 2
    if len(times) % 2:
        assert pairs[-1] == times[-1]
