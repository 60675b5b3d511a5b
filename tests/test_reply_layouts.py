"""A page that was asked for as HTML and came as JSON: its parts are read, or the reply is refused; it is no code that
the page shows. A page that shows code is read with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.catalogue import find
from schemas.task import View
from tests.support.read_replies import checked

PARTS = [
    {"bbox": [100, 50, 900, 100], "category": "Title", "text": "Harbor dues"},
    {"bbox": [100, 110, 900, 200], "category": "Text", "text": "Due by the 4th."},
    {"bbox": [100, 300, 900, 400], "category": "Table", "text": "<table><tr><td>boat</td><td>12</td></tr></table>"},
    {"bbox": [100, 500, 900, 600], "category": "Picture", "text": ""},
    {"bbox": [100, 700, 900, 750], "category": "Formula", "text": "a = b + c"},
]


def blocks(reply: str) -> list[tuple[str, str, Any]]:
    row = checked("parse_document", reply)
    assert row.failure is None, row.failure
    return [(block["type"], block["text"], block["bbox_px"]) for block in row.result["blocks"]]


@pytest.mark.parametrize(
    "around", ["{}", "```json\n{}\n```", '{{"layout": {}}}', '```json\n{{"page": {{"blocks": {}}}}}\n```']
)
def test_parts_of_a_page_in_json_are_blocks(around: str) -> None:
    assert blocks(around.format(json.dumps(PARTS))) == [
        ("heading", "Harbor dues", [100, 50, 900, 100]),
        ("paragraph", "Due by the 4th.", [100, 110, 900, 200]),
        ("table", "boat\t12", [100, 300, 900, 400]),
        ("image", "", [100, 500, 900, 600]),
        ("formula", "a = b + c", [100, 700, 900, 750]),
    ]


def test_parts_without_places_are_blocks_too() -> None:
    parts = [{"type": "heading", "content": "Harbor dues"}, {"type": "paragraph", "content": 'the 5" pipe'}]
    wanted = [("heading", "Harbor dues", None), ("paragraph", 'the 5" pipe', None)]
    assert blocks(json.dumps({"blocks": parts})) == wanted
    assert blocks(json.dumps({"blocks": parts}).replace('\\"', '"')) == wanted  # the quote is not escaped


@pytest.mark.parametrize(
    "reply",
    [
        '```json\n[{"bbox_2d": [100, 50, 900',
        '[{"bbox_2d": [100, 50, 900, 100], "category": ',
        '```json\n{"blocks": [{"type": "heading", "te\n```',
        '{"layout": [{"bbox": "all of it"}]}',
    ],
)
def test_json_that_cannot_be_read_is_in_doubt(reply: str) -> None:
    """What came is shown, and in doubt."""
    row = checked("parse_document", reply)
    assert row.verified is not None
    assert "dropped" in row.verified["faults"]


def test_a_page_that_shows_json_is_read_as_it_is() -> None:
    shown = '{"bbox_2d": [1, 2, 3, 4], "label": "mug"}'
    task = find("parse_document")
    fenced = f"Listing 3\n\n```json\n{shown}\n```"
    view = View("page", 0, 100, 100, text_layer=f"Listing 3\n{shown}")
    for reply in (fenced, f"```json\n{shown}\n```"):
        assert shown in task.parse(reply, view).value["markdown"]
    assert shown in task.parse(fenced, View("page", 0, 100, 100)).value["markdown"]


CODE = st.sampled_from(
    (
        '{"name": "sightread", "version": 3}',
        "[1, 2, 3]",
        '{"name": "cut",',
        "x = [1",
        "{",
        "server { listen 80; }",
        "if (a) {",
    )
)


@settings(max_examples=60, deadline=None)
@given(CODE, st.sampled_from(("", "json", "python", "text")), st.sampled_from(("", "As shown:\n\n")))
def test_code_in_a_fence_is_text_of_the_page(code: str, name: str, before: str) -> None:
    row = checked("parse_document", f"{before}```{name}\n{code}\n```")
    assert row.failure is None
    assert row.result["blocks"][-1]["text"] == code


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400))
def test_json_that_is_cut_anywhere_is_read_up_to_there_or_in_doubt(at: int) -> None:
    whole = json.dumps(PARTS)
    parsed = find("parse_document").parse(whole[:at], View("page", 0, 1000, 1000))
    read = [block["text"] for block in parsed.value["blocks"]]
    if read and whole.startswith(read[0]):
        assert at < 20 or parsed.dropped
        return
    assert at < 20 or read == ["Harbor dues", "Due by the 4th.", "boat\t12", "", "a = b + c"][: len(read)]
