"""Inputs for `sightread bench pipeline`: pages, pictures and clips, each another, from a seed."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from jobs.bench.pipeline_rounds import PAGES_A_FILE
from jobs.demo_media import Line, encode_clip, pdf_bytes

WORDS = (
    *("lamp", "tide", "harbour", "keeper", "stone", "stair", "gull", "rope", "north"),
    *("lens", "brass", "night", "ship", "oil", "clock", "rain", "log", "wind"),
)


def write_inputs(folder: Path, units: int, *, seed: int = 0) -> None:
    """Six tenths are pages of A4, three tenths pictures of 640 x 352 px, one tenth clips of 3 seconds."""
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    clips, pictures = units // 10, 3 * units // 10
    pages = units - clips - pictures
    for first in range(0, pages, PAGES_A_FILE):
        count = min(PAGES_A_FILE, pages - first)
        content = tuple(tuple(Line(words(chance, 9)) for _ in range(28)) for _ in range(count))
        (folder / f"pages-{first:05d}.pdf").write_bytes(pdf_bytes(content))
    for number in range(pictures):
        _picture(chance, (640, 352)).save(folder / f"picture-{number:05d}.png")
    for number in range(clips):
        encode_clip(folder / f"clip-{number:05d}.mp4", [_picture(chance, (320, 192)) for _ in range(6)] * 4, 8)


def write_picture(path: Path) -> None:
    """One of these, as PNG; always the same."""
    _picture(random.Random(0), (640, 352)).save(path)


def _picture(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGB", size, tuple(chance.randrange(128, 256) for _ in range(3)))
    draw = ImageDraw.Draw(picture)
    for row in range(3):
        draw.text((20, 20 + 60 * row), words(chance, 4), fill="black", font=ImageFont.load_default(28))
    return picture


def words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(count))
