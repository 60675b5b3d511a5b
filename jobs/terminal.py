"""Print what others wrote, so that nothing of it steers the terminal. Light: imports nothing that a quick command does
without."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from schemas.printable import one_line, printable


def show_line(console: Console, text: str) -> None:
    """A line, whatever names, reasons and messages of others are in it: nothing is taken for markup, nothing steers the
    terminal."""
    console.print(cell(text), soft_wrap=True)


def show_table(console: Console, table: Table) -> None:
    """Row by row in words where a terminal is too narrow for it: nobody reads columns of a letter or two."""
    roomy = console.options.update(max_width=10_000)
    if not console.is_terminal or Measurement.get(console, roomy, table).maximum <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(cell(_plain(table.title)))
    names = [_plain(column.header) for column in table.columns]
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        parts = [f"{name} {_plain(value)}" for name, value in zip(names[1:], others, strict=True) if _plain(value)]
        console.print(cell(f"{names[0]} {_plain(first)}: {', '.join(parts)}"))
    if table.caption:
        console.print(cell(_plain(table.caption)))


def _plain(value: object) -> str:
    return value.plain if isinstance(value, Text) else str(value)


def cell(text: str, *, lines: bool = False) -> Text:
    """The same for a cell of a table. lines: whether its ends of lines stay."""
    return Text(printable(text) if lines else one_line(text))


def console_for(stream: Any = None) -> Console:
    return Console(file=stream or sys.stdout, width=None if sys.stdout.isatty() else 140)
