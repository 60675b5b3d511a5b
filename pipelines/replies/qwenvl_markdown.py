"""The model's Markdown of a page (prompt `qwenvl markdown`): boxes of pictures and tables in comments, tables in
LaTeX. Tables with pipes or in HTML, as other prompts bring them, are read as well. Format: docs/facts/qwen3-vl.md §2.2.
"""

from __future__ import annotations

import re
from dataclasses import replace

from pipelines.replies.blocks import Block, placed
from pipelines.replies.qwenvl_html import read_html

_PLACE = re.compile(r"<!--\s*(Image|Table|Chart|Figure)[^\n()]*\(([^()\n]*)\)[^\n]*?-->", re.IGNORECASE)
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_ITEM = re.compile(r"(\s*)(?:([-*+•])|(\d+[.)]))\s+(.*)")
_IMAGE = re.compile(r"!\[([^\]]*)\](?:\([^)]*\))?")
_RULER = re.compile(r"\s*\|?(?:\s*:?-{2,}:?\s*\|)+\s*(?::?-{2,}:?)?\s*")
# where a block of several lines begins, and what ends it
_LONG = (
    (re.compile(r"\\begin\{(tabular|table|array)\*?\}"), re.compile(r"\\end\{(?:tabular|table|array)\*?\}"), "latex"),
    (re.compile(r"<table\b"), re.compile(r"</table>"), "html"),
    (re.compile(r"\$\$"), re.compile(r"\$\$"), "formula"),
    (re.compile(r"\\\["), re.compile(r"\\\]"), "formula"),
    (re.compile(r"```"), re.compile(r"```"), "code"),
)
_CELL = re.compile(r"\\multicolumn\s*\{(\d{1,3})\}\s*\{[^{}]*\}\s*\{(.*)\}\s*$", re.DOTALL)
_TALL = re.compile(r"\\multirow\s*(?:\[[^\]]*\])?\{(\d{1,3})\}\s*\{[^{}]*\}\s*\{(.*)\}\s*$", re.DOTALL)
_LEAST = 2


def read_markdown(reply: str) -> tuple[list[Block], bool]:
    """Blocks in order, and whether the reply ends within one. Raises nothing."""
    fence = re.match(r"\s*```(?:markdown|md)?[^\S\n]*\n", reply)
    body = reply[fence.end() :] if fence else reply
    cut = False
    if fence:
        cut = body.count("```") % 2 == 0
        body = body[: body.rfind("```")] if not cut else body
    blocks: list[Block] = []
    plain: list[str] = []
    box: str | None = None
    lines = body.split("\n")
    place = 0

    def settle() -> None:
        nonlocal box
        text = "\n".join(line.strip() for line in plain).strip()
        plain.clear()
        if text:
            blocks.append(Block("paragraph", text))

    while place < len(lines):
        line = lines[place]
        if mark := _PLACE.search(line):
            settle()
            if mark[1].lower() == "table":
                box = mark[2]
            else:
                blocks.append(Block("chart" if mark[1].lower() == "chart" else "image", box=mark[2]))
            lines[place] = line = line[mark.end() :]
            if not line.strip():
                place += 1
            continue
        kind = next(((end, name) for start, end, name in _LONG if start.match(line.strip())), None)
        if kind is not None:
            settle()
            content, place, whole = _long(lines, place, *kind)
            cut |= not whole
            block = _of(content, kind[1])
            if block.type == "table":
                block, box = replace(block, box=box), None
            blocks.append(block)
            continue
        if "|" in line and place + 1 < len(lines) and _RULER.fullmatch(lines[place + 1]):
            settle()
            end = place + _LEAST
            while end < len(lines) and "|" in lines[end]:
                end += 1
            rows = [lines[place], *lines[place + _LEAST : end]]
            cells = [[(text, 1, 1, number == 0) for text in _piped(row)] for number, row in enumerate(rows)]
            blocks.append(_table(cells, box))
            box, place = None, end
            continue
        stripped = line.strip()
        if not stripped:
            settle()
        elif heading := _HEADING.fullmatch(stripped):
            settle()
            blocks.append(Block("heading", heading[2], level=len(heading[1])))
        elif image := _IMAGE.fullmatch(stripped):
            settle()
            if blocks and blocks[-1].type == "image" and blocks[-1].caption is None:
                blocks[-1] = replace(blocks[-1], caption=image[1].strip() or None)
            else:
                blocks.append(Block("image", caption=image[1].strip() or None))
        elif item := _ITEM.fullmatch(line):
            settle()
            depth = min(len(item[1].expandtabs(4)) // 2 + 1, 9)
            blocks.append(Block("list_item", item[4].strip(), level=depth, marker=_marker(item[3])))
        else:
            plain.append(line)
        place += 1
    settle()
    return blocks, cut


def _marker(number: str | None) -> str:
    return "-" if number is None else f"{number[:-1]}."


def _long(lines: list[str], place: int, end: re.Pattern[str], name: str) -> tuple[str, int, bool]:
    """The text of a block of several lines, the line behind it, and whether its end was there."""
    text = "\n".join(lines[place:]).lstrip()
    skip = 2 if name == "formula" else 3 if name == "code" else 1
    closing = end.search(text, skip)
    if closing is None:
        return text, len(lines), False
    if name == "latex" and "\\begin{table" in text[: closing.start()] and (outer := text.find("\\end{table")) >= 0:
        closing = end.search(text, outer) or closing
    rest = text[closing.end() :].split("\n", 1)
    after = len(lines) - (rest[1].count("\n") + 1 if len(rest) > 1 else 0)
    if rest[0].strip():
        after -= 1
        lines[after] = rest[0]
    return text[: closing.end()], after, True


def _of(content: str, name: str) -> Block:
    if name == "formula":
        return Block("formula", re.sub(r"^(?:\$\$|\\\[)|(?:\$\$|\\\])$", "", content).strip())
    if name == "code":
        head, _, body = content.partition("\n")
        return Block("code", re.sub(r"\n?```\s*$", "", body), format=head.strip("` ") or None)
    if name == "html":
        tables = [block for block in read_html(content)[0] if block.type == "table"]
        return tables[0] if tables else Block("paragraph", content)
    return _latex(content)


def _latex(content: str) -> Block:
    """A tabular: rows end with a double backslash, cells with &."""
    caption = re.search(r"\\caption\{([^{}]*)\}", content)
    begin = re.search(r"\\begin\{(?:tabular|array)\*?\}(?:\[[^\]]*\])?(?:\{(?:[^{}]|\{[^{}]*\})*\})?", content)
    body = content[begin.end() if begin else 0 :]
    body = re.split(r"\\end\{(?:tabular|array|table)", body)[0]
    rule = r"\\(?:hline|toprule|midrule|bottomrule|centering)\b|\\c(?:line|midrule)(?:\([^)]*\))?\{[^{}]*\}"
    source = re.split(r"\\\\(?:\[[^\]]*\])?", re.sub(rule, "", body))
    rows = [[_latex_cell(cell) for cell in re.split(r"(?<!\\)&", row)] for row in source if row.strip()]
    block = _table(_without_shadows(rows), None)
    return replace(block, caption=caption[1].strip() if caption else None)


def _latex_cell(source: str) -> tuple[str, int, int, bool]:
    text, tall, wide = source.strip(), 1, 1
    for _ in range(2):
        if match := _CELL.match(text):
            wide, text = int(match[1]), match[2].strip()
        elif match := _TALL.match(text):
            tall, text = int(match[1]), match[2].strip()
    text = re.sub(r"\\text(?:bf|it|rm|tt|sc)?\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\([&%$#_{}])", r"\1", text)
    return " ".join(text.split()), max(1, tall), max(1, wide), False


def _without_shadows(rows: list[list[tuple[str, int, int, bool]]]) -> list[list[tuple[str, int, int, bool]]]:
    """LaTeX writes an empty cell under a tall one; the table model has none there."""
    shadows: dict[int, int] = {}  # column -> rows that a tall cell still covers
    kept = []
    for row in rows:
        cells, column = [], 0
        for text, tall, wide, header in row:
            covered = shadows.get(column, 0) > 0
            if not (covered and not text):
                cells.append((text, tall, wide, header))
            for covered_column in range(column, column + min(wide, 1000)):
                shadows[covered_column] = max(shadows.get(covered_column, 0) - 1, tall - 1 if not covered else 0)
            column += wide
        kept.append(cells)
    return kept


def _piped(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", inner)]


def _table(rows: list[list[tuple[str, int, int, bool]]], box: str | None) -> Block:
    cells = placed(rows)
    lines: dict[int, list[str]] = {}
    for cell in cells:
        lines.setdefault(cell.row, []).append(cell.text)
    return Block("table", "\n".join("\t".join(line) for line in lines.values()), box=box, cells=cells)
