"""The pages of documents as they are: by the tree and not by its /Count, at the size that is shown, and a word where a
page is lost, locked, or stands in for something else. A page is known by its width: page k is 100 + 10 k points wide.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest

from jobs.demo_media import Line, pdf_bytes
from model.prompts.rgb import unpack
from operators.media.sandbox import Sandbox
from schemas.checkout import ROOT
from schemas.decode import DecodeSettings, LineReader
from schemas.request import Picture
from schemas.unit import Indexed
from tests.support.media import pdf_of, write_encrypted_pdf
from tests.support.samples import shared

SETTINGS = DecodeSettings(page_dpi=72.0, image_min_px=1024, image_max_px=1 << 18, timeout_s=30.0)
CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
LOST, WHITE = "malformed", 255


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    box = Sandbox(SETTINGS)
    yield box
    box.close()


def page(k: int, more: bytes = b"/Parent 2 0 R") -> bytes:
    return b"<< /Type /Page /MediaBox [0 0 %d 200] %s >>" % (100 + 10 * k, more)


def pages_node(kids: bytes, count: bytes = b"/Count 3", more: bytes = b"") -> bytes:
    return b"<< /Type /Pages /Kids [%s] %s %s >>" % (kids, count, more)


def written(path: Path, objects: list[bytes]) -> Path:
    path.write_bytes(pdf_of(objects))
    return path


def probe(box: Sandbox, path: Path) -> list[dict[str, Any]]:
    """The units. Fails where the input is refused."""
    answer = box.probe(str(path), "document")
    assert "error" not in answer, answer
    units: list[dict[str, Any]] = answer["units"]
    return units


def refusal(box: Sandbox, path: Path) -> tuple[str, str]:
    error = box.probe(str(path), "document")["error"]
    return error["kind"], error["message"]


def rows_of(
    box: Sandbox, path: Path, *, by_index: bool = True, settings: DecodeSettings = SETTINGS
) -> list[dict[str, Any]]:
    """A row for each page, by what the probe wrote down or looked up anew; what the probe calls lost is not decoded in
    the first case."""
    units = probe(box, path)
    assert [unit["page"] for unit in units] == list(range(1, len(units) + 1))
    orders = [
        Indexed(page=unit["page"], index=unit["index"] if by_index else None)
        for unit in units
        if not (by_index and unit["error"])
    ]
    batches = box.decode(str(path), "document", orders, settings)
    rows = {order.page: batch.to_pylist()[0] for order, batch in zip(orders, batches, strict=True)}
    return [rows.get(unit["page"], unit) for unit in units]


def shown(box: Sandbox, path: Path) -> list[int | str]:
    """Which pages are read, k of each, or why not. The same by the probe's index and without it."""
    answers = [
        [
            row["error"]["kind"] if row["error"] else (row["width_px"] - 100) // 10
            for row in rows_of(box, path, by_index=i)
        ]
        for i in (True, False)
    ]
    assert answers[0] == answers[1]
    return answers[0]


def picture(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    (only,) = row["pictures"]
    return unpack(Picture(only["width_px"], only["height_px"], only["data"]))


# the tree


@pytest.mark.parametrize(
    "count",
    [b"", *(b"/Count %s" % text for text in (b"1", b"2", b"0", b"-3", b"4", b"100000", b"2147483647", b"(3)", b"3.0"))],
)
def test_the_pages_are_counted_and_count_is_not_believed(tmp_path: Path, box: Sandbox, count: bytes) -> None:
    path = written(tmp_path / "a.pdf", [CATALOG, pages_node(b"3 0 R 4 0 R 5 0 R", count), *map(page, range(3))])
    assert shown(box, path) == [0, 1, 2]


def test_wrong_counts_further_down_move_no_page(tmp_path: Path, box: Sandbox) -> None:
    up = b"/Parent 2 0 R"
    nodes = [pages_node(b"5 0 R 6 0 R", b"/Count 1", up), pages_node(b"7 0 R", b"/Count 2", up)]
    path = written(tmp_path / "a.pdf", [CATALOG, pages_node(b"3 0 R 4 0 R"), *nodes, *(page(k, b"") for k in range(3))])
    assert shown(box, path) == [0, 1, 2]


@pytest.mark.parametrize(
    "kids",
    [
        b"null 3 0 R 4 0 R 5 0 R",
        b"3 0 R 4 0 R null 5 0 R null",
        b"3 0 R 99 0 R 4 0 R 5 0 R",  # an object that is not there is null
        b"17 3 0 R (x) 4 0 R /Name 5 0 R [3 0 R]",
        b"3 0 R 6 0 R 4 0 R 5 0 R",  # a font
        b"3 0 R << >> 4 0 R 5 0 R",
        b"3 0 R 2 0 R 4 0 R 5 0 R",  # the node itself
        b"3 0 R 4 0 R 1 0 R 5 0 R",  # the catalog
    ],
)
def test_kids_that_are_no_pages_cost_no_page(tmp_path: Path, box: Sandbox, kids: bytes) -> None:
    objects = [CATALOG, pages_node(kids), *map(page, range(3)), b"<< /Type /Font /Subtype /Type1 >>"]
    assert shown(box, written(tmp_path / "a.pdf", objects)) == [0, 1, 2]


def test_pages_that_stand_in_the_tree_itself_or_do_not_say_what_they_are_are_read(tmp_path: Path, box: Sandbox) -> None:
    mute = page(1).replace(b"/Type /Page ", b"")
    wrong = page(2).replace(b"/Page ", b"/Pgae ")
    path = written(tmp_path / "a.pdf", [CATALOG, pages_node(page(0) + b"3 0 R 4 0 R", b"/Count 9"), mute, wrong])
    assert shown(box, path) == [0, 1, 2]


def test_a_page_named_twice_is_shown_twice(tmp_path: Path, box: Sandbox) -> None:
    for count in (b"/Count 3", b"/Count 1"):
        path = written(tmp_path / "a.pdf", [CATALOG, pages_node(b"3 0 R 4 0 R 3 0 R", count), page(0), page(1)])
        assert shown(box, path) == [0, 1, 0]


def test_a_circle_has_an_end(tmp_path: Path, box: Sandbox) -> None:
    below = pages_node(b"2 0 R 5 0 R 4 0 R", b"/Count 2", b"/Parent 2 0 R")
    path = written(tmp_path / "a.pdf", [CATALOG, pages_node(b"3 0 R 2 0 R 4 0 R"), page(0), below, page(1)])
    assert shown(box, path) == [0, 1]


def test_a_tree_is_followed_as_deep_as_it_goes(tmp_path: Path, box: Sandbox) -> None:
    deep = 10_000
    nodes = [pages_node(b"%d 0 R" % number, b"/Count 1") for number in range(3, deep + 3)]
    assert shown(box, written(tmp_path / "a.pdf", [CATALOG, *nodes, page(4)])) == [4]


def test_the_root_of_the_tree_may_be_the_page(tmp_path: Path, box: Sandbox) -> None:
    assert shown(box, written(tmp_path / "a.pdf", [CATALOG, page(3, b"")])) == [3]


@pytest.mark.parametrize(
    "nodes",
    [
        # 2 ** 24 pages by nodes that are shared, or none at all
        [*(pages_node(b"%d 0 R %d 0 R" % (k, k)) for k in range(3, 27)), page(0)],
        [*(pages_node(b"%d 0 R %d 0 R" % (k, k)) for k in range(3, 27)), pages_node(b"")],
        # 300 nodes with one array of 300 pages
        [
            pages_node(b" ".join(b"%d 0 R" % k for k in range(3, 303))),
            *[b"<< /Type /Pages /Kids 303 0 R /Count 300 >>"] * 300,
            b"[%s]" % b" ".join(b"%d 0 R" % k for k in range(304, 604)),
            *(page(k) for k in range(300)),
        ],
        [pages_node(b"3 0 R " * 60_000, b"/Count 60000"), page(0)],
    ],
    ids=["shared nodes", "shared nodes without pages", "shared kids", "one page"],
)
def test_a_small_file_does_not_stand_for_many_pages(tmp_path: Path, box: Sandbox, nodes: list[bytes]) -> None:
    kind, message = refusal(box, written(tmp_path / "a.pdf", [CATALOG, *nodes]))
    assert kind == "too_large"
    assert message == "it lists more than 65,536 pages, or the same ones again and again"


def test_what_pages_inherit_they_have_in_a_tree_that_is_set_right(tmp_path: Path, box: Sandbox) -> None:
    """From the node above, whatever the page's own /Parent: size, turn, and the state in which nothing is opaque."""
    content = b"/Clear gs 0 g 20 20 60 160 re f"
    above = b"/MediaBox [0 0 110 200] /Rotate 90 /Resources << /ExtGState << /Clear << /ca 0 >> >> >>"
    for parent in (b"/Parent 2 0 R", b"", b"/Parent 99 0 R"):
        kid = b"<< /Type /Page /Contents 4 0 R %s >>" % parent
        for count in (b"/Count 1", b"/Count 7"):
            node = pages_node(b"3 0 R", count, above)
            stream = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)
            (row,) = rows_of(box, written(tmp_path / "a.pdf", [CATALOG, node, kid, stream]))
            assert (row["width_px"], row["height_px"]) == (200, 110), (parent, count)
            assert picture(row).mean() == WHITE


def saved(pdf: pikepdf.Pdf, count: int, path: Path, **options: Any) -> Path:
    """With that /Count, which is put in behind qpdf's back."""
    pdf.Root.Pages.Count = count
    pdf.save(path, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"object_stream_mode": pikepdf.ObjectStreamMode.generate},
        {"encryption": pikepdf.Encryption(user="", owner="secret", R=6)},
        {"encryption": pikepdf.Encryption(user="", owner="secret", R=4)},
        {"encryption": pikepdf.Encryption(user="", owner="secret", R=3, aes=False, metadata=False)},
    ],
    ids=["object streams", "AES 256", "AES 128", "RC4"],
)
def test_wherever_the_tree_lies_it_is_walked(tmp_path: Path, box: Sandbox, options: dict[str, Any]) -> None:
    pdf = pikepdf.open(io.BytesIO(pdf_bytes(tuple((Line(f"page {k}"),) for k in range(3)))))
    for k, sheet in enumerate(pdf.pages):
        sheet.MediaBox = [0, 0, 100 + 10 * k, 842]
    for count in (3, 1, 50):
        assert shown(box, saved(pdf, count, tmp_path / "a.pdf", **options)) == [0, 1, 2]


def test_of_a_file_that_was_added_to_the_last_tree_counts(tmp_path: Path, box: Sandbox) -> None:
    first = pdf_of([CATALOG, pages_node(b"3 0 R", b"/Count 1"), page(0)])
    place, node = len(first), b"2 0 obj\n%s\nendobj\n" % pages_node(b"3 0 R 4 0 R", b"/Count 1")
    added = b"4 0 obj\n%s\nendobj\n" % page(1)
    table = b"xref\n2 1\n%010d 00000 n \n4 1\n%010d 00000 n \n" % (place, place + len(node))
    trailer = b"trailer\n<< /Size 5 /Root 1 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n" % (
        first.index(b"xref\n"), place + len(node) + len(added),
    )  # fmt: skip
    (tmp_path / "a.pdf").write_bytes(first + node + added + table + trailer)
    assert shown(box, tmp_path / "a.pdf") == [0, 1]


def test_a_document_without_pages_says_so(tmp_path: Path, box: Sandbox) -> None:
    path = written(tmp_path / "a.pdf", [CATALOG, pages_node(b"null", b"/Count 3")])
    assert refusal(box, path) == ("no_frames", "the document has no pages")


# damage


def without(data: bytes, number: int) -> bytes:
    """The file with that object overwritten."""
    start = data.index(b"\n%d 0 obj" % number) + 1
    end = data.index(b"endobj", start) + 6
    return data[:start] + b"#" * (end - start) + data[end:]


FOUR = pdf_of([CATALOG, pages_node(b"3 0 R 4 0 R 5 0 R 6 0 R", b"/Count 4"), *map(page, range(4))])


@pytest.mark.parametrize("table", [b"startxref\n", b"startxref\n9"], ids=["table right", "table wrong"])
@pytest.mark.parametrize(("number", "expected"), [(3, [LOST, 1, 2, 3]), (5, [0, 1, LOST, 3]), (6, [0, 1, 2, LOST])])
def test_a_page_that_is_lost_is_one_row(
    tmp_path: Path, box: Sandbox, number: int, expected: list[int | str], table: bytes
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(without(FOUR, number).replace(b"startxref\n", table))
    assert shown(box, path) == expected


def test_of_a_file_without_its_end_all_that_is_there_is_read_and_it_is_told(tmp_path: Path, box: Sandbox) -> None:
    """The tree first or last in the file."""
    sheets = [page(k, b"/Parent 99 0 R") for k in range(12)]
    kids = [b"%d 0 R" % number for number in range(3, 15)]
    first = pdf_of([CATALOG, pages_node(b" ".join(kids), b"/Count 12"), *sheets])
    last = pdf_of([b"null", b"null", *sheets, pages_node(b" ".join(kids)), CATALOG.replace(b"2 0", b"15 0")])
    for data, cut_at, expected in (
        (first, first.index(b"xref\n"), [*range(12)]),
        (first, first.index(b"11 0 obj"), [*range(8), *[LOST] * 4]),
        (last, last.index(b"15 0 obj"), [*range(12)]),
        (last, last.index(b"9 0 obj"), [*range(6)]),
    ):
        (tmp_path / "a.pdf").write_bytes(data[:cut_at])
        assert shown(box, tmp_path / "a.pdf") == expected
        there = [row for row in rows_of(box, tmp_path / "a.pdf") if not row["error"]]
        assert {tuple(row["input_notes"]) for row in there} == {("truncated",)}


def test_a_table_that_is_wrong_alone_is_no_fault(tmp_path: Path, box: Sandbox) -> None:
    (tmp_path / "a.pdf").write_bytes(FOUR.replace(b"startxref\n", b"startxref\n9"))
    assert shown(box, tmp_path / "a.pdf") == [0, 1, 2, 3]
    assert {tuple(row["input_notes"]) for row in rows_of(box, tmp_path / "a.pdf")} == {()}


# locks


@pytest.mark.parametrize(
    "encrypt",
    [
        b"<< /Filter /Adobe.PubSec /SubFilter /adbe.pkcs7.s5 /V 4 /Length 128 /Recipients [<00>] >>",
        b"<< /Filter /Vendor.Own /V 9 >>",
        b"<< /Filter /Standard /V 9 /R 9 /O (%s) /U (%s) /P -4 >>" % (b"o" * 32, b"u" * 32),
        b"<< /Filter /Standard /V 5 /R 6 /Length 256 /O (%s) /U (%s) /OE (%s) /UE (%s) /Perms (%s) /P -4 >>"
        % (b"o" * 48, b"u" * 48, b"e" * 32, b"e" * 32, b"p" * 16),
    ],
    ids=["by certificate", "a vendor's", "a later version", "AES"],
)
def test_a_document_that_is_locked_says_so(tmp_path: Path, box: Sandbox, encrypt: bytes) -> None:
    data = pdf_of([CATALOG, pages_node(b"3 0 R", b"/Count 1"), page(0), encrypt])
    ids = b"/Encrypt 4 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]"
    (tmp_path / "a.pdf").write_bytes(data.replace(b"/Root 1 0 R", b"/Root 1 0 R " + ids))
    kind, message = refusal(box, tmp_path / "a.pdf")
    assert kind == "encrypted", message
    assert message.startswith("the document ")


def test_a_password_is_asked_for(tmp_path: Path, box: Sandbox) -> None:
    assert refusal(box, write_encrypted_pdf(tmp_path / "a.pdf")) == ("encrypted", "the document needs a password")


# forms


FORM = b"/AcroForm << /Fields [%s] %s >>"
XFA = b"/XFA [(template) 5 0 R]"


def with_form(path: Path, catalog: bytes, content: bytes, sheets: int = 1) -> Path:
    text = b"BT /F1 12 Tf 20 100 Td (%s) Tj ET" % content
    font = b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> /Contents 4 0 R"
    kids = b" ".join([b"3 0 R"] * sheets)
    return written(
        path,
        [
            b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
            pages_node(kids, b"/Count %d" % sheets),
            page(40, b"/Parent 2 0 R " + font),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
            b"<< /Length 11 >>\nstream\n<template/>\nendstream",
            b"<< /FT /Tx /T (name) /V (Ada) >>",
        ],
    )


@pytest.mark.parametrize(
    ("form", "text", "sheets", "is_stand_in"),
    [
        (FORM % (b"", XFA) + b" /NeedsRendering true", b"Please wait...", 1, True),
        (FORM % (b"", XFA) + b" /NeedsRendering true", b"Bitte warten", 1, True),
        (FORM % (b"", XFA), b"Please wait... If this message is not eventually replaced", 1, True),
        (FORM % (b"", XFA), b"Request for quotations, of five pages", 5, False),  # laid out already
        (FORM % (b"", XFA), b"Request for quotations", 1, False),
        (FORM % (b"6 0 R", XFA), b"Please wait at the door", 1, False),
        (FORM % (b"6 0 R", b""), b"Please wait at the door", 1, False),
        (b"/NeedsRendering true", b"Please wait at the door", 1, False),
    ],
)
def test_a_form_that_only_its_makers_program_shows_is_told(
    tmp_path: Path, box: Sandbox, form: bytes, text: bytes, sheets: int, is_stand_in: bool
) -> None:
    path = with_form(tmp_path / "a.pdf", form, text, sheets)
    for by_index in (True, False):
        notes = {tuple(row["input_notes"]) for row in rows_of(box, path, by_index=by_index)}
        assert notes == {("xfa_form",) if is_stand_in else ()}


def filled(path: Path, fields: list[bytes], sheets: int = 1) -> Path:
    """A form with one field that is filled in, drawn black where it lies, and then those fields."""
    numbers = b" ".join(b"%d 0 R" % number for number in (5, 7) if number == 5 or fields)
    black = b"0 g 0 0 60 60 re f"
    return written(
        path,
        [
            b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [%s] >> >>" % numbers,
            pages_node(b" ".join([b"3 0 R"] * sheets), b"/Count %d" % sheets),
            page(0, b"/Parent 2 0 R /Annots [5 0 R]"),
            b"null",
            b"<< /Subtype /Widget /FT /Tx /T (a) /V (x) /Rect [20 20 80 80] /P 3 0 R /F 4 /AP << /N 6 0 R >> >>",
            b"<< /Type /XObject /Subtype /Form /BBox [0 0 60 60] /Length %d >>\nstream\n%s\nendstream"
            % (len(black), black),
            *fields,
        ],
    )


def test_a_form_is_drawn_and_nothing_is_noted(tmp_path: Path, box: Sandbox) -> None:
    (row,) = rows_of(box, filled(tmp_path / "a.pdf", []))
    assert row["input_notes"] == []
    assert picture(row).min() == 0


def test_a_form_that_hangs_is_left_out_at_the_cost_of_one_try(tmp_path: Path, box: Sandbox) -> None:
    """Its fields have two kids each that are one, forty levels deep."""
    levels = [b"<< /Parent %d 0 R /Kids [%d 0 R %d 0 R] >>" % (k - 1, k + 1, k + 1) for k in range(7, 47)]
    path = filled(tmp_path / "a.pdf", [*levels, b"<< /FT /Tx /Parent 46 0 R >>"], sheets=4)
    rows = rows_of(box, path, settings=replace(SETTINGS, timeout_s=3.0))
    assert [row["error"] for row in rows] == [None] * 4
    assert {tuple(row["input_notes"]) for row in rows} == {("form_left_out",)}


# sizes

SHEET = b"/MediaBox [0 0 300 400] "


@pytest.mark.parametrize(
    ("boxes", "size"),
    [
        (SHEET + b"/CropBox [200 300 50 60]", (150, 240)),  # whichever corners
        (SHEET + b"/CropBox [50 50 9999999 200]", (250, 150)),
        (SHEET + b"/CropBox [400 500 600 700]", (300, 400)),  # beside the sheet
        (SHEET + b"/CropBox [400 500 600 700] /Rotate 90", (400, 300)),
        (SHEET + b"/CropBox [300 0 600 400]", (300, 400)),  # they touch
        (SHEET + b"/CropBox [299.99 0 600 400]", (300, 400)),
        (SHEET + b"/CropBox [100 100 100 100]", (300, 400)),
        (SHEET + b"/CropBox [nan nan nan nan]", (300, 400)),
        (SHEET + b"/CropBox [1 2 3]", (300, 400)),
        (SHEET + b"/CropBox [-99999999999 -99999999999 99999999999 99999999999]", (300, 400)),
        (b"/MediaBox [300 400 0 0]", (300, 400)),
        (b"/MediaBox [0 0 300 0]", (612, 792)),
        (b"/MediaBox [nan 0 300 400]", (612, 792)),
        (b"", (612, 792)),
        (b"/MediaBox [0 0 0.5 0.5]", (1, 1)),
        (b"/MediaBox [0 0 999999999 999999999]", (1_000_000, 1_000_000)),
        (SHEET + b"/Rotate -90", (400, 300)),
        (SHEET + b"/Rotate 450", (400, 300)),
        (SHEET + b"/Rotate 45", (300, 400)),
        (SHEET + b"/Rotate (x)", (300, 400)),
        (SHEET + b"/UserUnit 2", (600, 800)),
        (SHEET + b"/UserUnit 2.5 /Rotate 90 /CropBox [0 0 100 200]", (500, 250)),
        (SHEET + b"/UserUnit -3", (300, 400)),
        (SHEET + b"/UserUnit (x)", (300, 400)),
        (b"/MediaBox [0 0 3600 7200] /UserUnit 10", (36_000, 72_000)),
        (SHEET + b"/UserUnit 75000", (750_000, 1_000_000)),  # in proportion
        (SHEET + b"/UserUnit " + b"9" * 400, (300, 400)),
    ],
)
def test_a_page_is_as_large_as_what_is_shown_of_it(
    tmp_path: Path, box: Sandbox, boxes: bytes, size: tuple[int, int]
) -> None:
    """All of it is blue, so whatever is shown of the page and nothing else is."""
    blue = b"0 0 1 rg -99999 -99999 199999 199999 re f"
    stream = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(blue), blue)
    kid = b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R %s >>" % boxes
    for count in (b"/Count 1", b"/Count 2"):
        (row,) = rows_of(box, written(tmp_path / "a.pdf", [CATALOG, pages_node(b"3 0 R", count), kid, stream]))
        assert (row["width_px"], row["height_px"]) == size
        pixels = picture(row)
        assert size[0] > 9999 or (pixels == (0, 0, WHITE)).all()
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(size[0] / size[1], rel=0.2)


def test_a_page_that_is_nearly_a_line_is_too_large(tmp_path: Path, box: Sandbox) -> None:
    path = written(
        tmp_path / "a.pdf", [CATALOG, pages_node(b"3 0 R", b"/Count 1"), page(0).replace(b"100 200", b"1 400")]
    )
    (row,) = rows_of(box, path)
    assert row["error"]["kind"] == "too_large"


@pytest.mark.parametrize(("memory_mb", "is_read"), [(512, False), (1024, True), (2048, True)])
def test_lines_of_a_huge_page_fit_the_memory_or_the_key_is_named(tmp_path: Path, memory_mb: int, is_read: bool) -> None:
    text = (
        b"BT /F1 24 Tf " + b"".join(b"1 0 0 1 72 %d Tm (Seven members) Tj " % y for y in range(100, 7100, 200)) + b"ET"
    )
    font = b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    kid = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 3600 7200] /Contents 4 0 R %s >>" % font
    stream = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text)
    path = written(tmp_path / "a.pdf", [CATALOG, pages_node(b"3 0 R", b"/Count 1"), kid, stream])
    box = Sandbox(DecodeSettings(memory_mb=memory_mb, line_reader=LineReader(), timeout_s=120.0))
    (row,) = rows_of(box, path, settings=DecodeSettings(memory_mb=memory_mb, line_reader=LineReader(), timeout_s=120.0))
    box.close()
    if is_read:
        assert row["error"] is None
        assert len(row["line_images"]) == 35
    else:
        assert row["error"]["kind"] == "too_large"
        assert "decode.memory_mb = 512" in row["error"]["message"]


def test_a_long_document_takes_little_more_memory_than_a_short_one(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    long = amount(1000, 5000)
    script = """if True:
        import resource, sys
        from operators.media.sandbox import Sandbox
        from schemas.decode import DecodeSettings
        from schemas.unit import Indexed
        box = Sandbox(DecodeSettings(timeout_s=120))
        units = box.probe(sys.argv[1], "document")["units"]
        orders = [Indexed(page=unit["page"], index=unit["index"]) for unit in units]
        assert sum(1 for _ in box.decode(sys.argv[1], "document", orders[-32:])) == 32
        with open(f"/proc/{box.child_pid}/status") as status:
            child_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        print(len(units), child_kb, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    peaks_mb: dict[int, list[float]] = {}
    for count in (50, long):
        path = tmp_path / f"{count}.pdf"
        path.write_bytes(pdf_bytes(tuple((Line(f"page {k}"),) for k in range(count))))
        done = subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=True, cwd=ROOT
        )
        pages, *peaks_kb = map(int, done.stdout.split())
        assert pages == count
        peaks_mb[count] = [peak / 1024 for peak in peaks_kb]
        child_mb, parent_mb = peaks_mb[count]
        figure(f"{count} pages: peak RSS of the decoder {child_mb:.0f} MB, of its parent {parent_mb:.0f} MB")
    assert all(large < 1.2 * small for small, large in zip(peaks_mb[50], peaks_mb[long], strict=True))


# what was shared


@pytest.mark.parametrize(
    ("name", "pages", "notes"),
    [
        ("count_1", 3, []),
        ("kids_null", 3, []),
        ("count_big", 3, []),
        ("crop_disjoint", 1, []),
        ("crop_disjoint_3of6", 6, []),
        ("base", 1, []),
        ("xfa_dynamic", 1, ["xfa_form"]),
    ],
)
def test_faults_of_public_documents_are_gone(box: Sandbox, name: str, pages: int, notes: list[str]) -> None:
    path = fault(name)
    rows = rows_of(box, path)
    assert [(row["error"], row["width_px"], row["height_px"], row["input_notes"]) for row in rows] == [
        (None, 612, 792, notes)
    ] * pages
    assert all(row["text_layer"] and not row["blank"] for row in rows)


def test_a_certificate_is_asked_for(box: Sandbox) -> None:
    assert refusal(box, fault("crypt_pubsec"))[0] == "encrypted"


def fault(name: str) -> Path:
    path = shared(f"faults/documents/pdf/{name}.pdf")
    if not path.is_file():
        pytest.skip(f"no {name}.pdf among the shared faults")
    return path
