"""A long document is opened once for many orders, and nothing of a file is there while another is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest

from jobs.demo_media import Line, pdf_bytes
from operators.media.kept_open import file_of, kept_open
from operators.media.pdf import open_pdf, render_pdf
from operators.media.sandbox import Sandbox
from operators.media.source import opened_file
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.unit import Indexed
from tests.support.world import write_image

SETTINGS = DecodeSettings(page_dpi=36.0, image_min_px=1024)
PAGES = 6


def write_pages(path: Path, word: str = "page") -> Path:
    path.write_bytes(pdf_bytes(tuple((Line(f"{word} {number}"),) for number in range(PAGES))))
    return path


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A word for every document that PDFium opened in this process, as if that were a decoder's."""
    words: list[str] = []
    plain = pypdfium2.PdfDocument

    class Counted(plain):  # type: ignore[misc,valid-type]
        def __init__(self, file: object) -> None:
            words.append("opened")
            super().__init__(file)

        def close(self, *arguments: object) -> None:
            words.append("closed")
            super().close(*arguments)

    monkeypatch.setattr(open_pdf.pypdfium2, "PdfDocument", Counted)
    yield words
    kept_open.begin(None)


def texts(path: Path, *numbers: int, settings: DecodeSettings = SETTINGS) -> list[str | None]:
    """Of pages, counted from 1, in one order."""
    with opened_file(path) as source:
        kept_open.begin(file_of(source.fd))
        answers = render_pdf.decode(source, [Planned(page=number, index="{}") for number in numbers], settings)
        pages = [next(answers) for _ in numbers]  # as a decoder does: it asks for no more than there are
    return [page.text_layer if isinstance(page, Decoded) else str(page) for page in pages]


def test_a_document_is_opened_once_for_many_orders(tmp_path: Path, opens: list[str]) -> None:
    path = write_pages(tmp_path / "a.pdf")
    assert [texts(path, 1, 2), texts(path, 3), texts(path, 3, 9, 4)] == [
        ["page 0", "page 1"],
        ["page 2"],
        ["page 2", "page 9: Failed to load page.", "page 3"],
    ]
    assert opens == ["opened"]


def test_it_is_closed_before_another_file_is_looked_at(tmp_path: Path, opens: list[str]) -> None:
    one, other = write_pages(tmp_path / "a.pdf"), write_pages(tmp_path / "b.pdf", "leaf")
    assert [texts(one, 1), texts(other, 1), texts(one, 2)] == [["page 0"], ["leaf 0"], ["page 1"]]
    assert opens == ["opened", "closed", "opened", "closed", "opened"]
    kept_open.begin(None)  # something is probed
    assert opens[-1] == "closed"
    assert texts(one, 3) == ["page 2"]


def test_a_file_that_was_changed_is_another(tmp_path: Path, opens: list[str]) -> None:
    path = write_pages(tmp_path / "a.pdf")
    assert texts(path, 1) == ["page 0"]
    status = path.stat()
    write_pages(path, "leaf")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert texts(path, 1) == ["leaf 0"]
    assert opens == ["opened", "closed", "opened"]


def test_a_form_is_drawn_or_not(tmp_path: Path, opens: list[str]) -> None:
    path = write_pages(tmp_path / "a.pdf")
    assert texts(path, 1) == texts(path, 1, settings=replace(SETTINGS, draw_forms=False))
    assert opens == ["opened", "closed", "opened"]


def test_it_is_opened_anew_after_many_pages(tmp_path: Path, opens: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_pdf, "MOST_PAGES", 4)
    path = write_pages(tmp_path / "a.pdf")
    for _ in range(4):
        assert texts(path, 1, 2) == ["page 0", "page 1"]
    assert opens == ["opened", "closed"] * 2


def test_nothing_is_kept_where_nobody_orders(tmp_path: Path, opens: list[str]) -> None:
    kept_open.begin(None)
    with opened_file(write_pages(tmp_path / "a.pdf")) as source:
        assert len(list(render_pdf.decode(source, [Planned(page=1, index="{}")], SETTINGS))) == 1
    assert opens == ["opened", "closed"]


def test_one_that_fails_is_not_kept(tmp_path: Path, opens: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    path = write_pages(tmp_path / "a.pdf")
    assert texts(path, 1) == ["page 0"]
    with monkeypatch.context() as patch:
        patch.setattr(render_pdf, "_render", fail)
        with pytest.raises(ZeroDivisionError):
            texts(path, 2)
    assert opens == ["opened", "closed"]
    assert texts(path, 2) == ["page 1"]


def test_a_decoder_holds_the_document_of_its_last_order_alone(tmp_path: Path) -> None:
    document, picture = write_pages(tmp_path / "a.pdf"), write_image(tmp_path / "b.png")
    box = Sandbox(SETTINGS)

    def held() -> set[str]:
        """Names of files that the child has open."""
        links = Path(f"/proc/{box.child_pid}/fd")
        return {link.readlink().name for link in links.iterdir()} & {"a.pdf", "b.png"}

    with closing(box):
        for number in (1, 2):
            assert len(list(box.decode(str(document), "document", [Indexed(page=number, index="{}")]))) == 1
            assert held() == {"a.pdf"}
        pid = box.child_pid
        assert len(list(box.decode(str(picture), "image", [Indexed()]))) == 1
        assert held() <= {"b.png"}  # it may still be about to close that
        assert len(list(box.decode(str(document), "document", [Indexed(page=3, index="{}")]))) == 1
        assert box.probe(str(document), None)["media"] == "document"
        assert held() <= {"a.pdf"}
        assert box.child_pid == pid
