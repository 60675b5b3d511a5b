"""Print what others wrote, so that nothing of it steers the terminal. Light: imports nothing that a quick command does
without."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from schemas.printable import one_line, printable


def show_line(console: Console, text: str) -> None:
    """A line, whatever names, reasons and messages of others are in it: nothing is taken for markup, nothing steers the
    terminal."""
    console.print(cell(text), soft_wrap=True)


def cell(text: str, *, lines: bool = False) -> Text:
    """The same for a cell of a table. lines: whether its ends of lines stay."""
    return Text(printable(text) if lines else one_line(text))


def console_for(stream: Any = None) -> Console:
    return Console(file=stream or sys.stdout, width=None if sys.stdout.isatty() else 140)
