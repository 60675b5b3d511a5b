"""The model's HTML of a page (prompt `qwenvl html`): every element with its box, kinds of figures as classes.

A reader of its own, not a browser's: a tag that lost its bracket or quote must not swallow the elements behind it,
and an end that is missing is implied by the next element. Format: docs/facts/qwen3-vl.md §2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from operators.checks.reply_markup import unescaped
from pipelines.replies.blocks import Block, BlockType, placed

_INLINE = "b|i|u|s|em|strong|sub|sup|span|a|small|del|ins|mark|font|code|abbr|cite|q|kbd|samp|var|time|label|big|tt"
_INLINE += "|strike|wbr|button|input|select|option|textarea|link|meta|base"
_BLOCK = "html|body|head|title|style|section|article|h[1-6]|p|div|table|thead|tbody|tfoot|tr|td|th|caption|ol|ul|li"
_BLOCK += "|img|figure|figcaption|pre|blockquote|br|hr|center|header|footer|nav|main|aside|address|dl|dt|dd|form"
_BLOCK += "|details|summary|colgroup|col|script"
_TAG = re.compile(
    rf"<!--.*?(?:-->|$)|<!DOCTYPE[^<>]*>|<(?P<end>/?)(?P<inline>{_INLINE})(?P<inner>\s[^<>]*)?/?>"
    # a block's tag may have lost its bracket: it then ends where the next begins
    rf"|<(?P<close>/?)(?P<block>{_BLOCK})\b(?P<attributes>[^<>]*)(?P<whole>>|(?=<)|$)",
    re.IGNORECASE | re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""(?<![\w-])([\w-]+)\s*=\s*(?:"([^"]*)"?|'([^']*)'?)""")
_VOID = {"img", "br", "hr", "col"}
_DEEPEST = 60
"""Elements within each other; what is deeper stands beside its parent."""
_UNSEEN = {"style", "script"}
_HEADINGS = {f"h{level}" for level in range(1, 7)}
_TEXTS = {"p", *_HEADINGS, "li", "pre", "figcaption", "caption"}
_CAPTION = "caption of the figure before"
_FIGURES: dict[str, BlockType] = {
    "image": "image",
    "music": "music",
    "chemical": "chemistry",  # its second class is formula
    "formula": "formula",
    "chart": "chart",
}


@dataclass
class _Node:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Node | str] = field(default_factory=list)

    @cached_property
    def figure(self) -> BlockType | None:
        words = self.attributes.get("class", "").lower().split()
        return next((kind for word, kind in _FIGURES.items() if word in words), None)

    @property
    def box(self) -> str | None:
        return self.attributes.get("data-bbox")

    def all(self, *tags: str) -> Iterator[_Node]:
        for child in self.children:
            if isinstance(child, _Node):
                if child.tag in tags:
                    yield child
                yield from child.all(*tags)

    def outermost(self, *tags: str) -> Iterator[_Node]:
        """Of these, those that lie in no other of these."""
        for child in self.children:
            if isinstance(child, _Node):
                if child.tag in tags:
                    yield child
                else:
                    yield from child.outermost(*tags)

    def text(self, but: tuple[str, ...] = ()) -> str:
        return _tidy("".join(self._texts(but)))

    def _texts(self, but: tuple[str, ...]) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            elif child.tag == "br":
                yield "\n"
            elif child.tag not in but and child.tag not in _UNSEEN:
                apart = "\n" if child.tag in ("p", "div", "tr", "li") else " " if child.tag in ("td", "th") else ""
                yield apart
                yield from child._texts(but)
                yield apart


_ANY_BLOCK = re.compile(rf"<(?:{_BLOCK})\b")


def is_html(reply: str) -> bool:
    return any(match["block"] and _ANY_BLOCK.match(match[0]) for match in _TAG.finditer(reply))


def read_html(reply: str) -> tuple[list[Block], bool]:
    """Blocks in order, and whether the reply ends early. Raises nothing."""
    fence = re.search(r"```(?:html)?[^\S\n]*\n", reply)
    body = reply[fence.end() :] if fence else reply
    closed = body.rfind("```")
    cut = closed < 0 if fence else re.search(r"<(?:html|body)\b", body) is not None and "</" not in body[-40:]
    if closed >= 0:
        body = body[:closed]
    blocks: list[Block] = []
    for block in _blocks(_tree(body), 1):
        if block.format != _CAPTION:
            blocks.append(block)
        elif blocks and blocks[-1].type in ("image", "chart", "table") and blocks[-1].caption is None:
            blocks[-1] = replace(blocks[-1], caption=block.caption)
        elif block.caption:
            blocks.append(Block("paragraph", block.caption, box=block.box))
    return blocks, cut


def _tree(text: str) -> _Node:
    root = _Node("root")
    stack = [root]
    place = 0

    def append_text(piece: str) -> None:
        if piece:
            stack[-1].children.append(unescaped(piece))

    for match in _TAG.finditer(text):
        append_text(text[place : match.start()])
        place = match.end()
        if match["block"] is None:
            continue  # comments go; inline marks leave their text
        tag = match["block"].lower()
        if match["close"]:
            open_tags = [node.tag for node in stack]
            if tag in open_tags[1:]:
                del stack[len(open_tags) - 1 - open_tags[::-1].index(tag) :]
            continue
        node = _Node(tag, {key.lower(): one or other for key, one, other in _ATTRIBUTE.findall(match["attributes"])})
        _imply_ends(stack, node)
        stack[-1].children.append(node)
        if tag not in _VOID and len(stack) <= _DEEPEST:
            stack.append(node)
        if not match["whole"] and '"' in match["attributes"]:
            # the text behind an attribute whose tag lost its bracket
            append_text(match["attributes"].rpartition('"')[2])
    append_text(text[place:])
    return root


def _imply_ends(stack: list[_Node], node: _Node) -> None:
    """Close what cannot hold this element."""
    tags = [opened.tag for opened in stack]
    placed_block = node.box is not None and node.tag in {"p", "div", "ol", "ul", *_HEADINGS}
    for depth in range(1, len(stack)):
        other = stack[depth]
        if (
            (other.tag in ("p", *_HEADINGS) and node.tag not in ("br", "img"))
            # a figure never holds a placed paragraph, heading or figure: its own end is missing
            or (other.figure is not None and (placed_block or node.figure is not None))
            or (other.tag == "table" and placed_block)
        ):
            del stack[depth:]
            return
    if node.tag == "li" and "li" in tags:
        depth = len(tags) - 1 - tags[::-1].index("li")
        if not {"ol", "ul"} & set(tags[depth:]):
            del stack[depth:]
    for tag, holders in (("tr", {"table"}), ("td", {"table", "tr"}), ("th", {"table", "tr"})):
        if node.tag in ({tag} if tag == "tr" else {"td", "th"}) and tag in tags:
            depth = len(tags) - 1 - tags[::-1].index(tag)
            if not holders & set(tags[depth + 1 :]):
                del stack[depth:]
                tags = [opened.tag for opened in stack]


def _blocks(node: _Node, depth: int, marker: str = "-") -> Iterator[Block]:
    loose: list[str] = []
    number = 0
    for child in [*node.children, _Node("end")]:
        if isinstance(child, str):
            loose.append(child)
            continue
        if loose and (text := _tidy("".join(loose))):
            yield Block("paragraph", text, box=node.box if node.tag in ("div", "blockquote") else None)
        loose = []
        tag = child.tag
        if tag in _HEADINGS:
            if text := child.text():
                yield Block("heading", text, level=int(tag[1]), box=child.box)
        elif tag == "table":
            yield _table(child, "table")
        elif tag == "img":
            yield Block("image", caption=child.attributes.get("alt") or None, box=child.box)
        elif tag == "pre":
            yield Block("code", child.text(), box=child.box)
        elif tag in ("ol", "ul"):
            yield from _blocks(child, depth, "1." if tag == "ol" else "-")
        elif tag == "li":
            number += 1
            if text := child.text(but=("ol", "ul")):
                item_marker = f"{number}." if marker == "1." else "-"
                yield Block("list_item", text, level=depth, box=child.box, marker=item_marker)
            for inner in child.outermost("ol", "ul"):
                yield from _blocks(inner, depth + 1, "1." if inner.tag == "ol" else "-")
        elif child.figure is not None:
            yield _figure(child, child.figure)
        elif tag in _TEXTS:
            yield from _paragraph(child)
        elif tag == "br":
            loose.append("\n")
        elif tag not in (*_UNSEEN, "head", "title", "end", "hr"):
            yield from _blocks(child, depth, marker)


def _paragraph(node: _Node) -> Iterator[Block]:
    if text := node.text():
        yield Block("paragraph", text, box=node.box)
    for image in node.all("img"):
        yield Block("image", caption=image.attributes.get("alt") or None, box=image.box or node.box)


def _figure(node: _Node, kind: BlockType) -> Block:
    """A figure's box is its picture's where it has none; what it says is its caption, or its content."""
    box = node.box or next((image.box for image in node.all("img")), None)
    words = node.attributes.get("class", "").lower().split()
    captions = [child.text() for child in node.outermost("p", "figcaption", "caption")]
    caption = "\n".join(text for text in captions if text) or None
    content = node.text(but=("p", "figcaption", "caption", "img", "table"))
    if kind == "image":
        if "ocr" in words:
            return Block(kind, "\n".join(filter(None, [content, caption])), box=box)
        alone = "caption" in words and next(node.all("img"), None) is None  # of the figure before it
        caption = "\n".join(filter(None, [content, caption])) or None
        return Block(kind, box=box, caption=caption, format=_CAPTION if alone else None)
    if kind == "chart" and (table := next(node.all("table"), None)) is not None:
        data = _table(table, "chart")
        return Block(kind, data.text, box=box, caption=caption or content or None, cells=data.cells)
    if not content:
        content, caption = caption or "", None
    return Block(kind, _unquoted(content) if kind == "formula" else content, box=box, caption=caption,
                 format=node.attributes.get("format"))  # fmt: skip


def _unquoted(latex: str) -> str:
    """Without the dollars or brackets around it."""
    latex = latex.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)")):
        if len(latex) > len(opening) + len(closing) - 1 and latex.startswith(opening) and latex.endswith(closing):
            return latex[len(opening) : -len(closing)].strip()
    return latex


def _table(node: _Node, kind: BlockType) -> Block:
    rows = [
        [
            (
                " ".join(cell.text(but=("table",)).split()),
                _span(cell, "rowspan"),
                _span(cell, "colspan"),
                cell.tag == "th",
            )
            for cell in row.children
            if isinstance(cell, _Node) and cell.tag in ("td", "th")
        ]
        for row in node.all("tr")
    ]
    cells = placed([row for row in rows if row])
    caption = next((text for child in node.all("caption") if (text := child.text())), None)
    lines: dict[int, list[str]] = {}
    for cell in cells:
        lines.setdefault(cell.row, []).append(cell.text)
    text = "\n".join("\t".join(line) for line in lines.values())
    return Block(kind, text, box=node.box, caption=caption, cells=cells)


def _span(cell: _Node, name: str) -> int:
    value = cell.attributes.get(name, "1").strip()
    return int(value) if value.isdecimal() and len(value) < 5 else 1


def _tidy(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
