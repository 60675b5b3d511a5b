"""Pictures come out of their packing as they went in, and only those are compressed that get much smaller."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from model.prompts.rgb import RGB, channels_of, gray_as_one, is_gray, pack, unpack
from schemas.request import Picture

ZSTD = pa.Codec("zstd")


def noise(height: int, width: int, seed: int = 0) -> RGB:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def text(height: int, width: int) -> RGB:
    picture = Image.new("RGB", (width, height), "white")
    for y in range(0, height, 16):
        ImageDraw.Draw(picture).text((8, y), "Its lamp was lit with oil until the spring of 1922", "black")
    return np.asarray(picture)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 200), st.integers(1, 90), st.integers(0, 9), st.integers(1, 255), st.sampled_from(["all", "turned"])
)
def test_every_picture_comes_out_as_it_went_in(height: int, width: int, seed: int, grain: int, how: str) -> None:
    pixels = noise(height, width, seed) // grain * grain
    pixels[height // 3 :] //= grain  # rows alike below, whatever the sample says
    given_pixels = np.rot90(pixels) if how == "turned" else pixels
    picture = pack(given_pixels)
    assert (picture.height_px, picture.width_px) == given_pixels.shape[:2]
    assert len(picture.data) <= pixels.size
    assert np.array_equal(unpack(picture), given_pixels)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 200),
    st.integers(1, 90),
    st.integers(0, 9),
    st.sampled_from([1, 7, 255]),
    st.none() | st.integers(0, 1 << 30),
)
def test_one_channel_stands_for_all_only_where_no_pixel_has_color(
    height: int, width: int, seed: int, grain: int, colored: int | None
) -> None:
    pixels = np.repeat(noise(height, width, seed)[..., :1] // grain * grain, 3, axis=2)
    if colored is not None:
        pixels.reshape(-1)[colored % pixels.size] ^= 1 << seed % 8
    once = gray_as_one(pixels)
    assert np.array_equal(once, pixels)
    assert channels_of(once).shape[2] == (1 if colored is None else 3)
    for given_pixels in (pixels, once, np.rot90(once)):
        picture = pack(given_pixels)
        assert is_gray(picture) == (colored is None)
        assert len(picture.data) <= pixels.size // (3 if colored is None else 1)
        assert np.array_equal(unpack(picture), given_pixels)
        assert channels_of(unpack(picture)).shape[2] == channels_of(once).shape[2]


def test_print_is_compressed_and_a_photograph_is_handed_on_as_it_lies() -> None:
    page, photo = text(640, 480), noise(640, 480)
    assert len(pack(page).data) < 0.06 * page.size
    assert len(pack(page // np.array([1, 2, 1], np.uint8)).data) < 0.15 * page.size
    assert np.shares_memory(np.frombuffer(pack(photo).data, np.uint8), photo)
    assert np.shares_memory(unpack(pack(photo)), photo)
    # print in the rows that are looked at first, grain in all others
    mixed = noise(640, 480)
    mixed[np.arange(640) % 64 < 4] = 255
    assert len(pack(mixed).data) == mixed.size


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\0", bytes(64 * 32 * 3 - 1), bytes(64 * 32 * 3 + 1), b"not a frame"),
        *(ZSTD.compress(bytes(64 * 32 * 3 + step), asbytes=True) for step in (-1, 1, 1 << 20)),
        ZSTD.compress(bytes(64 * 32 * 3), asbytes=True)[:-3],
        *(bytes(64 * 32 + step) for step in (-1, 1)),
        ZSTD.compress(bytes(64 * 32), asbytes=True),
        *(b"G" + ZSTD.compress(bytes(size), asbytes=True) for size in (64 * 32 - 1, 64 * 32 + 1, 64 * 32 * 3)),
        *(b"G", b"G" + ZSTD.compress(bytes(64 * 32), asbytes=True)[:-3]),
    ],
)
def test_data_of_another_picture_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="zstd"):
        unpack(Picture(64, 32, data))
