"""Adding an engine as docs/ tells it, to a copy of this checkout: a job runs with it, and no standing file changes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from schemas.checkout import ROOT
from tests.support.world import write_image

FILES = re.compile(r"^`([\w/]+\.py)`\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files_of_the_section(heading: str) -> dict[str, str]:
    """The files that the section of that name, in whichever page it stands, tells to write: text by path."""
    pages = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    (section,) = [page.split(f"## {heading}\n")[1].split("\n## ")[0] for page in pages if f"## {heading}\n" in page]
    return dict(FILES.findall(section))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this one, with the files that the section tells to write."""
    copy = tmp_path / "checkout"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in listed:
        if name.endswith(".py"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


def command(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=checkout,
        env={**variables, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_job_runs_with_an_engine_that_was_added_as_the_page_tells(checkout: Path, tmp_path: Path) -> None:
    files = files_of_the_section("Add an engine")
    assert sorted(files) == ["model/engines/echo_kind.py", "schemas/engines/echo.py"]
    assert not [name for name in files if (checkout / name).exists()], "no standing file is touched"
    for name, text in files.items():
        (checkout / name).write_text(text, encoding="utf-8")

    spec: dict[str, Any] = {
        "name": "n", "inputs": [str(write_image(tmp_path / "a.png"))], "tasks": ["ocr"],
        "engine": {"kind": "echo", "words": "Hi there"}, "decode": {"workers": 1}, "output": str(tmp_path / "out"),
    }  # fmt: skip
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    ran = command(checkout, "jobs.cli", "run", str(path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (row,) = pq.read_table(tmp_path / "out" / "results", partitioning=None).to_pylist()
    assert (row["status"], row["text"], row["model"], row["output_tokens"]) == ("ok", "Hi there", "echo", 2)

    spec["engine"]["recording"] = "replies.jsonl"
    path.write_text(yaml.safe_dump(spec))
    refused = command(checkout, "jobs.cli", "run", str(path))
    assert refused.returncode != 0
    assert (
        "engine.recording: the echo engine has no such key; it belongs to scripted" in refused.stdout + refused.stderr
    )
