"""The line of a run: on a terminal it lives whatever happens, in a pipe there are plain lines."""

from __future__ import annotations

import io
import os
import pty
import re
import threading
import time

from rich.console import Console

from jobs.display import Display
from tests.test_pace import receipt


class Terminal:
    """A pseudo-terminal of so many columns, and what came through it, with when: one entry for each write."""

    def __init__(self, columns: int = 100) -> None:
        self._ours, self._theirs = pty.openpty()
        self.file = os.fdopen(self._theirs, "w")
        self.console = Console(file=self.file, width=columns, force_terminal=True, color_system=None)
        self.drawn: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return
            self.drawn.append((time.monotonic(), data.decode(errors="replace")))

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", "".join(text for _, text in self.drawn))

    def close(self) -> None:
        self.file.close()
        self._thread.join(5)
        os.close(self._ours)


def test_it_moves_while_nothing_comes() -> None:
    """From the start of the engine on; what is told meanwhile stands above it, and nothing of it stays."""
    terminal = Terminal()
    with Display(terminal.console) as display:
        display.planned(100, 0, 4)
        display.starting("the engine")
        until = time.monotonic() + 60
        while len({*re.findall(r"0:00:0\d so far", terminal.text)}) < 3 and time.monotonic() < until:
            time.sleep(0.1)
        display.answered(40, 400, 1.0)
        while "40/100 rows" not in terminal.text and time.monotonic() < until:
            time.sleep(0.1)
    terminal.close()
    assert len({*re.findall(r"0:00:0\d so far", terminal.text)}) >= 3
    assert "starting the engine, 0/100 rows, 0:00:0" in terminal.text
    assert "40/100 rows, 0:00:0" in terminal.text, "answered, and not committed yet"
    for line in terminal.text.replace("\r", "\n").splitlines():
        assert len(line) <= 100


def test_a_pipe_gets_plain_lines() -> None:
    printed = io.StringIO()
    with Display(Console(file=printed, width=100)) as display:
        display.planned(100, 0, 4)
        display.starting("the engine")
        for rows in range(0, 101, 10):
            display.answered(rows, rows, 1.0)
            display.receipt(receipt(time.time() - 1))
    lines = printed.getvalue().splitlines()
    assert all(re.fullmatch(r"[\x20-\x7e]+", line) for line in lines)
    assert lines[:2] == ["100 rows to have; 4 chunks to go", "starting the engine"]
    assert lines[-1].startswith("100/100 rows, 0 failed")
