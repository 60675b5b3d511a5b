"""One sentence for what cannot be: a small job of text, and what a command says that cannot do what it should."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from tests.support.world import write_recording

Spec = dict[str, Any]


def job_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """About one text, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_recording(tmp_path / "r.jsonl", {"reply": "{}"})
    (tmp_path / "t.csv").write_text("question\nwhy\n")
    return {
        "name": "n", "inputs": ["t.csv"], "tasks": [{"name": "text", "prompt": "{question}"}], "output": "out",
        "engine": {"kind": "scripted", "recording": "r.jsonl"},
    }  # fmt: skip


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that cannot do what it should: one line on stderr."""
    capsys.readouterr()
    started = time.process_time()
    code = main(arguments)
    assert time.process_time() - started < 10
    printed = capsys.readouterr()
    assert code in (1, 2), printed
    assert "Traceback" not in printed.err + printed.out
    assert printed.err.startswith("sightread: ")
    assert printed.err.count("\n") == 1
    assert printed.err.rstrip("\n").isprintable()
    return printed.err
