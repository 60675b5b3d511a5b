"""A page's text is what the page says: no markup around it, no sentence that announces it."""

from __future__ import annotations

import pytest

from pipelines.catalogue import find
from schemas.task import ParsedReply, View

PAGE = View("page", 0, 2000, 1000)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("```\nTotal 7\nPaid\n```", "Total 7\nPaid"),
        ("```text\nTotal 7\n```", "Total 7"),
        ("```markdown\n# Total\n7", "# Total\n7"),
        ("~~~\nTotal\n~~~", "Total"),
        ("Here is the extracted text:\n\nTotal 7", "Total 7"),
        ("Here is the extracted text:\n```\nTotal 7\n```", "Total 7"),
        ("Sure! Here's the text from the image:\nTotal 7", "Total 7"),
        ("**The text in the image reads:**\nTotal 7", "Total 7"),
        ("以下是图片中的文字内容：\n合计 7", "合计 7"),
        # what is no such thing
        ("Here is the harbor:\nTotal 7", "Here is the harbor:\nTotal 7"),
        ("Here is the extracted text:", "Here is the extracted text:"),
        ("Run ```make``` first", "Run ```make``` first"),
        ("```\na\n```\nand\n```\nb\n```", "```\na\n```\nand\n```\nb\n```"),
    ],
)
def test_ocr_is_the_text_alone(reply: str, text: str) -> None:
    assert find("ocr").parse(reply, PAGE)["text"] == text


def test_what_the_page_itself_says_stays() -> None:
    announced = View("page", 0, 2000, 1000, text_layer="Here is the extracted text:\nTotal 7")
    assert find("ocr").parse("Here is the extracted text:\nTotal 7", announced)["text"].startswith("Here is")
    fenced = View("page", 0, 2000, 1000, text_layer="```\nTotal 7\n```")
    assert find("ocr").parse("```\nTotal 7\n```", fenced)["text"].startswith("```")


@pytest.mark.parametrize(
    ("reply", "texts"),
    [
        (
            "<body><header>Harbor</header><nav><p>Home</p></nav><main><h1>Fees</h1><p><abbr>c.</abbr> 1900</p></main>",
            ["Harbor", "Home", "Fees", "c. 1900"],
        ),
        ("<dl><dt>Name</dt><dd>Jo</dd></dl><aside><address>9 Lane</address></aside></main>", ["Name", "Jo", "9 Lane"]),
        ("<form><label>Name</label> <input/></form><script>x < 1</script><p>end", ["Name", "end"]),
        # text in a list within a list item's box, and in tables within tables, stands once
        ("<ul><li>one<div><ul><li>two</li></ul></div></li></ul>", ["one", "two"]),
        ("<table><tr><td>a<table><tr><td>b</td></tr></table></td></tr></table>", ["a\nb"]),
        # text before and behind the place of a picture
        ("Before <!-- Image (1, 2, 3, 4) --> behind", ["Before", "", "behind"]),
        ("# Fees ##\n\ntext", ["Fees", "text"]),
        ("$$a$$\nnext", ["a", "next"]),
        ("$$a$$ next", ["a", "next"]),
    ],
)
def test_a_page_leaks_no_markup_and_loses_no_text(reply: str, texts: list[str]) -> None:
    parsed = find("parse_document").parse(reply, PAGE)
    assert isinstance(parsed, ParsedReply)
    assert [block["text"] for block in parsed.value["blocks"]] == texts
