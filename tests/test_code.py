"""Code in replies: what the model really says, fenced, bare and cut off; and code that is read and never run."""

from __future__ import annotations

import zlib
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.code_check.read_code import read_drawio, read_python, read_svg
from pipelines.catalogue import find
from pipelines.replies.code import DRAWIO, HTML, PYTHON, SVG, Language, read_code
from schemas.errors import InvalidOutput
from schemas.task import View
from tests.support.samples import recorded

PAGE = "<!DOCTYPE html>\n<html>\n<body>\n<p>Hello</p>\n</body>\n</html>"
GRAPH = (
    '<mxGraphModel><root><mxCell id="0"/><mxCell id="1" parent="0"/>'
    '<mxCell id="a" vertex="1" parent="1" value="Start"/>'
    '<object id="b" label="End"><mxCell vertex="1" parent="1"/></object>'
    '<mxCell id="e" edge="1" parent="1" source="a" target="b"/></root></mxGraphModel>'
)


def code_of(reply: str, language: Language = HTML) -> tuple[str, bool]:
    reading = read_code(reply, language)
    return reading.value["code"], reading.cut


def test_recorded_page_and_chart() -> None:
    reply = recorded()["code_html"]
    page, cut = code_of(reply)
    assert (page.splitlines()[0], page.splitlines()[-1], cut) == ("<!DOCTYPE html>", "</html>", False)
    assert page == reply.removeprefix("```html\n").removesuffix("```").strip() + "\n"
    chart, cut = code_of(recorded()["code_chart"], PYTHON)
    assert (chart.splitlines()[0], chart.splitlines()[-1], cut) == (
        "import matplotlib.pyplot as plt",
        "plt.show()",
        False,
    )
    assert read_python(chart).imports == ("matplotlib.pyplot",)


@pytest.mark.parametrize(
    ("reply", "cut"),
    [
        (f"```html\n{PAGE}\n```", False),
        (f"Here it is:\n\n```HTML\n{PAGE}\n```\nIt uses flexbox.", False),
        (f"```\n{PAGE}\n```", False),
        (f"~~~html\n{PAGE}\n~~~", False),
        (f"```html\n{PAGE}```", False),
        (f"  ```html\n{PAGE}\n  ```", False),
        (f"```html\n<p>a first try</p>\n```\nBetter:\n```html\n{PAGE}\n```", False),
        (f"```html\n{PAGE}\n```\nRun it with\n```sh\npython -m http.server\n```", False),
        (PAGE, False),
        (f"Sure! Here is the page. {PAGE} I hope it helps.", False),
        (f"```html\n{PAGE}\n", True),  # the fence is open: the reply may have been cut right behind the page
    ],
)
def test_pages_as_they_come(reply: str, cut: bool) -> None:
    assert code_of(reply) == (PAGE + "\n", cut)


def test_a_page_that_is_cut_off_is_kept_and_marked() -> None:
    for reply in (f"```html\n{PAGE[:40]}", PAGE[:40]):
        assert code_of(reply) == (PAGE[:40].strip() + "\n", True)
    fragment = "<div><p>Hello</p></div>"
    assert code_of(f"```html\n{fragment}\n```") == (fragment + "\n", False)


def test_other_languages() -> None:
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><rect width="4" height="4"/></svg>'
    assert code_of(f"```xml\n{drawing}\n```", SVG) == (drawing + "\n", False)
    assert code_of(f"Here: {drawing} Done.", SVG) == (drawing + "\n", False)
    assert code_of(drawing[:-6], SVG)[1]
    assert code_of(f"```xml\n{GRAPH}\n```", DRAWIO) == (GRAPH + "\n", False)
    assert code_of(f"The diagram:\n{GRAPH}\nOpen it in Draw.io.", DRAWIO) == (GRAPH + "\n", False)
    assert code_of(GRAPH[:-8], DRAWIO)[1]
    assert code_of("import numpy as np\nx = 1\n", PYTHON) == ("import numpy as np\nx = 1\n", False)
    assert code_of("You can use:\n\nfrom matplotlib import pyplot\npyplot.show()", PYTHON)[0].startswith(
        "from matplotlib"
    )


@pytest.mark.parametrize("task", ["code_html", "code_svg", "code_drawio", "code_chart"])
@pytest.mark.parametrize("reply", ["", "I cannot see a picture.", "```\n```", "```html\n\n```", "```json\n{}\n```"])
def test_no_code_is_no_answer(task: str, reply: str) -> None:
    with pytest.raises(InvalidOutput, match="the reply holds no"):
        find(task).parse(reply, View("image", 0, 10, 10))


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(["html", "HTML", "xml", "", "python"]))
def test_any_reply_is_code_or_no_answer(before: str, after: str, name: str) -> None:
    for language in (HTML, SVG, DRAWIO, PYTHON):
        for reply in (before, f"{before}\n```{name}\n{after}", f"{before}<html>{after}", f"import {before}\n{after}"):
            try:
                reading = read_code(reply, language)
            except InvalidOutput:
                continue
            assert reading.value["code"].strip()


@given(st.lists(st.sampled_from(["<p>a</p>", "<b>", "``", "x = `y`", "é", "{", "</div>"]), max_size=20), st.data())
def test_a_fenced_page_comes_out_as_it_is_wherever_the_reply_is_cut(lines: list[str], data: st.DataObject) -> None:
    page = "\n".join(["<html>", *lines, "</html>"])
    reply = f"Here:\n```html\n{page}\n```\nDone."
    assert code_of(reply) == (page + "\n", False)
    place = data.draw(st.integers(len("Here:\n```html\n<html>"), len(reply)))
    code, cut = code_of(reply[:place])
    whole = place >= reply.index("\n```\nDone") + 4
    assert cut is not whole
    assert (page + "\n").startswith(code.rstrip("\n").rstrip("`").rstrip())


def test_programs_are_read_and_not_run() -> None:
    program = read_python("import os, numpy as np\nfrom . import x\ndef f():\n    from a.b import c\nos._exit(1)\n")
    assert program.imports == (".", "a.b", "numpy", "os")
    assert program.message is None
    assert "invalid syntax" in (read_python("plt.bar(1 2)").message or "")
    # nothing that is nested without end takes the process along
    for hostile in ("-" * 100_000 + "1", "(" * 100_000, "a" + ".b" * 100_000, "x = \0"):
        assert read_python(hostile).message


def test_every_id_of_a_diagram_is_resolved() -> None:
    assert read_drawio(GRAPH) == read_drawio(f"<mxfile><diagram>{GRAPH}</diagram></mxfile>")
    assert (read_drawio(GRAPH).message, read_drawio(GRAPH).unresolved) == (None, ())
    lost = GRAPH.replace('target="b"', 'target="c"').replace(
        'vertex="1" parent="1" value', 'vertex="1" parent="q" value'
    )
    assert read_drawio(lost).unresolved == ("q", "c")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b64encode(packer.compress(quote(lost).encode()) + packer.flush()).decode()
    assert read_drawio(f"<mxfile><diagram>{packed}</diagram></mxfile>").unresolved == ("q", "c")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (GRAPH[:-3], "no element found|unclosed token"),
        ("<svg/>", "no mxGraphModel"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><mxGraphModel/>', "document type"),
        ("<mxfile><diagram>not base64!</diagram></mxfile>", ""),
    ],
)
def test_what_is_no_diagram(code: str, reason: str) -> None:
    message = read_drawio(code).message
    assert message is not None
    assert any(part in message for part in reason.split("|"))


def test_what_is_no_drawing() -> None:
    assert read_svg('<svg xmlns="http://www.w3.org/2000/svg"/>').message is None
    assert "mismatched tag" in (read_svg("<svg><a></svg>").message or "")
    assert "not <svg>" in (read_svg("<html/>").message or "")
    bomb = '<!DOCTYPE svg [<!ENTITY a "' + "x" * 1000 + '">' + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 50}">' for a, b in zip("abcdef", "bcdefg", strict=True)
    ) + "]><svg>&g;</svg>"  # fmt: skip
    assert "amplification" in (read_svg(bomb).message or "")
