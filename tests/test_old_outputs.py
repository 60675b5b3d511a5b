"""An output that another version wrote is refused by every command, in one sentence, and stays as it is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.cli import main
from tests.support.world import write_image, write_recording

BEFORE = {"6977f47": '{"inputs": ["/in"], "tasks": {"ocr": {}}}', "layout 4": '{"inputs": ["/in"], "layout": 4}'}
"""What stood in identity.json."""
OVER_AN_OUTPUT = ("show OUT", "overlay OUT", "markdown OUT", "reparse OUT", "export OUT --to webdataset")


@pytest.fixture(params=BEFORE)
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    output = tmp_path / "out"
    part = output / "results" / "task=ocr" / "part-9f86d081.parquet"
    part.parent.mkdir(parents=True)
    pq.write_table(pa.table({"input_id": ["i"], "unit_index": [0], "status": ["ok"]}), part)
    (output / "_job").mkdir()
    (output / "_job" / "identity.json").write_text(BEFORE[request.param])
    write_image(tmp_path / "a.png")
    recording = write_recording(tmp_path / "replies.jsonl", {"sample": "*", "task": "*", "reply": "a"})
    path = tmp_path / "spec.yaml"
    values = {
        "name": "old", "inputs": [str(tmp_path / "a.png")], "tasks": ["ocr"], "output": str(output),
        "engine": {"kind": "scripted", "recording": str(recording)},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("command", ["run SPEC", "plan SPEC", *OVER_AN_OUTPUT])
def test_another_versions_output_is_refused(spec: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = spec.parent / "out"
    before = sorted(output.rglob("*"))
    words = [{"SPEC": str(spec), "OUT": str(output)}.get(word, word) for word in command.split()]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"{output} was begun by another version of sightread (" in message
    assert "another `output:`" in message
    assert sorted(output.rglob("*")) == before
