"""Frames are scaled as they are coded, and each pixel gets its own color: they lie nearer to the truth than what
FFmpeg's scaler packs into RGB. The truth is made of the coded planes in floating point, with none of its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from model.prompts.rgb import RGB
from operators.media.source import opened_file
from operators.media.video.frame_picture import ClipPictures
from operators.media.video.open_container import opened
from schemas.decode import DecodeSettings
from tests.support.drawn_video import draw

HEIGHT, WIDTH = 240, 320
NEARER_DB = 3.0
Plane = NDArray[np.float32]


def photo() -> RGB:
    chance = np.random.default_rng(4)
    few = Image.fromarray(chance.integers(0, 256, (12, 16, 3), np.uint8))
    return np.asarray(few.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def signs() -> RGB:
    picture = Image.new("RGB", (WIDTH, HEIGHT), (240, 240, 230))
    pen = ImageDraw.Draw(picture)
    for row, color in enumerate(((200, 30, 30), (20, 90, 200), (10, 130, 40), (150, 20, 160)) * 3):
        pen.text((4 + row, 4 + 19 * row), "Pier 14 opens at 7:45, gate B closed", fill=color, font_size=15)
    return np.asarray(picture)


def truth(frame: Any, height: int, width: int) -> Plane:
    """[height, width, 3]. BT.601 of limited range; chroma lies left, between two lines, as H.264 has it by default."""
    luma, *chroma = [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(np.float32)
        for plane in frame.planes
    ]
    blue, red = (_full(plane, *luma.shape) - 128 for plane in chroma)
    gray = (luma - 16) * (255 / 219)
    blue, red = blue * (255 / 224), red * (255 / 224)
    colors = (gray + 1.402 * red, gray - 0.344136 * blue - 0.714136 * red, gray + 1.772 * blue)
    scaled = [_resized(color.clip(0, 255), height, width) for color in colors]
    return np.stack(scaled, axis=-1).clip(0, 255)


def _full(plane: Plane, height: int, width: int) -> Plane:
    lines = _resized(plane, height, plane.shape[1])
    full = np.empty((height, width), np.float32)
    full[:, ::2] = lines
    full[:, 1::2] = (lines + np.concatenate([lines[:, 1:], lines[:, -1:]], axis=1)) / 2
    return full


def _resized(plane: Plane, height: int, width: int) -> Plane:
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))


def nearness_db(picture: NDArray[Any], right: Plane) -> float:
    return float(10 * np.log10(255**2 / np.mean((picture.astype(np.float64) - right) ** 2)))


@pytest.mark.parametrize("picture", [photo, signs])
@pytest.mark.parametrize("max_px", [40_000, 400_000], ids=["smaller", "larger"])
def test_pictures_are_nearer_to_the_truth_than_packed_ones(tmp_path: Path, picture: Any, max_px: int) -> None:
    path = draw(tmp_path / "a.mp4", [picture()] * 2, options={"crf": "4"})
    settings = DecodeSettings(video_min_px=max_px, video_max_px=2 * max_px)
    with opened_file(path) as source, opened(source) as (container, stream):
        frame = next(container.decode(stream))
        ours = ClipPictures(stream, 2, settings).picture(frame)
    height, width = ours.shape[:2]
    assert (height, width) != (HEIGHT, WIDTH)
    packed = frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
    right = truth(frame, height, width)
    assert nearness_db(ours, right) > nearness_db(packed, right) + NEARER_DB


@pytest.mark.parametrize(
    "pixel_format", ["yuv422p", "yuv444p", "yuv420p10le", "nv12", "gray", "gray10le", "gbrp", "rgb565le"]
)
def test_other_frames_lose_nothing_by_it(tmp_path: Path, pixel_format: str) -> None:
    path = draw(tmp_path / "a.mp4", [signs()] * 2, options={"crf": "4"})
    with opened_file(path) as source, opened(source) as (container, stream):
        frame = next(container.decode(stream)).reformat(format=pixel_format)
        ours = ClipPictures(stream, 2, DecodeSettings(video_max_px=80_000)).picture(frame)
    height, width = ours.shape[:2]
    packed = frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
    full: Any = frame.to_ndarray(format="gbrp")
    right = np.stack([_resized(full[..., color].astype(np.float32), height, width) for color in range(3)], axis=-1)
    assert nearness_db(ours, right.clip(0, 255)) > nearness_db(packed, right.clip(0, 255)) - 0.1
