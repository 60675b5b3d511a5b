"""What a page is made of: headings, paragraphs, tables and the rest, whichever notation the model used for them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

BlockType = Literal[
    "heading", "paragraph", "list_item", "table", "formula", "image", "chart", "music", "chemistry", "code"
]
BLOCK_TYPES: tuple[BlockType, ...] = (
    *("heading", "paragraph", "list_item", "table", "formula"),
    *("image", "chart", "music", "chemistry", "code"),
)
MOST_SPAN = 200
"""Rows or columns that a cell may span; more is damage."""
_PLACES, _PLACES_A_CELL = 20_000, 20
"""Places that the cells of one table may cover, in all and for each cell; where it is more, they span no more."""
_LOOSE = 4
"""Times the cells of a table that Markdown may have of places, the missing ones left empty."""


@dataclass(frozen=True)
class Cell:
    """row, column: 0-based, of its upper left corner."""

    row: int
    column: int
    text: str
    row_span: int = 1
    column_span: int = 1
    header: bool = False


@dataclass(frozen=True)
class Block:
    """text: plain, formulas as LaTeX, music and chemistry in the notation `format` names. level: of a heading 1-6,
    of a list item its depth from 1. box: the four coordinates as they were written, on the model's scale.
    cells: of tables and of charts that came with their data. marker: of a list item, "-" or "1."."""

    type: BlockType
    text: str = ""
    level: int | None = None
    box: str | None = None
    caption: str | None = None
    format: str | None = None
    marker: str = "-"
    cells: tuple[Cell, ...] | None = None

    @property
    def html(self) -> str | None:
        return table_html(self.cells) if self.cells is not None else None

    @property
    def markdown(self) -> str:
        match self.type:
            case "heading":
                return f"{'#' * (self.level or 1)} {' '.join(self.text.split())}"
            case "list_item":
                return f"{'  ' * ((self.level or 1) - 1)}{self.marker} {' '.join(self.text.split())}"
            case "formula":
                return f"$$\n{self.text}\n$$"
            case "music" | "chemistry" | "code":
                body = f"```{self.format or ''}\n{self.text}\n```"
            case "image":
                body = f"![{' '.join((self.caption or self.text).split())}]()"
                return body if not (self.caption and self.text) else f"{body}\n\n{self.text}"
            case "table" | "chart":
                body = table_markdown(self.cells) if self.cells else self.text
            case _:
                return self.text
        return f"{body}\n\n{self.caption}" if self.caption else body


def page_markdown(blocks: Sequence[Block]) -> str:
    """The blocks one after the other, items of a list on lines that follow each other."""
    parts: list[str] = []
    before: BlockType | None = None
    for block in blocks:
        parts += ("\n" if block.type == before == "list_item" else "\n\n" if parts else "", block.markdown)
        before = block.type
    return "".join(parts)


def placed(rows: list[list[tuple[str, int, int, bool]]]) -> tuple[Cell, ...]:
    """Cells in their places from rows of (text, row_span, column_span, header): a cell that spans rows pushes the
    cells of the rows below to the right, as HTML does (HTML Living Standard, 4.9.12.1)."""
    taken: set[tuple[int, int]] = set()
    cells = []
    left = _PLACES + _PLACES_A_CELL * sum(map(len, rows))
    for row, entries in enumerate(rows):
        column = 0
        for text, row_span, column_span, header in entries:
            while (row, column) in taken:
                column += 1
            row_span, column_span = (
                max(1, min(row_span, len(rows) - row, MOST_SPAN)),
                max(1, min(column_span, MOST_SPAN)),
            )
            if row_span * column_span > left:
                row_span = column_span = 1
            left -= row_span * column_span
            cells.append(Cell(row, column, text, row_span, column_span, header))
            if row_span > 1:
                taken |= {(row + down, column + right) for down in range(row_span) for right in range(column_span)}
            column += column_span
    return tuple(cells)


def table_html(cells: tuple[Cell, ...]) -> str:
    """A plain table with all text escaped."""
    lines = ["" for _ in range(max((cell.row for cell in cells), default=-1) + 1)]
    for cell in cells:
        tag = "th" if cell.header else "td"
        spans = f' rowspan="{cell.row_span}"' if cell.row_span > 1 else ""
        spans += f' colspan="{cell.column_span}"' if cell.column_span > 1 else ""
        lines[cell.row] += f"<{tag}{spans}>{html.escape(cell.text, quote=False)}</{tag}>"
    return "\n".join(["<table>", *(f"<tr>{line}</tr>" for line in lines), "</table>"])


def table_markdown(cells: tuple[Cell, ...]) -> str:
    """With pipes where every cell is one place and few places are empty, else as HTML, which Markdown allows."""
    if not cells or any(cell.row_span > 1 or cell.column_span > 1 for cell in cells):
        return table_html(cells)
    width, height = max(cell.column for cell in cells) + 1, max(cell.row for cell in cells) + 1
    if width * height > _PLACES and width * height > _LOOSE * len(cells):
        return table_html(cells)
    grid = [[""] * width for _ in range(height)]
    for cell in cells:
        grid[cell.row][cell.column] = " ".join(cell.text.replace("|", "\\|").split())
    lines = [f"| {' | '.join(row)} |" for row in grid]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])
