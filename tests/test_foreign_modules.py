"""Folders with names as ours, which other programs have on their paths, change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.checkout import ROOT


@pytest.mark.parametrize("place", ["PYTHONPATH", "where one stands"])
def test_they_are_never_taken_for_ours(tmp_path: Path, place: str) -> None:
    for name in ("schemas", "model", "operators", "pipelines"):
        (tmp_path / name).mkdir()
        for file in ("__init__", "config", "version", "errors"):
            (tmp_path / name / f"{file}.py").write_text("raise RuntimeError('a stranger')\n")
    folders = [str(tmp_path), str(ROOT)] if place == "PYTHONPATH" else [str(ROOT)]
    done = subprocess.run(
        [sys.executable, *(["-P"] if place == "PYTHONPATH" else []), "-m", "jobs.cli", "tasks"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("caption ")
