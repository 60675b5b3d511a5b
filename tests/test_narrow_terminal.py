"""A table is a table where it fits, and words where the terminal is narrow."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from jobs.terminal import cell, show_table

HEADS = ("task", "rows", "ok", "unsure", "doubtful", "failed", "models")


def shown(width: int, *, terminal: bool = True) -> list[str]:
    table = Table(title=cell("[b]mine"), show_edge=False)
    for head in HEADS:
        table.add_column(head, overflow="fold")
    table.add_row(cell("caption"), "4 of 4", "0", "3", cell("1: 1 looping"), "0", "")
    table.add_row(cell("ocr"), "6 of 6", "3", "3", "0", "0", "model/nano/checkpoint")
    printed = io.StringIO()
    show_table(Console(file=printed, width=width, force_terminal=terminal, color_system=None), table)
    return [line.rstrip() for line in printed.getvalue().splitlines()]


@pytest.mark.parametrize("width", [30, 40, 60])
def test_no_word_is_broken_on_a_narrow_terminal(width: int) -> None:
    lines = shown(width)
    assert max(map(len, lines)) <= width
    assert " ".join(lines) == (
        "[b]mine "
        "task caption: rows 4 of 4, ok 0, unsure 3, doubtful 1: 1 looping, failed 0 "
        "task ocr: rows 6 of 6, ok 3, unsure 3, doubtful 0, failed 0, models model/nano/checkpoint"
    )


def test_a_wide_one_and_a_pipe_get_the_table() -> None:
    assert any("│" in line for line in shown(100))
    assert any("│" in line for line in shown(80, terminal=False))
