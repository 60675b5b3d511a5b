"""Neighbors of the faults that public documents showed: what a patient reader makes of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from operators.checks.page_check import text_faults
from schemas.decode import DecodeSettings
from schemas.task import View
from tests.support.decoded import Eye, eye
from tests.support.media import pdf_of
from tests.support.pdf_sheet import Sheet, stream

LINES = [
    "The committee met on Tuesday morning in the old town hall.",
    "Seven members were present and two had sent their excuses.",
    "The treasurer read the accounts for the year just ended.",
]
FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


@pytest.fixture(scope="module")
def looking() -> Iterator[Eye]:
    with eye(DecodeSettings(image_min_px=32 * 32, image_max_px=512 * 512, timeout_s=120)) as opened:
        yield opened


def two_pages(root: bytes = b"/Type /Pages", page: bytes = b"/Type /Page") -> bytes:
    """root, page: what the tree and its first page call themselves."""
    rest = b"/Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 6 0 R >> >> /Contents 5 0 R"
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< %s /Kids [3 0 R 4 0 R] /Count 2 >>" % root,
            b"<< %s %s >>" % (page, rest),
            b"<< /Type /Page %s >>" % rest,
            stream(b"BT /F1 14 Tf 72 700 Td (%s) Tj ET" % LINES[0].encode()),
            FONT,
        ]
    )


@pytest.mark.parametrize(("root", "page"), [(b"/Type /Pages", b"/Type /Pages"), (b"/Type /Page", b"/Type /Page")])
def test_a_node_is_what_it_holds_whatever_it_calls_itself(
    tmp_path: Path, looking: Eye, root: bytes, page: bytes
) -> None:
    (path := tmp_path / "a.pdf").write_bytes(two_pages(root, page))
    rows = looking.rows(path, "document")
    assert [(row.kind, row.facts.get("text_layer"), row.notes) for row in rows] == [(None, LINES[0], ())] * 2


@pytest.mark.parametrize("padding", [b"\0" * 3000, b"\r\n" * 5000])
def test_what_fills_up_a_block_behind_a_document_cuts_nothing(tmp_path: Path, looking: Eye, padding: bytes) -> None:
    (path := tmp_path / "a.pdf").write_bytes(two_pages() + padding)
    assert [(row.kind, row.notes) for row in looking.rows(path, "document")] == [(None, ())] * 2


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("off_pt", [1, 3, 6])
def test_a_shadow_is_no_second_text(tmp_path: Path, looking: Eye, off_pt: int, behind: bool) -> None:
    sheet = Sheet()
    lines = [line[:34] for line in LINES]
    for off, color in [(off_pt, b"0.6 g"), (0, b"0 g")] if behind else [(0, b"0 g"), (off_pt, b"0.6 g")]:
        for number, line in enumerate(lines):
            sheet.line(line, 40 + off, 700 - 45 * number - off, size=30, how=color)
    (path := tmp_path / "a.pdf").write_bytes(sheet.pdf())
    row = looking.row(path, "document")
    check = text_faults("\n".join(lines), View("page", 0, text_layer=row.facts["text_layer"], blank=False))
    assert check.faults == ()
    assert check.missing_words is not None
    assert check.missing_words <= 1


def test_a_heading_in_other_letters_blames_nobody() -> None:
    heading = "Annual report\nof the harbor office"
    layer = "".join(chr(ord(char) + 1) if char.isalpha() else char for char in heading)
    view = View("page", 0, text_layer=layer, blank=False)
    assert text_faults(heading, view).faults == ()
    assert text_faults("Minutes of the meeting held in May", view).faults == ("text_layer",)
