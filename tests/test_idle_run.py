"""A run that had nothing to do says so, and leaves what the last one that did something came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from jobs.cli import main
from pipelines.summary.stored import OF_A_RUN
from tests.support.world import write_image, write_recording


def test_the_figures_of_a_run_outlive_runs_that_had_nothing_to_do(in_process: Path, capsys: Any) -> None:
    write_image(in_process / "a.png")
    recording = write_recording(in_process / "r.jsonl", {"sample": "*", "task": "*", "reply": "a sign"})
    spec = {
        "name": "n", "inputs": ["a.png"], "tasks": ["caption"], "output": "out", "decode": {"workers": 1},
        "engine": {"kind": "scripted", "recording": str(recording)},
    }  # fmt: skip
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    summary = Path("out/_job/summary.json")

    def run() -> dict[str, Any]:
        assert main(("run", "spec.yaml")) == 0
        stored: dict[str, Any] = json.loads(summary.read_text())
        return stored

    first = run()
    assert first["new_rows"] == 1
    assert {stage["stage"] for stage in first["engine"]["stages"]} >= {"decode", "parse", "engine", "driver"}
    shown = capsys.readouterr().out
    assert "bottleneck: requests" in shown
    assert "busy + idle = workers x" in shown
    summary.write_text(json.dumps({**first, "complete": "as it was before"}))
    again = run()
    assert again["complete"] is True, "the audit is of now"
    assert {key: again[key] for key in OF_A_RUN} == {key: first[key] for key in OF_A_RUN}
    shown = capsys.readouterr().out
    assert "nothing to do" in shown
    assert "bottleneck" not in shown
    assert main(("status", "out")) == 0
    assert "bottleneck: " in capsys.readouterr().out, "of the run that asked something"
    summary.write_text("no JSON")
    assert run()["new_rows"] == 0
