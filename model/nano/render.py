"""Draws lines of print with exact ground truth, from a seed. Knows nothing of networks or tokens.

The same seed, Pillow and fonts give the same lines. Every line leaves here through `line_image`, the function
that cuts of real pages go through as well.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from model.nano.corpus import ASCII, LATIN_1, line_text
from model.nano.fonts import Face, missing_glyphs
from model.nano.line_image import READER, STRETCH, STRIP_HEIGHT_PX
from model.prompts.line_image import line_image

Color: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Sample:
    """A picture of a line and what it says. centers_px: the middle of each character's advance, in its pixels."""

    picture: NDArray[np.uint8]  # [32, width, 3]
    text: str
    centers_px: tuple[float, ...]
    face: str

    @property
    def width_px(self) -> int:
        return int(self.picture.shape[1])


def draw_sample(
    rng: random.Random, faces: list[Face], max_chars: int, noise: float = 1.0, text: str | None = None
) -> Sample:
    """One line in one of `faces` (by weight), at most max_chars long. noise 0 is a clean scan, 1 the usual mix."""
    if text is None:
        text = line_text(rng, max_chars)
    face = _face_for(rng, faces, text)
    size_px = rng.choice((17, 20, 24, 29, 36, 44))  # few sizes, so that opened fonts are met again
    em_px = rng.uniform(15.0, 24.0)  # of the letters in the picture
    font = face.at(size_px)
    scale = em_px / size_px
    ascent, descent = font.getmetrics()
    lengths = _prefix_lengths(face, size_px, text)

    height_px = STRIP_HEIGHT_PX / scale
    left_px, right_px = (rng.uniform(0.05, 0.6) * size_px for _ in range(2))
    # the baseline may stand wherever usual ascent and descent stay inside the picture
    above, below = min(ascent, 0.95 * size_px), min(descent, 0.26 * size_px)
    room = max(height_px - above - below, 0.0)
    baseline_px = above + rng.uniform(0.15, 0.85) * room if room else height_px * 0.78
    background, foreground = _colors(rng, noise)
    picture = Image.new("RGB", (round(left_px + lengths[-1] + right_px), round(height_px)), background)
    ImageDraw.Draw(picture).text((left_px, baseline_px), text, fill=foreground, font=font, anchor="ls")
    if noise and rng.random() < 0.1 * noise:
        _rule(rng, picture, foreground, baseline_px + 0.2 * size_px)
    if noise and rng.random() < 0.3 * noise:
        picture = _skew(rng, picture, background)
    if noise and rng.random() < 0.35 * noise:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8) * size_px / 24))

    to_strip = STRETCH * STRIP_HEIGHT_PX / picture.height
    starts = [0.0, *lengths[:-1]]
    centers = tuple((left_px + (start + end) / 2) * to_strip for start, end in zip(starts, lengths, strict=True))
    pixels = np.asarray(line_image(picture, READER))
    if noise and rng.random() < 0.4 * noise:
        grain = np.random.default_rng(rng.getrandbits(32)).standard_normal((*pixels.shape[:2], 1))
        noisy = pixels + grain.astype(np.float32) * rng.uniform(2.0, 14.0)
        pixels = noisy.clip(0, 255).astype(np.uint8)
    return Sample(pixels, text, centers, face.name)


def _prefix_lengths(face: Face, size_px: int, text: str) -> list[float]:
    """Width of text[: i + 1] for each i. Advances are summed, then spread over what kerning made of the whole:
    right to a fraction of a pixel, and far quicker than measuring every prefix."""
    total = face.at(size_px).getlength(text)
    sums = list(accumulate(_advance(face.path, size_px, character) for character in text))
    return [length * total / sums[-1] for length in sums]


@functools.cache
def _advance(path: str | None, size_px: int, character: str) -> float:
    return Face("", path, 1.0).at(size_px).getlength(character)


def _face_for(rng: random.Random, faces: list[Face], text: str) -> Face:
    weights = [face.weight for face in faces]
    for _ in range(20):
        face = rng.choices(faces, weights)[0]
        if not missing_glyphs(face.path, ASCII + LATIN_1).intersection(text):
            return face
    return faces[0] if text.isascii() else faces[-1]


def _colors(rng: random.Random, noise: float) -> tuple[Color, Color]:
    """Background and foreground: black on white mostly, else colored, at times light on dark, never too close."""
    if rng.random() > 0.55 * noise:
        gray = rng.randint(0, 40)
        return (255, 255, 255), (gray, gray, gray)
    while True:
        one, other = (_color(rng), _color(rng))
        light, dark = sorted((one, other), key=sum, reverse=True)
        if sum(light) - sum(dark) > 330:
            return (dark, light) if rng.random() < 0.3 else (light, dark)


def _color(rng: random.Random) -> Color:
    return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)


def _rule(rng: random.Random, picture: Image.Image, foreground: Color, y_px: float) -> None:
    width_px = picture.width
    start_px = rng.uniform(0, width_px * 0.6)
    end_px = rng.uniform(start_px, width_px)
    ImageDraw.Draw(picture).line((start_px, y_px, end_px, y_px), fill=foreground, width=max(1, picture.height // 30))


def _skew(rng: random.Random, picture: Image.Image, background: Color) -> Image.Image:
    """Tilt by shearing: at most a tenth of the height from one end to the other, and 0.7 degrees."""
    width_px, height_px = picture.size
    slope = rng.uniform(-1, 1) * min(0.1 * height_px / width_px, 0.012)
    return picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        (1, 0, 0, slope, 1, -slope * width_px / 2),
        Image.Resampling.BILINEAR,
        fillcolor=background,
    )
