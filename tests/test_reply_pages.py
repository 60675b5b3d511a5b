"""Which pages an answer cites, in the many ways that models say it. The replies are of our own making."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.replies.citations import cited_pages

PAGES: list[tuple[str, list[int]]] = [
    ("Pages 2/3", [2, 3]),
    ("pages: 2, 3", [2, 3]),
    ("第3-5页", [3, 4, 5]),
    ("[page 7 (image 7)]", [7]),
    ("page 7 (image 6)", [7]),
    ("page 9 (image 24), page 7 (image 6)", [7, 25]),
    ("page 2/35", [2]),
    ("pp. 3–5", [3, 4, 5]),
    ("Page 3 of 35", [3]),
    ("pages 2, 3 and 5", [2, 3, 5]),
    ("第3页和第5页", [3, 5]),
    ("第3、5页", [3, 5]),
    ("第三页", [3]),
    ("第十二页", [12]),
    ('"pages": [2, 3]', [2, 3]),
    ("page #4", [4]),
    ("page number 4", [4]),
    ("pages 2 through 4", [2, 3, 4]),
    ("page(s) 3", [3]),
    ("[page 2], [page 3]", [2, 3]),
    ("[Page 3, 5]", [3, 5]),
    ("On pages 2-3 and [page 41]. Answer: 7", [2, 3, 41]),
    ("第 3 页至第 5 页", [3, 4, 5]),
    ("no pages", []),
    ("p. 12", [12]),
    ("page 3 & 4", [3, 4]),
    ("Page 9 (image 25)", [25]),
    ("pages 10, 12–14, and 16", [10, 12, 13, 14, 16]),
    ("[page 0 (image 0)]", [1]),
    ("a page 1 and 3 apples", [1, 3]),
    ("[Pages 2 and 3]", [2, 3]),
    ("第3至5页", [3, 4, 5]),
    ("As shown on pages [2] and [3]", [2, 3]),
    ("pages [2], [3] and page [5]", [2, 3, 5]),
    ("pages 2–3 (images 5–6)", [5, 6]),
    ("Image 2 shows it.", [2]),
    ("Figure 7 on page 2; image 4 of it", [2]),
    # in words
    ("Page two shows it.", [2]),
    ("the second page", [2]),
    ("the first two pages", [1, 2]),
    ("Seite zwei", [2]),
    ("auf der dritten Seite", [3]),
    ("pages three, five and seven", [3, 5, 7]),
    ("the third to fifth pages", [3, 4, 5]),
    ("the twenty-first page", [21]),
    ("第十二页和第二十三页", [12, 23]),
    ("第3页：5 张表", [3]),
    # what counts something else
    ("On page 3, 12 tables are listed.", [3]),
    ("On pages 3 and 5, 12 tables are listed.", [3, 5]),
    ("On page 3, 45% of it is shown.", [3]),
    ("It has 12 pages. 3 of them show tables.", []),
    ("p = 12 and the p53 protein", []),
    ("at 3 p.m. 12 people came", []),
    ("a 3-page letter of one page", []),
]


@pytest.mark.parametrize(("reply", "wanted"), PAGES)
def test_pages(reply: str, wanted: list[int]) -> None:
    assert cited_pages(reply) == wanted


PageList = list[int]
NUMBERED = (
    *(
        "page {}",
        "Page {}.",
        "[page {}]",
        "(p. {})",
        "page no. {}",
        "page number {}",
        "page #{}",
        "**Page {}**",
        "pg. {}",
    ),
    *(
        "page {} of 120",
        "Seite {}",
        "[Seite {}]",
        "Seite {} von 120",
        "S. {}",
        "auf der {}. Seite",
        "第{}页",
        "第 {} 页",
    ),
    *("页码：{}", '{{"page": {}}}', '{{"page_number": {}}}', '"pages": [{}]', "page(s) {}", "Page: {}", "page [{}]"),
    *("image {} of the document", "Image {}", "Bild {}", "第{}张图", "page {} (image {})", "PAGE {}", "page {}/120"),
)
LISTED = (
    *("pages {}", "[Pages {}]", "on pages {} of the report", "(pp. {})", "Pages: {}.", "page(s) {}", "page numbers {}"),
    *("Seiten {}", "auf den Seiten {}", "[Seiten {}]", "images {}", "Bilder {}", "the pages {} say so"),
)
ENUMERATED: tuple[Callable[[list[str]], str], ...] = (
    ", ".join,
    lambda parts: ", ".join(parts[:-1]) + f" and {parts[-1]}" if parts[1:] else parts[0],
    lambda parts: ", ".join(parts[:-1]) + f", and {parts[-1]}" if parts[1:] else parts[0],
    lambda parts: ", ".join(parts[:-1]) + f" & {parts[-1]}" if parts[1:] else parts[0],
    lambda parts: ", ".join(parts[:-1]) + f" und {parts[-1]}" if parts[1:] else parts[0],
    "; ".join,
)
APART: tuple[tuple[str, str], ...] = (
    *(
        ("page {}", ", "),
        ("page {}", " and "),
        ("[page {}]", " "),
        ("[page {}]", ""),
        ("p. {}", ", "),
        ("Page {}", "\n"),
    ),
    *(("Seite {}", " und "), ("第{}页", "和"), ("第{}页", "、"), ("- page {}: a table", "\n")),
)
THROUGH = (
    *(
        "pages {}-{}",
        "pages {}–{}",
        "pages {} to {}",
        "pages {} through {}",
        "[pages {}—{}]",
        "pp. {}-{}",
        "page {} to {}",
    ),
    *(
        "from page {} to page {}",
        "Seiten {} bis {}",
        "Seiten {}-{}",
        "von Seite {} bis Seite {}",
        "第{}-{}页",
        "第{}至{}页",
    ),
    *("第{}页至第{}页", "第{}到第{}页", "images {}-{}", "Pages {} - {}"),
)
WORDS = {
    1: ("one", "first", "eins", "ersten", "一"), 2: ("two", "second", "zwei", "zweiten", "二"),
    3: ("three", "third", "drei", "dritten", "三"), 7: ("seven", "seventh", "sieben", "siebten", "七"),
    12: ("twelve", "twelfth", "zwölf", "zwölften", "十二"),
    20: ("twenty", "twentieth", "zwanzig", "zwanzigsten", "二十"),
    34: ("thirty-four", "thirty-fourth", "vierunddreißig", "vierunddreißigsten", "三十四"),
}  # fmt: skip
IN_WORDS = (
    "page {0}",
    "the {1} page",
    "On the {1} page",
    "Seite {2}",
    "auf der {3} Seite",
    "第{4}页",
    "Page {0}:",
    "image {0}",
)
SAID = (
    "{}", "{}\n\nAnswer: 4711", "In 2019 it was 45%, see {}.", "The answer rests on {}; it counts 12 tables.", "({})",
    "Of 350 people, 12 agree. {}", "1. It is so.\n2. {}",
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NUMBERED), st.integers(1, 119), st.sampled_from(SAID))
def test_a_page_is_read_in_every_form(form: str, page: int, said: str) -> None:
    assert cited_pages(said.format(form.format(page, page))) == [page]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(LISTED),
    st.sampled_from(ENUMERATED),
    st.lists(st.integers(1, 119), min_size=1, max_size=5, unique=True).map(sorted),
    st.sampled_from(SAID),
)
def test_a_list_of_pages_is_read_in_every_form(
    form: str, enumerated: Callable[[list[str]], str], pages: PageList, said: str
) -> None:
    assert cited_pages(said.format(form.format(enumerated([str(page) for page in pages])))) == pages


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(APART),
    st.lists(st.integers(1, 119), min_size=1, max_size=5, unique=True).map(sorted),
    st.sampled_from(SAID),
)
def test_pages_that_are_named_one_by_one_are_all_read(form: tuple[str, str], pages: PageList, said: str) -> None:
    assert cited_pages(said.format(form[1].join(form[0].format(page) for page in pages))) == pages
    assert cited_pages(json.dumps({"answer": "4711 of 12", "pages": pages})) == pages
    assert cited_pages(json.dumps({"cited_pages": [str(page) for page in pages], "total": 12})) == pages


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(THROUGH), st.integers(1, 90), st.integers(1, 29), st.sampled_from(SAID))
def test_a_range_of_pages_is_all_of_them(form: str, first: int, more: int, said: str) -> None:
    assert cited_pages(said.format(form.format(first, first + more))) == list(range(first, first + more + 1))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(IN_WORDS), st.sampled_from(sorted(WORDS)), st.sampled_from(SAID))
def test_a_page_in_words_is_read(form: str, page: int, said: str) -> None:
    assert cited_pages(said.format(form.format(*WORDS[page]))) == [page]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ("{} people came", "In {} it was so", "${}", "{} tables", "{}%", "room {}", "Figure {}", "a {}-page letter",
         "It has {} pages", "{} Seiten lang", "共{}页", "chapter {}", "图{}", "line {}", "p = {}", "the {} pages of it")
    ),
    st.integers(1, 3000),
)  # fmt: skip
def test_numbers_of_other_things_are_no_pages(form: str, number: int) -> None:
    assert cited_pages(form.format(number)) == []
