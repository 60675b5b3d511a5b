"""What the model really says, read into typed rows: recorded replies against values worked out by hand, and damage.

Where a reply is damaged in one place, no element elsewhere may be lost or altered, and nothing may be raised but
InvalidOutput. Single damage is tried at every place; several at once by hypothesis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.catalogue import find
from pipelines.replies.elements import read_elements, read_value
from pipelines.replies.times import seconds, spans_in
from schemas.errors import InvalidOutput
from schemas.task import ParsedReply, View
from tests.support.samples import RECORDED, recorded

PAGE = View("page", 0, 2000, 1000)
CLIP = View("clip", 0, 640, 360, start_s=0.0, end_s=200.0, times_s=(0.0, 1.0, 2.0, 200.0))
DOCUMENT = View("document", 0, 0, 0, page_count=35)

SPOTTED = """```json
[
    {"bbox_2d": [100, 200, 300, 400], "text_content": "Fresh, \\"daily\\" bread"},
    {"bbox_2d": [0, 500, 999, 600], "text_content": "面包 {ö} [8–16]"},
    {"bbox_2d": [111, 700, 222, 800], "text_content": "$3.50"},
]
```"""
PAGE_HTML = """```html
<html><body>
<h1 data-bbox="100 50 900 100">Prices</h1>
<p data-bbox="100 110 900 200">Bread is <b>fresh</b> &amp; warm.</p>
<table data-bbox="100 300 900 400"><tr><th>what</th><th>price</th></tr><tr><td>roll</td><td>0.40</td></tr></table>
<div class="formula" data-bbox="100 400 900 450"><img data-bbox="100 400 900 450"/><div>$$E = mc^2$$</div></div>
<div class="image caption" data-bbox="100 500 900 600"><img data-bbox="100 500 900 590"/><p>Figure 1: a loaf</p></div>
<p data-bbox="100 900 900 950">Page 7</p>
</body></html>
```"""

GROUNDED = """```json
[
    {"bbox_2d": [100, 200, 300, 400], "label": "red car, left"},
    {"point_2d": [500, 600], "label": "bus {7}", "colour": "blue"},
    {"id": 3, "bbox_2d": [0, 500, 999, 600], "label": "\\"taxi\\""}
]
```"""
NAMED = """```json
[
	{"bbox_2d": [0, 614, 224, 825], "name_zh": "米饭", "name_en": "Rice"},
	{"bbox_2d": [266, 126, 695, 343], "name_zh": "汤", "name_en": "Soup"}
]
```"""
TIMED = """[
{"time": 1.0, "bbox_2d": [100, 200, 300, 400], "label": "a dog"},
{"time": 2.0, "bbox_2d": [110, 200, 310, 400], "label": "a dog"}
]"""
SPACE = """```json
[{"bbox_3d": [0.27, 0.13, 2.21, 0.69, 0.76, 1.8, 0.87, 0.09, 0.94], "label": "桌子"},
{"bbox_3d": [-0.83, -0.18, 2.87, 0.76, 0.76, 1.86, 0.28, 0.33, 0.23], "label": "沙发"}]
```"""


def read(task: str, reply: str, view: View) -> ParsedReply:
    """What the task makes of a reply, checked as the operator checks it."""
    shipped = find(task)
    value = shipped.parse(reply, view)
    parsed = value if isinstance(value, ParsedReply) else ParsedReply(value)
    shipped.output.check(parsed.value)
    shipped.verify(parsed.value, view)
    return parsed


EVENTS = [
    (23.0, 48.0, "trim the fat off a piece of beef."),
    (56.0, 88.0, "season the beef with salt and pepper."),
    (89.0, 98.0, "place the beef on a grill and close the lid."),
    (100.0, 122.0, "add oil chopped onions carrots and squash to a pot and stir."),
    (122.0, 128.0, "place a rack in the pot."),
    (129.0, 134.0, "place the beef on the rack."),
    (139.0, 150.0, "pour beer into the pot."),
    (153.0, 160.0, "place the lid on the pot and place hot coals on top of the lid."),
    (195.0, 200.0, "slice the beef against the grain."),
]


def test_the_recorded_events() -> None:
    parsed = read("events", recorded()["events"], CLIP)
    assert [(item["start_s"], item["end_s"], item["text"]) for item in parsed.value["events"]] == EVENTS
    assert (parsed.dropped, parsed.cut) == (0, False)
    assert find("events").verify(parsed.value, CLIP).faults == ()


def test_the_recorded_caption() -> None:
    parsed = read("caption", recorded()["video_brief"], CLIP)
    assert parsed.value == {
        "text": "A woman in a kitchen prepares and cooks a dish of meat, onions, and cheese wrapped in dough, which "
        "she then fries until golden brown. The final product is served with ketchup and garnished with parsley."
    }


def test_the_recorded_answer_about_a_document() -> None:
    """`page 9 (image 24)` is the 25th picture: the second paper's ninth page stands there."""
    parsed = read("document_qa", recorded()["longdoc"], DOCUMENT)
    assert parsed.value["pages"] == [7, 8, 9, 25, 26]
    assert parsed.value["answer"].endswith("there are 11 tables in total across the entire document.")
    assert find("document_qa").verify(parsed.value, DOCUMENT).faults == ()
    short = View("document", 0, 0, 0, page_count=20)
    assert find("document_qa").verify(parsed.value, short).faults == ("no_page",)


SPOTTED_LINES = [
    # the scale is 999 here: 2000 px / 999 and 1000 px / 999 a step
    ('Fresh, "daily" bread', [100 * 2000 / 999, 200 * 1000 / 999, 300 * 2000 / 999, 400 * 1000 / 999]),
    ("面包 {ö} [8–16]", [0.0, 500 * 1000 / 999, 2000.0, 600 * 1000 / 999]),
    ("$3.50", [111 * 2000 / 999, 700 * 1000 / 999, 222 * 2000 / 999, 800 * 1000 / 999]),
]


def test_spotted_lines() -> None:
    parsed = read("ocr_spotting", SPOTTED, PAGE)
    assert [(line["text"], line["bbox_px"]) for line in parsed.value["lines"]] == [
        (text, pytest.approx(box)) for text, box in SPOTTED_LINES
    ]
    assert (parsed.dropped, parsed.cut) == (0, False)


@pytest.mark.parametrize(
    ("reply", "boxes", "dropped", "cut"),
    [
        ("[]", [], 0, False),
        ('[{"bbox_2d": [0, 0, 1000, 500], "text_content": "a"}]', [[0, 0, 2000, 500]], 0, False),  # counts to 1000
        ('Here: [{"bbox_2d": [500, 500, 0, 0], "text_content": "a"}] Good luck.', [[0, 0, 1001.0, 500.5]], 0, False),
        ("[{'bbox_2d': ['0', '0', '999', '999'], 'text_content': 'it'}]", [[0, 0, 2000, 1000]], 0, False),
        (
            '[{"bbox_2d": [0, 0, 5000, 9], "text_content": "a"}, {"bbox_2d": [0, 0, 0, 999], "text_content": "b"}]',
            [[0, 0, 0, 999]],
            1,
            False,
        ),
        (
            (
                '[{"bbox_2d": [0, 0, 9], "text_content": "a"}, {"bbox_2d": [0, 0, 0, 0], "text_content": " "}, '
                '{"bbox_2d": [0, 0, 1e999, NaN], "text_content": "a"}, '
                '{"bbox_2d": [0, 0, 0, 999], "text_content": "b"}]'
            ),
            [[0, 0, 0, 1000]],
            3,
            False,
        ),
        ('[{"bbox_2d": [0, 0, 0, 999], "text_content": "a"}, {"bbox_2d": [1, 2', [[0, 0, 0, 1000]], 1, True),
        ('[{"bbox_2d": [0, 0, 0, 999], "text_content": "a"},', [[0, 0, 0, 1000]], 0, True),
    ],
)
def test_boxes_in_other_forms(reply: str, boxes: list[list[float]], dropped: int, cut: bool) -> None:
    parsed = read("ocr_spotting", reply, PAGE)
    assert [line["bbox_px"] for line in parsed.value["lines"]] == [pytest.approx(box, abs=0.1) for box in boxes]
    assert (parsed.dropped, parsed.cut) == (dropped, cut)


def test_a_page_in_html() -> None:
    parsed = read("parse_document", PAGE_HTML, PAGE)
    assert (parsed.dropped, parsed.cut) == (0, False)
    blocks = parsed.value["blocks"]
    assert [(block["type"], block["level"], block["text"], block["bbox_px"]) for block in blocks] == [
        ("heading", 1, "Prices", [200, 50, 1800, 100]),
        ("paragraph", None, "Bread is fresh & warm.", [200, 110, 1800, 200]),
        ("table", None, "what\tprice\nroll\t0.40", [200, 300, 1800, 400]),
        ("formula", None, "E = mc^2", [200, 400, 1800, 450]),
        ("image", None, "", [200, 500, 1800, 600]),
        ("paragraph", None, "Page 7", [200, 900, 1800, 950]),
    ]
    assert blocks[2]["html"] == (
        "<table>\n<tr><th>what</th><th>price</th></tr>\n<tr><td>roll</td><td>0.40</td></tr>\n</table>"
    )
    assert [(cell["row"], cell["column"], cell["text"], cell["header"]) for cell in blocks[2]["cells"]] == [
        (0, 0, "what", True),
        (0, 1, "price", True),
        (1, 0, "roll", False),
        (1, 1, "0.40", False),
    ]
    assert blocks[4]["caption"] == "Figure 1: a loaf"
    assert parsed.value["markdown"] == (
        "# Prices\n\nBread is fresh & warm.\n\n| what | price |\n| --- | --- |\n| roll | 0.40 |\n\n"
        "$$\nE = mc^2\n$$\n\n![Figure 1: a loaf]()\n\nPage 7"
    )


def test_figures_of_all_kinds_and_nested_lists() -> None:
    parsed = read(
        "parse_document",
        '<ol data-bbox="0 0 9 9"><li>one<ul><li>inner</li></ul></li><li>two</li></ol>'
        '<div class="chart" data-bbox="0 0 500 500"><img data-bbox="0 0 500 400"/>'
        "<table><tr><td>a</td></tr></table></div>"
        '<div class="music sheet" format="abc notation"><img data-bbox="0 0 500 500"/><div>X:1</div></div>'
        '<div class="chemical formula" format="smile" data-bbox="0 0 500 500"><div>C1=CC</div></div>'
        '<div class="image ocr" data-bbox="0 0 500 500"><p>EXIT</p></div>'
        '<div class="image" data-bbox="0 0 500 500"></div><div class="image caption" data-bbox="9 9 9 9">A door</div>',
        PAGE,
    )
    blocks = parsed.value["blocks"]
    assert [(block["type"], block["text"], block["level"], block["format"]) for block in blocks] == [
        ("list_item", "one", 1, None),
        ("list_item", "inner", 2, None),
        ("list_item", "two", 1, None),
        ("chart", "a", None, None),
        ("music", "X:1", None, "abc notation"),
        ("chemistry", "C1=CC", None, "smile"),
        ("image", "EXIT", None, None),
        ("image", "", None, None),
    ]
    assert blocks[-1]["caption"] == "A door"
    assert [block["bbox_px"] for block in blocks[3:]] == [[0, 0, 1000, 500]] * 5
    assert parsed.value["markdown"].startswith("1. one\n  - inner\n2. two\n\n| a |")


def test_a_page_in_markdown() -> None:
    parsed = read(
        "parse_document",
        "## Stock\n\nTwo lines\nof text.\n\n<!-- Image (100, 200, 300, 400) -->\n![a loaf]()\n\n"
        "<!-- Table (0, 500, 1000, 600) -->\n\\begin{tabular}{|l|c|}\n\\hline\n\\multicolumn{2}{|c|}{Bread \\& rolls} "
        "\\\\\n\\hline\n\\multirow{2}{*}{rye} & 1 \\\\\n & 2 \\\\\n\\end{tabular}\n\n$$a^2$$\n- x\n- y\n",
        PAGE,
    )
    blocks = parsed.value["blocks"]
    assert [(block["type"], block["text"], block["bbox_px"]) for block in blocks] == [
        ("heading", "Stock", None),
        ("paragraph", "Two lines\nof text.", None),
        ("image", "", [200, 200, 600, 400]),
        ("table", "Bread & rolls\nrye\t1\n2", [0, 500, 2000, 600]),
        ("formula", "a^2", None),
        ("list_item", "x", None),
        ("list_item", "y", None),
    ]
    assert blocks[2]["caption"] == "a loaf"
    keys = ("row", "column", "row_span", "column_span", "text")
    cells = [tuple(cell[key] for key in keys) for cell in blocks[3]["cells"]]
    assert cells == [(0, 0, 1, 2, "Bread & rolls"), (1, 0, 2, 1, "rye"), (1, 1, 1, 1, "1"), (2, 1, 1, 1, "2")]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (12, 12.0),
        ("12.5", 12.5),
        ("12.5 seconds", 12.5),
        ("<3.0 seconds>", 3.0),
        ("01:02.50", 62.5),
        ("1:00:02", 3602.0),
        ("later", None),
        (-1, None),
        (True, None),
        (10**400, None),
        (float("nan"), None),
    ],
)
def test_times(value: Any, wanted: float | None) -> None:
    assert seconds(value) == wanted


@pytest.mark.parametrize(
    ("reply", "span"),
    [
        ("12.3 - 24.5 seconds", (12.3, 24.5)),
        ("It happens from 00:12 to 00:24.5.", (12.0, 24.5)),
        ('```json\n{"start_time": "00:01:02", "end_time": 70.5}\n```', (62.0, 70.5)),
        ("<12.0 seconds> - <14.5 seconds>", (12.0, 14.5)),
        ("At 00:07.", (7.0, 7.0)),
        ("The content does not occur in the video.", (None, None)),
    ],
)
def test_moments(reply: str, span: tuple[float | None, float | None]) -> None:
    parsed = read("locate_moment", reply, CLIP)
    assert (parsed.value["start_s"], parsed.value["end_s"]) == span


def test_spans_in_an_answer() -> None:
    assert spans_in("At 00:12, then [01:00 - 01:03.5]; 3 to 4 people, 20 - 25 s.") == [(12, 12), (60, 63.5), (20, 25)]
    outside = read("video_qa", "[09:00 - 09:05] Answer: red", CLIP)
    assert outside.value["short_answer"] == "red"
    assert find("video_qa").verify(outside.value, CLIP).faults == ("span_outside",)


@pytest.mark.parametrize(
    ("reply", "answer", "final"),
    [
        ("<think>2?</think>So it is \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}", True),
        ("2 + 2.\n\n**Final Answer:** 4", "4", True),
        ("reasoning</think>\nIt must be 7", "It must be 7", False),
    ],
)
def test_final_answers(reply: str, answer: str, final: bool) -> None:
    value = read("solve", reply, PAGE).value
    assert (value["answer"], value["final"]) == (answer, final)


def test_a_reply_that_ends_while_thinking_is_no_answer() -> None:
    with pytest.raises(InvalidOutput, match="before it answers"):
        read("solve", "<think>let me see", PAGE)


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure [1]:\n```json\n{"a": [1, 2,],}\n```\nDone.', {"a": [1, 2]}),
        ('```json\n{"a": 1}\n```\nbetter:\n```json\n{"a": 2}\n```', {"a": 2}),
        ('{"a": "cut', None),
        ("nothing", None),
    ],
)
def test_one_value(reply: str, wanted: Any) -> None:
    assert read_value(reply, "{") == wanted


@pytest.mark.parametrize(
    ("reply", "dropped"),
    [
        ('[{"id": 1, "a": 1, "b": 2}, {"id": "x,\\"y", "q": [1, 2], "b": 2}, {"b": 2, "id": null}]', 0),
        ('[{"id": 1, "a": 1, "b": 2}, }, {"id": null, "b": 2}}, {{"b": 2}]', 0),
        ('{"one": {"id": 1, "b": 2}, "two": {"b": 2}, } {"three": {"id": 3, "b": 2}}', 0),
        ('[{"id": 1, "b": 2}, {"id": 2, "b": 2, "c": [1,}, {"id": 3, "b": 2}, {"id": 4, "b": ', 1),
    ],
)
def test_elements_that_begin_with_what_we_do_not_know_and_stray_braces_between_them(reply: str, dropped: int) -> None:
    elements = read_elements(reply, ("a", "b"))
    assert [item["b"] for item in elements.values] == [2, 2, 2]
    assert elements.dropped == dropped


# Damage. Each case: task, reply, view, and where its elements stand: (start, end, what it reads as).

SCREEN = """```json
[
    {"bbox_2d": [0, 0, 100, 50], "role": "text field", "text": "Search \\"X\\"", "clickable": true},
    {"bbox_2d": [200, 0, 300, 50], "role": "icon", "text": "", "clickable": false},
    {"bbox_2d": [900, 900, 1000, 1000], "role": "button", "text": "Go [1]", "clickable": true}
]
```"""
STRAY = '{}[],"\n'


def spotted(parsed: ParsedReply) -> list[Any]:
    return [(line["text"], tuple(round(side, 6) for side in line["bbox_px"])) for line in parsed.value["lines"]]


def events(parsed: ParsedReply) -> list[Any]:
    return [(item["start_s"], item["end_s"], item["text"]) for item in parsed.value["events"]]


def elements(parsed: ParsedReply) -> list[Any]:
    return [tuple(map(str, item.values())) for item in parsed.value["elements"]]


def blocks(parsed: ParsedReply) -> list[Any]:
    return [(item["type"], item["text"], str(item["bbox_px"]), item["caption"]) for item in parsed.value["blocks"]]


def things(parsed: ParsedReply) -> list[Any]:
    return [(item["label"], str(item["bbox_px"]), str(item["point_px"])) for item in parsed.value["objects"]]


def named(parsed: ParsedReply) -> list[Any]:
    return [([name["name"] for name in item["names"]], item["bbox_px"]) for item in parsed.value["objects"]]


def timed(parsed: ParsedReply) -> list[Any]:
    return [(item["label"], item["time_s"], item["bbox_px"]) for item in parsed.value["boxes"]]


def in_space(parsed: ParsedReply) -> list[Any]:
    return [(item["label"], item["center_m"], item["size_m"], item["rotation_rad"]) for item in parsed.value["boxes"]]


CASES: dict[str, Any] = {
    "ocr_spotting": (lambda: SPOTTED, PAGE, r"\{\".*\}", spotted),
    "gui_elements": (lambda: SCREEN, PAGE, r"\{\".*\}", elements),
    "events": (lambda: recorded()["events"], CLIP, r"\"\d\d:.*\"", events),
    "parse_document": (lambda: PAGE_HTML, PAGE, r"<(h1|p|table|div).*</\1>(?=\n)", blocks),
    "ground_2d": (lambda: GROUNDED, PAGE, r"\{\".*\}", things),
    "recognize": (lambda: NAMED, PAGE, r"\{\".*\}", named),
    "ground_video": (lambda: TIMED, CLIP, r"\{\".*\}", timed),
    "ground_3d": (lambda: SPACE, PAGE, r"\{\".*?\}", in_space),
}


def places(reply: str, pattern: str, values: list[Any]) -> list[tuple[int, int, Any]]:
    matches = list(re.finditer(pattern, reply))
    assert len(matches) == len(values)
    return [(*match.span(), value) for match, value in zip(matches, values, strict=True)]


def in_order(wanted: list[Any], values: list[Any]) -> bool:
    rest: Iterator[Any] = iter(values)
    return all(item in rest for item in wanted)


@pytest.mark.parametrize("task", CASES)
def test_damage_in_one_place_costs_no_element_elsewhere(task: str) -> None:
    """At every place of the reply: a character is lost, or a stray one comes in."""
    make, view, pattern, values_of = CASES[task]
    reply = make()
    whole = places(reply, pattern, values_of(read(task, reply, view)))
    for place in range(len(reply) + 1):
        changed = [reply[:place] + reply[place + 1 :], *(reply[:place] + garbage + reply[place:] for garbage in STRAY)]
        for number, damaged in enumerate(changed):
            lost = number == 0
            wanted = [value for start, end, value in whole if not (start < place + lost and place < end)]
            values = values_of(read(task, damaged, view))
            assert in_order(wanted, values), (place, damaged[max(0, place - 40) : place + 40], values)


@pytest.mark.parametrize("task", CASES)
def test_a_reply_that_is_cut_keeps_its_whole_elements_and_says_so(task: str) -> None:
    make, view, pattern, values_of = CASES[task]
    reply = make()
    whole = places(reply, pattern, values_of(read(task, reply, view)))
    first, last = whole[0][1], whole[-1][1]
    for place in range(first, last):
        parsed = read(task, reply[:place], view)
        assert in_order([value for _, end, value in whole if end <= place], values_of(parsed)), reply[:place]
        assert parsed.cut, reply[:place]


def test_keys_in_another_order() -> None:
    turned = re.sub(r'\{("bbox_2d": \[[^\]]*\]), ("text_content": .*)\}', r"{\2, \1}", SPOTTED)
    assert turned != SPOTTED
    assert read("ocr_spotting", turned, PAGE).value == read("ocr_spotting", SPOTTED, PAGE).value


CAMERA = {"fx_px": 900.0, "fy_px": 900.0, "cx_px": 1000.0, "cy_px": 500.0, "source": "given"}
ASKED = View("image", 0, 2000, 1000, parameters={"question": "Which? A. left B. right", "intrinsics": CAMERA})
VIEWS = {"page": PAGE, "image": ASKED, "clip": CLIP, "document": DOCUMENT, "video": CLIP, "text": PAGE, "episode": PAGE}
TASKS = (
    *("ocr", "ocr_spotting", "parse_document", "caption", "caption_dense", "caption_structured"),
    *("events", "locate_moment", "document_qa", "video_qa", "solve", "text"),
    *("gui_elements", "gui_action", "gui_episode"),
    *("ground_2d", "recognize", "spatial", "ground_video", "ground_3d"),
)
STRUCTURED = """{"summary": "A shop.", "setting": "street", "objects": [{"name": "sign", "description": "red"}],
"actions": ["opens"], "visible_text": ["OPEN"]}"""


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A reply cut, with pieces lost, doubled, strange numbers and stray characters; or any text at all."""
    seeds = [
        SPOTTED,
        PAGE_HTML,
        STRUCTURED,
        SCREEN,
        GROUNDED,
        TIMED,
        SPACE,
        *(recorded().values() if RECORDED.exists() else ()),
    ]
    text = draw(st.sampled_from(seeds))[:3000]
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(text) - 1)))
        match draw(st.sampled_from(["cut", "lose", "insert", "number", "double"])):
            case "cut":
                text = text[:place]
            case "lose":
                text = text[:place] + text[place + draw(st.integers(1, 30)) :]
            case "insert":
                garbage = draw(st.sampled_from([*STRAY, "<", ">", "\\", "```", "&", "<p", "\ud800"]))
                text = text[:place] + garbage + text[place:]
            case "number":
                number = draw(st.sampled_from(["99999", "-7", "1e999", "NaN", "10" * 200, "0:99:99", "null", "1.5"]))
                text = text[:place] + re.sub(r"\d+(\.\d+)?", number, text[place:], count=1)
            case "double":
                text = text[:place] + text[max(0, place - 60) :]
    return text


@settings(max_examples=150, deadline=None)
@given(mutated() | st.text(max_size=80))
def test_no_task_raises_or_leaves_its_range_whatever_it_is_told(reply: str) -> None:
    """`read` checks the value against the task's schema, with its bounds, and against Arrow."""
    for task in TASKS:
        view = VIEWS[find(task).unit_kinds[0]]
        try:
            value = read(task, reply.encode("utf-8", "replace").decode(), view).value
        except InvalidOutput:
            continue
        for item in chain.from_iterable(
            value.get(key) or () for key in ("lines", "blocks", "elements", "objects", "boxes")
        ):
            if item.get("bbox_px") is not None:
                x0, y0, x1, y1 = item["bbox_px"]
                assert 0 <= x0 <= x1 <= view.width_px
                assert 0 <= y0 <= y1 <= view.height_px
