"""The demo's inputs open in other people's readers and say what the constants say."""

from __future__ import annotations

from pathlib import Path

import av
import pypdfium2
import pytest
from PIL import Image

from jobs.demo_media import CLIP_FPS, CLIP_S, PAGES, Line, pdf_bytes, write_demo_media


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.name: path for path in write_demo_media(tmp_path_factory.mktemp("demo"))}


def page_texts(data: bytes) -> list[list[str]]:
    document = pypdfium2.PdfDocument(data)
    try:
        return [page.get_textpage().get_text_bounded().splitlines() for page in document]
    finally:
        document.close()


def test_the_document_has_its_text_layer(media: dict[str, Path]) -> None:
    texts = page_texts(media["lighthouse.pdf"].read_bytes())
    assert texts == [[line.text for line in lines] for lines in PAGES]


def test_brackets_backslashes_and_accents_survive_the_pdf_writer() -> None:
    assert page_texts(pdf_bytes(((Line(r"f(x) \ caf\xe9 é"),),))) == [[r"f(x) \ caf\xe9 é"]]


def test_pages_are_not_blank_when_rendered(media: dict[str, Path]) -> None:
    document = pypdfium2.PdfDocument(media["lighthouse.pdf"].read_bytes())
    for page in document:
        dark, bright = page.render().to_pil().convert("L").getextrema()
        assert dark < 60
        assert bright == 255
    document.close()


@pytest.mark.parametrize("name", ["sign.png", "shapes.jpg", "ticket.png"])
def test_pictures_open(media: dict[str, Path], name: str) -> None:
    with Image.open(media[name]) as picture:
        picture.load()
        assert picture.mode == "RGB"
        assert picture.convert("L").getextrema()[0] < 140


def test_the_clip_has_its_length_and_rate(media: dict[str, Path]) -> None:
    with av.open(str(media["clock.mp4"])) as container:
        times_s = [frame.time for frame in container.decode(video=0)]
    assert times_s == pytest.approx([index / CLIP_FPS for index in range(CLIP_FPS * CLIP_S)], abs=1e-6)


def test_writing_again_touches_nothing_and_mends_what_is_missing(tmp_path: Path) -> None:
    first = write_demo_media(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in first}
    gone, data = first[0], first[0].read_bytes()
    gone.unlink()
    assert write_demo_media(tmp_path) == first
    assert gone.read_bytes() == data
    assert all(path.stat().st_mtime_ns == stamps[path] for path in first if path != gone)
    assert sorted(tmp_path.iterdir()) == sorted(first)


def test_the_files_are_the_same_bytes_every_time(media: dict[str, Path], tmp_path: Path) -> None:
    for path in write_demo_media(tmp_path):
        assert path.read_bytes() == media[path.name].read_bytes(), path.name
