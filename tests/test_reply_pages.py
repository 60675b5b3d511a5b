"""Which pages an answer cites, in the many ways that models say it. The replies are of our own making."""

from __future__ import annotations

import pytest

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
    ("第 3 页至第 5 页", [3, 5]),
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
]


@pytest.mark.parametrize(("reply", "wanted"), PAGES)
def test_pages(reply: str, wanted: list[int]) -> None:
    assert cited_pages(reply) == wanted
