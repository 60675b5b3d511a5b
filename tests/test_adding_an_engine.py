"""Adding an engine as docs/ tells it, to a copy of this checkout: a job runs with it, and no standing file changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from schemas.checkout import ROOT
from tests.support.checkout import Checkout
from tests.support.world import write_image

FILES = re.compile(r"^`([\w/]+\.py)`\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_a_job_runs_with_an_engine_that_was_added_as_the_page_tells(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    files = dict(FILES.findall((ROOT / "docs" / "extending-engine.md").read_text(encoding="utf-8")))
    assert sorted(files) == ["model/engines/echo_kind.py", "schemas/engines/echo.py"]
    for name, text in files.items():
        checkout.add(name, text)
    assert checkout.touched() == []

    spec: dict[str, Any] = {
        "name": "n", "inputs": [str(write_image(tmp_path / "a.png"))], "tasks": ["ocr"],
        "engine": {"kind": "echo", "words": "Hi there"}, "decode": {"workers": 1}, "output": str(tmp_path / "out"),
    }  # fmt: skip
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    checkout.sightread("run", str(path))
    (row,) = pq.read_table(tmp_path / "out" / "results", partitioning=None).to_pylist()
    assert (row["status"], row["text"], row["model"], row["output_tokens"]) == ("ok", "Hi there", "echo", 2)

    spec["engine"]["recording"] = "replies.jsonl"
    path.write_text(yaml.safe_dump(spec))
    refused = checkout.sightread("run", str(path), code=2)
    assert "engine.recording: the echo engine has no such key; it belongs to scripted" in refused
