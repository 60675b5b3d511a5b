"""An input format is added the way docs/ tells it: one module, and one line in one standing file."""

from __future__ import annotations

import difflib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import yaml

from tests.support.world import ROOT

TABLE = "operators/media/formats.py"
MODULE = "operators/media/pgmx.py"


def documented(place: str) -> str:
    """The block of the documentation that begins with a comment naming this file, without the comment."""
    (block,) = (
        block
        for page in sorted((ROOT / "docs").glob("*.md"))
        for block in re.findall(rf"```python\n# {re.escape(place)}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    )
    return str(block)


def checkout(folder: Path) -> list[str]:
    """A copy of what is in version control; its files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return names


@pytest.mark.slow
def test_a_format_is_one_module_and_one_line(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    standing = checkout(copy)
    assert MODULE not in standing
    (copy / MODULE).write_text(documented(MODULE), encoding="utf-8")
    table = (copy / TABLE).read_text(encoding="utf-8")
    (copy / TABLE).write_text(table.replace("FORMATS = (\n", f"FORMATS = (\n{documented(TABLE)}"), encoding="utf-8")

    touched = [name for name in standing if (copy / name).read_bytes() != (ROOT / name).read_bytes()]
    assert touched == [TABLE]
    lines = [(ROOT / TABLE).read_text().splitlines(), (copy / TABLE).read_text().splitlines()]
    changes = [line for line in difflib.ndiff(*lines) if line[0] in "+-"]
    assert [line[0] for line in changes] == ["+"]

    rows = {Path(row["input_uri"]).name: row for row in answers(copy, tmp_path)}
    assert {name: (row["media"], row["unit_kind"], row["status"]) for name, row in rows.items()} == {
        "good.pgmx": ("image", "image", "ok"),
        "by-its-first-bytes": ("image", "image", "ok"),
        "short.pgmx": ("image", "image", "unreadable_input"),
    }
    assert (rows["good.pgmx"]["width_px"], rows["good.pgmx"]["height_px"]) == (320, 160)
    assert rows["good.pgmx"]["text"] == "A sign."
    assert rows["short.pgmx"]["error"]["kind"] == "malformed"


def answers(copy: Path, folder: Path) -> list[dict[str, Any]]:
    """Rows of a scripted job over three such files, run by the changed checkout."""
    inputs = folder / "in"
    inputs.mkdir()
    picture = b"PGMX 320 160\n" + np.full((160, 320), 200, np.uint8).tobytes()
    (inputs / "good.pgmx").write_bytes(picture)
    (inputs / "short.pgmx").write_bytes(picture[:-9])
    (folder / "by-its-first-bytes").write_bytes(picture)
    (folder / "replies.jsonl").write_text(json.dumps({"sample": "*", "task": "*", "reply": "A sign."}) + "\n")
    spec = {
        "name": "gray",
        "inputs": [str(inputs), str(folder / "by-its-first-bytes")],
        "tasks": ["caption"],
        "engine": {"kind": "scripted", "recording": str(folder / "replies.jsonl")},
        "decode": {"workers": 1},
        "output": str(folder / "out"),
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(spec))
    command = [sys.executable, "-m", "jobs.cli", "run", str(folder / "job.yaml")]
    ended = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = duckdb.execute(f"select * from '{folder}/out/results/task=caption/*.parquet'")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, values, strict=True)) for values in found.fetchall()]
