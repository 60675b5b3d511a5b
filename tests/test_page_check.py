"""A reading is held to its page: right ones pass in all the forms that models write, and one wrong number, words out of
order, invented ones or another page's text do not.

The whole of it: scripts/test --whole tests/test_page_check.py
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.checks.page_check import text_faults
from operators.checks.page_words import amount as amount_of
from operators.checks.text_layer import compare
from pipelines.catalogue import find
from schemas.task import ParsedReply, View
from tests.support.page_readings import KINDS, RIGHT, WRONG, Page, in_html, pages, plain
from tests.test_files_text_layer import decoded, view_of


@pytest.fixture
def drawn(amount: Callable[[int, int], int], tmp_path: Path) -> list[tuple[Page, View]]:
    return [(page, view_of(decoded(tmp_path / "a.pdf", page.pdf))) for page in pages(amount(27, 360))]


def test_right_readings_pass_and_wrong_ones_do_not(
    drawn: list[tuple[Page, View]], figure: Callable[[str], None]
) -> None:
    right, doubted = Counter[str](), Counter[str]()
    wrong, caught = Counter[str](), Counter[str]()
    document = find("parse_document")
    for number, (page, view) in enumerate(drawn):
        dice = random.Random(number)
        for make in RIGHT:
            right[make.__name__] += 1
            doubted[make.__name__] += bool(text_faults(make(page, dice), view).faults)
        parsed = document.parse(in_html(page, dice), view)
        assert isinstance(parsed, ParsedReply)
        right["parse_document"] += 1
        doubted["parse_document"] += bool(document.verify(parsed.value, view).faults)
        readings = {make.__name__: make(page, dice) for make in WRONG}
        readings["another page"] = plain(drawn[(number + len(KINDS)) % len(drawn)][0], dice)
        for name, reading in readings.items():
            if reading is not None:
                wrong[name] += 1
                caught[name] += "text_layer" in text_faults(reading, view).faults
    figure(
        f"{right.total()} right readings of {len(drawn)} pages: {doubted.total()} doubted {dict(+doubted)}; faulted of"
        f" the wrong: {', '.join(f'{name} {caught[name]} of {count}' for name, count in wrong.items())}"
    )
    assert doubted.total() <= 0.02 * right.total(), doubted
    assert all(caught[name] >= 0.95 * count for name, count in wrong.items()), caught


LAYER = """Harbor Office
Invoice 4711 of 12.03.2024
rope, 20 m 295.00
lantern -12.50
Total 1,282.50 EUR
payable within 30 days, as was agreed"""


@pytest.mark.parametrize(
    "reading",
    [
        LAYER,
        LAYER.replace("1,282.50", "1282.50").replace("12.03.2024", "12/03/2024"),  # the same amounts
        LAYER.replace("295.00", "295"),
        LAYER.replace("-12.50", "−12.50"),
        LAYER.upper(),
        "\n".join([*LAYER.split("\n")[2:], *LAYER.split("\n")[:2]]),  # another block first
        "# " + LAYER.replace("\n", "\n\n").replace("rope", "- rope").replace("lantern", "- lantern"),
        "| " + LAYER.replace("\n", " |\n| ") + " |",
        "<p>" + LAYER.replace("\n", "</p><p>") + "</p>",
        LAYER.replace(", as was agreed", ", as was&nbsp;agreed"),
        "\n".join(LAYER.split("\n")[1:]),  # without its header
    ],
)
def test_right_readings(reading: str) -> None:
    assert text_faults(reading, View("page", 0, text_layer=LAYER, blank=False)).faults == ()


@pytest.mark.parametrize(
    "reading",
    [
        LAYER.replace("295.00", "29.500"),
        LAYER.replace("295.00", "295.01"),
        LAYER.replace("1,282.50", "1,282.5O"),
        LAYER.replace("1,282.50", "1,228.50"),
        LAYER.replace("12.03.2024", "03.12.2024"),
        LAYER.replace("-12.50", "12.50"),
        LAYER.replace("4711", "4717"),
        LAYER.replace("30 days", "60 days"),
        LAYER.replace("1,282.50", ""),
        LAYER.replace("295.00", "12.50").replace("-12.50", "295.00"),
        LAYER.replace("payable within", "within payable"),
        LAYER.replace("payable within 30 days", "payable surely within 30 long days"),
        "\n".join(reversed(LAYER.split("\n"))),
        " ".join(reversed(LAYER.split())),
    ],
)
def test_wrong_readings(reading: str) -> None:
    assert text_faults(reading, View("page", 0, text_layer=LAYER, blank=False)).faults == ("text_layer",)


@pytest.mark.parametrize(
    ("layer", "reading", "far"),
    [
        ("Annual report\nof the harbor office", "Annual report\nof the harbor office", False),
        ("Annual report\nof the harbor office", "of the harbor office\nAnnual report", True),
        ("Annual report", "Annual report 7", True),
        ("Annual report", "Annual harbor", True),
        ("Annual report", "ANNUAL REPORT", False),
        ("Chapter Seven\n12", "Chapter Seven", False),
        ("Chapter Seven\nxii", "Chapter Seven", False),
        ("Chapter\nSeven", "Chapter", True),
        ("12", "13", True),
        ("12", "- 12 -", False),
        ("iii", "iii", False),
    ],
)
def test_short_pages_have_no_word_free(layer: str, reading: str, far: bool) -> None:
    assert text_faults(reading, View("page", 0, text_layer=layer, blank=False)).faults == (
        ("text_layer",) if far else ()
    )


def test_formulas_may_be_written_in_another_order_but_with_the_same_digits() -> None:
    layer = (
        "The sum of all is as follows and holds for every n\nn 2 k=1 = 17 k(k + 1)/24\nas was shown before in part 3"
    )
    reading = layer.replace("n 2 k=1 = 17 k(k + 1)/24", r"$$\sum_{k=1}^{n} k^2 = \frac{17 k (k+1)}{24}$$")
    view = View("page", 0, text_layer=layer.replace("n 2 k=1", "n 2 k k=1"), blank=False)
    assert text_faults(reading, view).faults == ()
    assert text_faults(reading.replace("17", "19"), view).faults == ("text_layer",)


@pytest.mark.parametrize(
    ("digits", "same"),
    [("1,295.00", "1295"), ("1.295,50", "1295.5"), ("1'295.50", "1295.5"), ("0.125", "0.125"), ("1,00,000", "100000")],
)
def test_amounts(digits: str, same: str) -> None:
    assert amount_of(digits) == same


def test_a_table_may_be_read_by_columns_of_which_the_file_has_the_rows() -> None:
    rows = [[f"{row}{column}7.{row}5" for column in range(1, 5)] for row in range(1, 9)]
    layer = "\n".join(" ".join(row) for row in rows)
    by_columns = "\n".join(" ".join(column) for column in zip(*rows, strict=True))
    for one, other in ((layer, by_columns), (by_columns, layer)):
        difference = compare(one, other)
        assert difference is not None
        assert (difference.wrong_numbers, difference.missing_words, difference.extra_words) == (0, 0, 0)
        assert text_faults(one, View("page", 0, text_layer=other, blank=False)).faults == ()


PRINT = st.text(st.sampled_from("abcdeXYZ äéß 0123456789 .,:;-'()/%€\n \n中文字かなשלוםपानी"), min_size=1, max_size=200)


@settings(max_examples=150, deadline=None)
@given(PRINT)
def test_what_a_page_itself_says_is_a_right_reading_of_it(text: str) -> None:
    view = View("page", 0, text_layer=text, blank=False)
    assert "text_layer" not in text_faults(text, view).faults
    assert "text_layer" not in text_faults("\n".join(f"<p>{line}</p>" for line in text.split("\n")), view).faults


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=120), st.text(max_size=120))
def test_any_two_texts_can_be_compared(read: str, layer: str) -> None:
    difference = compare(read, layer)
    assert difference is None or min(difference.missing, difference.extra, difference.cer) >= 0
