"""Folders with names as ours, which other programs have on their paths, change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
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


def test_the_command_is_ours_whoever_comes_first(tmp_path: Path) -> None:
    """Even where the stranger's folder is called as the one that the command lies in."""
    for name in ("schemas", "model", "operators", "pipelines", "jobs"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a stranger')\n")
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["sightread"]
    module, _, function = entry.partition(":")
    command = tmp_path / "bin" / "sightread"  # as pip writes it
    command.parent.mkdir()
    command.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    done = subprocess.run(
        [sys.executable, str(command), "tasks"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("caption ")
