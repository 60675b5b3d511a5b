"""What is read of a large output is never held as a whole: measured as peaks of memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from operators.store import sealed
from operators.store.addresses import store_at
from schemas.checkout import ROOT
from tests.support import large_output

PAGE_BYTES = 12_000
"""Of a row, unpacked: a page is in its text, in its blocks and in its Markdown."""


def test_reading_takes_memory_for_some_of_the_rows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    amount: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    inputs = amount(20_000, 100_000)
    rows_mb = inputs * PAGE_BYTES / (1 << 20)
    monkeypatch.setattr(sealed, "GROUP_BYTES", 8 << 20)
    large_output.write(store_at(f"{tmp_path}/large"), inputs, of_slice=inputs // 4)
    large_output.write(store_at(f"{tmp_path}/small"), 64, of_slice=32)
    peaks_mb = {}
    for command in large_output.COMMANDS:
        arguments = [f"{tmp_path}/large", f"{tmp_path}/small"]
        ended = subprocess.run(
            [sys.executable, "-m", "tests.support.large_output", command, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks_mb[command] = float(ended.stdout)
    figure(f"{inputs} rows of {rows_mb:.0f} MB: MB above a small output: {peaks_mb}")
    # all of them at once take more than their bytes; what a batch takes varies with the allocator
    assert max(peaks_mb.values()) < 0.75 * min(rows_mb, 229), peaks_mb
