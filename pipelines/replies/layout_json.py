"""A page as a list of JSON objects, each with a place or a kind, and a text: what models may write that were asked for
HTML or Markdown. Knows nothing of pictures.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from pipelines.replies.blocks import Block, BlockType
from pipelines.replies.grounded import BOX_ALIASES, clean
from pipelines.replies.qwenvl_html import read_html
from pipelines.replies.things import Kind, Things, plain_key, read_things

_TEXT_KEYS = ("text", "content", "text_content", "html", "markdown", "latex", "caption", "value")
_TYPE_KEYS = ("type", "category", "label", "class", "role", "tag", "block_type")
_KIND = Kind(
    places={"bbox_2d": BOX_ALIASES},
    sizes={4: "bbox_2d"},
    words=(*_TEXT_KEYS, *_TYPE_KEYS),
    keys=_TEXT_KEYS[:5],
    prose=False,
)
_PLACE_KEYS = "|".join(re.escape(key) for key in ("bbox_2d", *BOX_ALIASES[:14]))
_IS_LAYOUT = re.compile(
    r"\s*(?:```(?:json)?\s*|\[\s*|\{\s*|\"[\w ]{1,40}\"\s*:\s*){1,8}[^\[\]{}]{0,4000}?"
    rf"\"(?:({_PLACE_KEYS})\"\s*:|((?:type|category)\"\s*:\s*\"(?:title|head|section|paragraph|text|table|list|caption|formula|"
    r"figure|image|picture)))",
    re.IGNORECASE,
)
_TYPES: tuple[tuple[str, BlockType], ...] = (
    *(("title", "heading"), ("head(?:ing|line)", "heading"), ("section.?header", "heading"), ("h[1-6]", "heading")),
    *(("list", "list_item"), ("table", "table"), ("formula|equation|math", "formula"), ("chart", "chart")),
    *(
        ("picture|image|figure|photo|logo", "image"),
        ("code|algorithm", "code"),
        ("music", "music"),
        ("chemi", "chemistry"),
    ),
)


def is_layout(reply: str, layer: str | None) -> bool:
    """Whether a reply begins as a list of a page's parts. A page may show such JSON itself, and has it in its layer
    then; other JSON, fenced or not, is what a page shows."""
    match = _IS_LAYOUT.match(reply)
    return match is not None and not (layer and (match[1] or match[2]) in layer)


def read_layout(reply: str) -> tuple[list[Block], Things]:
    """Its blocks in order, and what they were read from. Raises nothing."""
    things = read_things(reply, _KIND)
    return [block for element in things.values if (block := _block(element)) is not None], things


def _block(element: dict[str, Any]) -> Block | None:
    plain = {plain_key(key): item for key, item in element.items()}
    kind = next((name for key in _TYPE_KEYS if (name := clean(plain.get(key)))), "")
    text = next((item.strip() for key in _TEXT_KEYS if isinstance(item := plain.get(key), str) and item.strip()), "")
    types = (type_ for name, type_ in _TYPES if re.search(name, kind, re.IGNORECASE))
    block_type: BlockType = next(types, "paragraph")
    box = json.dumps(plain["bbox_2d"]).strip("[]") if "bbox_2d" in plain else None
    if block_type == "table" and "<t" in text:
        tables = [block for block in read_html(text)[0] if block.type == "table"]
        if len(tables) == 1:
            return replace(tables[0], box=box)
    if block_type == "image":
        return Block("image", caption=text or None, box=box)
    if not text:
        return None
    level = int(kind[-1]) if re.fullmatch(r"(?i)h[1-6]", kind) else 1
    return Block(block_type, text, level=level if block_type in ("heading", "list_item") else None, box=box)
