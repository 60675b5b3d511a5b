"""A page without colors is resized as one channel, to the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from operators.media.full_res import is_gray
from operators.media.pdf import render_pdf
from operators.media.source import opened_file
from operators.units import Decoded
from schemas.decode import DecodeSettings
from tests.support.pdf_sheet import Sheet

SETTINGS = DecodeSettings(image_min_px=1024, full_res_max_px=1 << 24)
BLACK, GRAY, RED = (f"{color} 100 300 301.5 33.3 re f".encode() for color in ("0 g", "0.6 g", "1 0 0 rg"))


@pytest.mark.parametrize(("drawn", "mode"), [(BLACK, "L"), (GRAY, "L"), (RED, "RGB"), (BLACK + b"\n" + RED, "RGB")])
def test_a_page_is_resized_to_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: bytes, mode: str
) -> None:
    path = tmp_path / "page.pdf"
    path.write_bytes(Sheet(width=500, height=700, contents=drawn).pdf())
    resize, modes = Image.Image.resize, list[str]()

    def seen(picture: Image.Image, *arguments: object, **named: object) -> Image.Image:
        modes.append(picture.mode)
        return resize(picture, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", seen)
    with opened_file(path) as source:
        (page,) = render_pdf.decode(source, render_pdf.probe(source, SETTINGS), SETTINGS)
    assert isinstance(page, Decoded)
    assert modes == [mode]
    (pixels,) = page.frames
    height, width, _ = pixels.shape
    document = pypdfium2.PdfDocument(path)
    scale = max(width / 500, height / 700)
    whole = document[0].render(scale=scale, rev_byteorder=True, fill_color=(255, 255, 255, 255)).to_pil()
    document.close()
    assert whole.mode == "RGB"
    assert np.array_equal(pixels, resize(whole, (width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 7), (65, 7), (130, 3)])
def test_one_pixel_with_a_color_is_one(shape: tuple[int, int], channel: int) -> None:
    random = np.random.default_rng(19)
    gray = np.repeat(random.integers(0, 256, (*shape, 1), np.uint8), 3, axis=2)
    assert is_gray(gray)
    for y, x in {(0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 2)}:
        colored = gray.copy()
        colored[y, x, channel] += 1
        assert not is_gray(colored)
