"""Take a page apart into blocks: headings, paragraphs, tables with their cells, formulas, figures, and Markdown.

`qwenvl html` gives every block its box; with `prompt: qwenvl markdown` only pictures and tables have one.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from operators.checks.page_check import text_faults
from pipelines.replies.blocks import BLOCK_TYPES, Block, page_markdown
from pipelines.replies.boxes import bbox_px
from pipelines.replies.grounded import BBOX_PX_OR_NULL
from pipelines.replies.layout_json import is_layout, read_layout
from pipelines.replies.qwenvl_html import is_html, read_html
from pipelines.replies.qwenvl_markdown import read_markdown
from schemas.output import TEXT_OR_NULL, Output, list_of, nullable, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View


def parse(text: str, view: View) -> ParsedReply:
    """HTML or Markdown, whichever the reply is, or a list of objects with places. An empty page is a valid answer."""
    text = unicodedata.normalize("NFC", text)
    parsed, things = read_layout(text) if is_layout(text, view.text_layer) else ([], None)
    dropped = 0
    if things is None or not parsed:
        parsed, cut = read_html(text) if is_html(text) else read_markdown(text)
        if things is not None:  # a list of parts of which none can be read is shown as it came, and in doubt
            cut, dropped = cut or things.cut, max(1, things.dropped)
    else:
        cut, dropped = things.cut, things.dropped + len(things.values) - len(parsed)
    blocks = [_row(block, view) for block in parsed]
    strange = sum(block.box is not None and row["bbox_px"] is None for block, row in zip(parsed, blocks, strict=True))
    # a box that is none is lost; its block is not
    return ParsedReply({"blocks": blocks, "markdown": page_markdown(parsed)}, dropped=dropped + strange, cut=cut)


def _row(block: Block, view: View) -> dict[str, Any]:
    cells = block.cells
    return {
        "type": block.type,
        "level": block.level,
        "text": block.text,
        "markdown": block.markdown,
        "html": block.html,
        "caption": block.caption,
        "format": block.format,
        "bbox_px": bbox_px(block.box, view.width_px, view.height_px) if block.box is not None else None,
        "cells": None if cells is None else [vars(cell) for cell in cells],
    }


def verify(value: Any, view: View) -> CheckResult:
    texts = [
        part
        for block in value["blocks"]
        for part in (
            f"$${block['text']}$$" if block["type"] == "formula" else block["text"],
            block["caption"] if block["type"] != "image" else None,
        )
        if part
    ]
    return text_faults("\n".join(texts), view)


_COUNT = {"type": "integer", "minimum": 0}

_CELL = record(
    row=_COUNT,
    column=_COUNT,
    row_span={"type": "integer", "minimum": 1},
    column_span={"type": "integer", "minimum": 1},
    header={"type": "boolean"},
    text={"type": "string"},
)

_BLOCK = record(
    type={"type": "string", "enum": list(BLOCK_TYPES)},
    level={"type": ["integer", "null"], "minimum": 1, "maximum": 9},  # of headings and list items
    text={"type": "string"},  # formulas: LaTeX; music and chemistry: in the notation of `format`
    markdown={"type": "string"},
    html=TEXT_OR_NULL,  # of tables, and of charts that came with their data
    caption=TEXT_OR_NULL,
    format=TEXT_OR_NULL,
    bbox_px=BBOX_PX_OR_NULL,
    cells=nullable(list_of(_CELL)),
)

TASK = Task(
    name="parse_document",
    summary="a page as blocks with boxes, tables as cells, and Markdown",
    unit_kinds=("page", "image"),
    prompt="qwenvl html",
    output=Output(record(blocks=list_of(_BLOCK), markdown={"type": "string"})),
    sampling=Sampling(max_tokens=8192),
    parse=parse,
    verify=verify,
)
