"""A long file takes hardly more memory than a short one, in who plans and in who decodes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.world import ROOT, write_pdf


def peaks(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.support.peak_memory", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout)
    assert not answer.pop("errors")
    return answer


@pytest.mark.timeout(1800)
def test_pages_are_not_kept_in_memory(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    many = amount(400, 5000)
    few, all_pages = (peaks(write_pdf(tmp_path / f"{pages}.pdf", pages)) for pages in (50, many))
    assert (few.pop("units"), all_pages.pop("units")) == (50, many)
    for process, mb in all_pages.items():
        figure(f"{process}: {few[process]:.0f} MB at most for 50 pages, {mb:.0f} MB for {many}")
    for peak in (_planner, _child):
        assert peak(all_pages) <= 1.2 * peak(few)


def _planner(peaks: dict[str, float]) -> float:
    return peaks["planner_mb"]


def _child(peaks: dict[str, float]) -> float:
    """The larger of who probes and who decodes."""
    return max(peaks["prober_mb"], peaks["decoder_mb"])
