"""An input format is added the way docs/ tells it: one module, and one line in one standing file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import yaml

from schemas.checkout import ROOT
from tests.support.checkout import Checkout

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


@pytest.mark.slow
def test_a_format_is_one_module_and_one_line(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.add(MODULE, documented(MODULE))
    table = checkout.folder / TABLE
    text = table.read_text(encoding="utf-8").replace("FORMATS = (\n", f"FORMATS = (\n{documented(TABLE)}")
    table.write_text(text, encoding="utf-8")
    assert checkout.touched() == [TABLE]
    assert checkout.lines_added(TABLE) == 1

    rows = {Path(row["input_uri"]).name: row for row in answers(checkout, tmp_path)}
    assert {name: (row["media"], row["unit_kind"], row["status"]) for name, row in rows.items()} == {
        "good.pgmx": ("image", "image", "ok"),
        "by-its-first-bytes": ("image", "image", "ok"),
        "short.pgmx": ("image", "image", "unreadable_input"),
    }
    assert (rows["good.pgmx"]["width_px"], rows["good.pgmx"]["height_px"]) == (320, 160)
    assert rows["good.pgmx"]["text"] == "A sign."
    assert rows["short.pgmx"]["error"]["kind"] == "malformed"


def answers(checkout: Checkout, folder: Path) -> list[dict[str, Any]]:
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
    checkout.sightread("run", str(folder / "job.yaml"))
    result = duckdb.execute(f"select * from '{folder}/out/results/task=caption/*.parquet'")
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, values, strict=True)) for values in result.fetchall()]
