"""The model's Markdown of a page (prompt `qwenvl markdown`): boxes of pictures and tables in comments, tables in
LaTeX. Tables with pipes or in HTML, as other prompts bring them, are read as well. Format: docs/facts/qwen3-vl.md §2.2.
"""

from __future__ import annotations

import re
from dataclasses import replace

from pipelines.replies.blocks import MOST_SPAN, Block, placed
from pipelines.replies.qwenvl_html import read_html

_PLACE = re.compile(r"<!--\s*(Image|Table|Chart|Figure)[^\n()<>]*\(([^()<>\n]*)\)[^\n<>]*-->", re.IGNORECASE)
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"(\s*)(?:([-*+•])|(\d+[.)]))\s+(.*)")
_IMAGE = re.compile(r"!\[([^\]]*)\](?:\([^)]*\))?")
_DASHES = re.compile(r"\s*:?-{2,}:?\s*")
_LONG = (
    # what a block of several lines begins with, the whole of its beginning, its end, what it is
    (
        *("\\begin{", re.compile(r"\\begin\{(?:tabular|table|array)\*?\}")),
        *(re.compile(r"\\end\{(?:tabular|table|array)\*?\}"), "latex"),
    ),
    ("<table", re.compile(r"<table\b"), re.compile(r"</table>"), "html"),
    ("$$", re.compile(r"\$\$"), re.compile(r"\$\$"), "formula"),
    ("\\[", re.compile(r"\\\["), re.compile(r"\\\]"), "formula"),
    ("```", re.compile(r"```"), re.compile(r"```"), "code"),
)
_CELL = re.compile(r"\\multicolumn\s*\{(\d{1,3})\}\s*\{[^{}]*\}\s*\{(.*)\}\s*$", re.DOTALL)
_TALL = re.compile(r"\\multirow\s*(?:\[[^\]]*\])?\{(\d{1,3})\}\s*\{[^{}]*\}\s*\{(.*)\}\s*$", re.DOTALL)


def read_markdown(reply: str) -> tuple[list[Block], bool]:
    """Blocks in order, and whether the reply ends within one. Raises nothing."""
    fence = re.match(r"\s*```(?:markdown|md)?[^\S\n]*\n", reply)
    body = reply[fence.end() :] if fence else reply
    cut = False
    if fence:
        cut = body.count("```") % 2 == 0
        body = body[: body.rfind("```")] if not cut else body
    reader = _Reader(_PLACE.sub(r"\n\g<0>\n", body), cut=cut)
    while reader.place < len(reader.body):
        reader.read_line()
    reader.settle()
    return reader.blocks, reader.cut


class _Reader:
    """Goes over the text once, from one line to the next. box: of the table that is to come."""

    def __init__(self, body: str, *, cut: bool) -> None:
        self.body, self.cut = body, cut
        self.place = 0
        self.blocks: list[Block] = []
        self._plain: list[str] = []
        self._box: str | None = None
        self._last_table = body.rfind("\\end{table")

    def _line_at(self, place: int) -> tuple[str, int]:
        """A line, and where the next one begins."""
        end = self.body.find("\n", place)
        end = len(self.body) if end < 0 else end
        return self.body[place:end], end + 1

    def settle(self) -> None:
        """What was read of a paragraph is one."""
        text = "\n".join(line.strip() for line in self._plain).strip()
        self._plain.clear()
        if text:
            self.blocks.append(Block("paragraph", text))

    def read_line(self) -> None:
        line, following = self._line_at(self.place)
        stripped = line.strip()
        if not stripped:
            self.settle()
        elif mark := _PLACE.fullmatch(stripped):
            self.settle()
            if mark[1].lower() == "table":
                self._box = mark[2]
            else:
                self.blocks.append(Block("chart" if mark[1].lower() == "chart" else "image", box=mark[2]))
        elif kind := next((kind for kind in _LONG if kind[1].match(stripped)), None):
            self.settle()
            self._read_long(kind[0], *kind[2:])
            return
        elif "|" in line and self._is_ruler(following):
            self.settle()
            self._read_table(line, following)
            return
        elif heading := _HEADING.fullmatch(stripped):
            self.settle()
            self.blocks.append(Block("heading", heading[2].rstrip("#").rstrip(), level=len(heading[1])))
        elif image := _IMAGE.fullmatch(stripped):
            self.settle()
            caption = image[1].strip() or None
            if self.blocks and self.blocks[-1].type == "image" and self.blocks[-1].caption is None:
                self.blocks[-1] = replace(self.blocks[-1], caption=caption)
            else:
                self.blocks.append(Block("image", caption=caption))
        elif item := _ITEM.fullmatch(line):
            self.settle()
            depth = min(len(item[1].expandtabs(4)) // 2 + 1, 9)
            self.blocks.append(Block("list_item", item[4].strip(), level=depth, marker=_marker(item[3])))
        else:
            self._plain.append(line)
        self.place = following

    def _is_ruler(self, place: int) -> bool:
        """Whether a table's line of dashes begins there."""
        if place >= len(self.body):
            return False
        line = self._line_at(place)[0].strip()
        cells = line.removeprefix("|").removesuffix("|").split("|")
        return "|" in line and all(_DASHES.fullmatch(cell) for cell in cells)

    def _read_table(self, head: str, ruler: int) -> None:
        rows = [head]
        place = self._line_at(ruler)[1]
        while place < len(self.body):
            line, following = self._line_at(place)
            if "|" not in line:
                break
            rows.append(line)
            place = following
        cells = [[(text, 1, 1, number == 0) for text in _piped(row)] for number, row in enumerate(rows)]
        self.blocks.append(_table(cells, self._box))
        self._box, self.place = None, place

    def _read_long(self, key: str, ending: re.Pattern[str], name: str) -> None:
        """A block up to its end, or to the end of the text; what stands behind its end is the next line."""
        start = self.body.index(key, self.place)
        closing = ending.search(self.body, start + len(key))
        if closing is not None and name == "latex" and self._last_table >= start:
            outer = self.body.find("\\begin{table", start, closing.start())
            if outer >= 0:
                closing = ending.search(self.body, self.body.index("\\end{table", start)) or closing
        end = len(self.body) if closing is None else closing.end()
        self.cut |= closing is None
        block = _of(self.body[start:end], name)
        if block.type == "table":
            block, self._box = replace(block, box=self._box), None
        self.blocks.append(block)
        self.place = end + 1 if self.body.startswith("\n", end) else end


def _marker(number: str | None) -> str:
    return "-" if number is None else f"{number[:-1]}."


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
    rule = r"\\(?:hline|toprule|midrule|bottomrule|centering)\b|\\c(?:line|midrule)(?:\([^()\n]*\))?\{[^{}\n]*\}"
    source = re.split(r"\\\\(?:\[[^\[\]\n]*\])?", re.sub(rule, "", body))
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
            for covered_column in range(column, column + min(wide, MOST_SPAN)) if tall > 1 or shadows else ():
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
