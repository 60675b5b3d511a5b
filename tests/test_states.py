"""What is told of rows that are right, unsure, doubtful and failed: at the end of a run, by `show`, `status`, `try`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from jobs.cli import main
from schemas.checkout import ROOT
from schemas.state import STATES
from schemas.task import FAULTS
from tests.support.world import write_image, write_pdf, write_recording

RIGHT = "Page 1 of right"


@pytest.fixture
def spec(in_process: Path) -> dict[str, Any]:
    """Of four inputs, one of each state; of them a quarter fails."""
    folder = in_process / "in"
    folder.mkdir()
    for name in ("right", "wrong"):
        write_pdf(folder / f"{name}.pdf", pages=1)
    write_image(folder / "unsure.png")
    (folder / "empty.png").write_bytes(b"")
    recording = write_recording(
        in_process / "r.jsonl",
        {"sample": "right.pdf", "task": "ocr", "reply": RIGHT},
        {"sample": "wrong.pdf", "task": "ocr", "reply": "All other words than those which stand on this page here"},
        {"sample": "*", "task": "ocr", "reply": "Sign"},
    )
    return {
        "name": "states",
        "inputs": [str(folder)],
        "tasks": ["ocr"],
        "engine": {"kind": "scripted", "recording": str(recording)},
        "output": str(in_process / "out"),
    }


def run(spec: dict[str, Any], *options: str, **limits: float) -> int:
    file = Path("spec.yaml")
    file.write_text(yaml.safe_dump(spec | {"limits": limits}))
    return main(["run", str(file), *options])


def test_a_run_tells_them_apart_with_their_sentences(spec: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(spec) == 0
    text = capsys.readouterr().out
    heads, _, cells = (line.split() for line in text[text.index(" task ") :].splitlines()[:3])
    assert [head for head in heads if head in STATES] == [*STATES]
    assert " ".join(cells).replace("│ ", "").startswith("ocr 4 of 4 1 1 1: 1 text_layer 1 empty_file 0")
    assert f"doubtful: text_layer ({FAULTS['text_layer']})" in text
    assert "failed: empty_file, as: the file is empty" in text
    assert f"unsure: {STATES['unsure']}" in text


def test_doubtful_rows_decide_the_exit_code_where_the_spec_says_so(
    spec: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(spec, max_doubtful_fraction=0.25) == 0
    assert run(spec, max_doubtful_fraction=0.2) == 3
    assert "25.0% are doubtful: more than limits.max_doubtful_fraction allows" in capsys.readouterr().out
    assert run(spec, "--json", max_failed_fraction=0.2) == 3
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert (summary["exit_code"], summary["doubtful_fraction"]) == (3, 0.25)
    assert summary["limits_passed"] == ["limits.max_failed_fraction"]
    assert summary["tasks"]["ocr"]["states"] == dict.fromkeys(STATES, 1)
    assert summary["tasks"]["ocr"]["faults"] == {"text_layer": 1}
    assert "4 inputs" in printed.err


def test_a_retry_of_nothing_names_the_doubtful_ones(spec: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/empty.png").unlink()
    run(spec)
    capsys.readouterr()
    assert main(["retry", spec["output"]]) == 0
    assert capsys.readouterr().out == (
        "no row is to be asked for again; 1 are doubtful: --where 'not verified.ok' asks for them\n"
    )
    assert main(["retry", spec["output"], "--where", "not verified.ok"]) == 0
    assert capsys.readouterr().out.startswith("1 rows are asked for again\n")


def test_each_row_is_shown_with_its_state_and_why(spec: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(spec)
    capsys.readouterr()
    assert main(["show", spec["output"], "--json"]) == 0
    rows = {Path(row["input_uri"]).stem: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"right": "ok", "unsure": "unsure", "wrong": "doubtful", "empty": "failed"}
    assert {row["task"] for row in rows.values()} == {"ocr"}
    assert main(["show", spec["output"]]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"doubtful: text_layer ({FAULTS['text_layer']})" in text
    assert "failed: unreadable_input" in text
    assert "empty_file: the file is empty" in text


def test_the_documented_query_names_the_same(spec: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(spec)
    (case,) = re.findall(
        r"```sql\n(case .*? end)\n```", (ROOT / "docs/columns.md").read_text(encoding="utf-8"), re.DOTALL
    )
    with duckdb.connect() as db:
        parts = f"{spec['output']}/results/task=ocr/*.parquet"
        rows = db.sql(f"select input_uri, {case} from '{parts}'").fetchall()
    states = {Path(uri).stem: state for uri, state in rows}
    assert states == {"right": "ok", "unsure": "unsure", "wrong": "doubtful", "empty": "failed"}


def test_a_status_counts_them(spec: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(spec)
    capsys.readouterr()
    assert main(["status", spec["output"], "--json"]) == 0
    task = json.loads(capsys.readouterr().out)["tasks"]["ocr"]
    assert task["rows"] == {"rows": 4, "ok": 3, "states": dict.fromkeys(STATES, 1), "failed": {"empty_file": 1}}
    assert task["faults"] == {"text_layer": 1}
    assert main(["status", spec["output"]]) == 0
    assert f"ocr: doubtful: text_layer ({FAULTS['text_layer']})" in capsys.readouterr().out
