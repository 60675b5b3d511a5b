"""A run from one bucket into another, and every command that takes the address of its output. Without Ray."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageColor

from jobs.cli import main
from operators.code_check.render_page import missing
from operators.overlay import COLORS
from operators.store.bucket import BucketStore
from tests.support.object_server import S3Server
from tests.support.world import write_image, write_pdf, write_recording

PAGE = "<html><body style='background:white'><h1>Sign</h1></body></html>"
REPLIES = {
    "ground_2d": '[{"bbox_2d": [100, 250, 500, 750], "label": "sign"}]',
    "parse_document": "# Prices\n\nseven\n",
    "code_html": f"```html\n{PAGE}\n```",
}


def test_a_run_and_its_commands_on_a_bucket(
    s3: S3Server, in_process: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    for path in (write_image(in_process / "a.png"), write_pdf(in_process / "b.pdf", 2)):
        s3.put(f"{bucket}/in/{path.name}", path.read_bytes())
    lines = [{"sample": "*", "task": task, "reply": reply} for task, reply in REPLIES.items()]
    output = f"{bucket}/some/out"
    spec = {
        "name": "n", "inputs": [f"{bucket}/in/"],
        "tasks": [{"name": "ground_2d", "parameters": {"phrases": "sign"}}, "parse_document", "code_html"],
        "output": output, "decode": {"workers": 1},
        "engine": {"kind": "scripted", "recording": str(write_recording(in_process / "r.jsonl", *lines))},
    }  # fmt: skip
    Path("spec.yaml").write_text(yaml.safe_dump(spec))

    def sightread(*arguments: str) -> str:
        assert main(arguments) == 0 or arguments[0] == "doctor"  # which may complain of memory or disk
        return " ".join(capsys.readouterr().out.split())

    planned = sightread("plan", "spec.yaml")
    assert f"job n -> {output}" in planned
    assert "commit: 1 actors x 8 calls" in planned
    assert BucketStore(output).list() == []  # a plan writes nothing
    shown = sightread("run", "spec.yaml")
    assert f"Parquet of ground_2d: {output}/results/task=ground_2d/*.parquet" in shown
    assert "nothing to do" in sightread("run", "spec.yaml")
    assert "sign" in sightread("show", output)
    assert sightread("markdown", output).split()[0].startswith(f"{output}/markdown/a-")
    assert "ground_2d: 3 rows, 0 changed; ok 0, unsure 3, doubtful 0, failed 0" in sightread("reparse", output)
    assert f"inputs {bucket}/in/ answers" in sightread("doctor", "spec.yaml")

    for file in (in_process / "cache").rglob("*"):  # an overlay fetches its inputs anew
        file.unlink() if file.is_file() else None
    drawn = sightread("overlay", output, "--task", "ground_2d").split()
    store = BucketStore(output)
    with store.open(drawn[0].removeprefix(f"{output}/")) as file, Image.open(file) as picture:
        assert ImageColor.getrgb(COLORS[0]) in {color for _, color in picture.convert("RGB").getcolors(1 << 24)}

    assert json.loads(store.open("_job/summary.json").read())["complete"]
    screenshots = store.list("screenshots")
    assert len(screenshots) == (0 if missing() else 3)
    for key in screenshots[:1]:
        Image.open(io.BytesIO(store.open(key).read())).verify()
    assert not [path for path in in_process.rglob("*") if "results" in path.parts or "_job" in path.parts]
