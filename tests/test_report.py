"""What a report says: figures over all rows, which of them it shows, and files that a browser can open."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from jobs.demo_media import write_demo_media
from jobs.report.items import bounded, frames_in, texts_in
from jobs.report.report import write_report
from jobs.report.site import Folder, SingleFile
from jobs.report.survey import HISTOGRAMS, survey
from operators.store.addresses import store_at
from operators.store.memory import MemoryStore
from operators.store.results import Results
from operators.store.store import read
from schemas.checkout import ROOT
from schemas.errors import SpecError
from tests.support.result_rows import rows
from tests.support.stored import CHUNK, begin, put_rows
from tests.support.world import World, write_image, write_recording

DECODE = {"decode": {}, "prompt": "Read {it}", "prompts": {}}


def output(address: str, states: str) -> MemoryStore:
    """states: of the rows: o (with an error rate), u, d or f."""
    store = MemoryStore(address)
    begin(store, {"ocr": DECODE}, {"name": "papers"})
    error = {"stage": "infer", "kind": "timeout", "message": "it took too long", "attempts": 2}
    sorts: dict[str, dict[str, Any]] = {
        "o": {"verified": {"ok": True, "faults": [], "cer": 0.0}},
        "u": {"verified": {"ok": True, "faults": []}},
        "d": {"verified": {"ok": False, "faults": ["text_layer"], "cer": 0.3}},
        "f": {"status": "engine_failed", "result": None, "error": error},
    }
    plain = [
        {"input_id": f"{number:04}", "unit_index": 0, "text": f"text {number}", "output_tokens": number, **sorts[sort]}
        for number, sort in enumerate(states)
    ]
    put_rows(store, "ocr", rows(CHUNK, plain))
    return store


def data_of(store: MemoryStore, key: str) -> Any:
    text = read(store, f"report/data/{key}.js").decode()
    return json.loads(text.removeprefix(f'sightread("{key}", ').removesuffix(");\n"))


def report_of(store: MemoryStore, sample: int = 100, **options: Any) -> dict[str, Any]:
    write_report(store, Folder(store, "report"), sample=sample, seed=0, tell=lambda what: None, **options)
    overview: dict[str, Any] = data_of(store, "overview")
    return overview


def test_figures_are_of_all_rows_and_lines_of_the_sample() -> None:
    store = output("memory://figures", "ooouuudddf" * 10)
    overview = report_of(store, sample=20, pictures=False)
    (task,) = overview["tasks"]
    assert task["rows"]["states"] == {"ok": 30, "unsure": 30, "doubtful": 30, "failed": 10}
    assert task["faults"] == {"text_layer": 30}
    assert task["messages"] == {"timeout": "it took too long"}
    assert task["totals"]["output_tokens"] == sum(range(100))
    by_name = {histogram["name"]: histogram for histogram in task["histograms"]}
    assert by_name["cer"] == {"name": "cer", "bounds": [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
                              "counts": [30, 0, 0, 0, 0, 0, 0, 0, 0, 30]}  # fmt: skip
    assert sum(by_name["output_tokens"]["counts"]) == 100
    lines = data_of(store, "rows-0-0")
    assert (len(lines), task["shown"], task["files"]) == (20, 20, 1)
    first = {line["state"] for line in lines[:10]}
    assert first == {"failed", "doubtful"}, "half of them are in doubt or failed, and stand first"
    details = [row for part in (0, 1) for row in data_of(store, f"detail-0-{part}")]
    assert {line["id"] for line in lines} == {f"{row['input_id']}-0-0" for row in details}


def test_the_sample_follows_from_the_seed_and_takes_what_there_is() -> None:
    results = Results(output("memory://sample", "d" + "u" * 50 + "f" * 2))

    def of(most: int, seed: int = 0) -> set[Any]:
        return survey(results, "ocr", most=most, seed=seed).sample

    assert of(10) == of(10)
    assert of(10) != of(10, seed=1)
    assert {("0000", 0, 0), ("0051", 0, 0), ("0052", 0, 0)} < of(10), "all that are in doubt, where they are few"
    assert len(of(10)) == 10
    assert len(of(1000)) == 53
    assert len(of(1)) == 1


def test_what_is_not_json_or_too_long_is_made_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.report.items.LONGEST", 5)
    value = {"a": float("nan"), "b": ["x" * 9], "c": b"123", "d": None}
    assert bounded(value) == {
        "a": None,
        "b": ["xxxxx [4 more characters are in the Parquet alone]"],
        "c": "3 bytes",
        "d": None,
    }


def test_what_a_result_says_and_which_frames_it_names() -> None:
    result = {"objects": [{"label": "cat", "frame_index": 3, "bbox_px": [1.0]}], "pages": [2, 5], "script": "Latin"}
    assert list(texts_in(result)) == ["cat"]
    assert list(frames_in(result)) == [3, 2, 5]


def test_an_output_that_was_killed_says_so() -> None:
    store = output("memory://killed", "uu")
    progress = {"state": "asking", "at": "2026-01-01T00:00:00+00:00", "done_rows": 2, "planned_rows": 9}
    store.put_if_absent("_job/progress.json", json.dumps(progress).encode())
    notices = report_of(store, pictures=False)["notices"]
    assert (
        notices[0]
        == "The last run never came to its end: it was asking as of 2026-01-01T00:00:00+00:00, with 2 of 9 rows."
    )


def test_a_report_takes_the_place_of_the_one_before_and_of_nothing_else() -> None:
    store = output("memory://again", "u" * 30)
    report_of(store, sample=30, pictures=False)
    assert "report/data/detail-0-2.js" in store.list()
    report_of(store, sample=10, pictures=False)
    assert "report/data/detail-0-2.js" not in store.list("report")
    other = MemoryStore("memory://other")
    other.put_if_absent("letters.txt", b"mine")
    with pytest.raises(SpecError, match="holds other files than a report"):
        Folder(other)
    assert other.list() == ["letters.txt"]


def test_one_file_holds_all(tmp_path: Path) -> None:
    store = output("memory://single", "ud")
    write_report(store, SingleFile(store, "report"), sample=9, seed=0, pictures=False, tell=lambda what: None)
    page = read(store, "report/report.html").decode()
    assert set(re.findall(r'type="application/json" id="([\w-]+)"', page)) == {
        "data-rows-0-0",
        "data-detail-0-0",
        "data-overview",
    }
    assert "https:" not in page.partition("<script>")[0]
    assert store.list("report") == ["report/report.html"]


def test_pictures_of_a_job_are_made_once_for_all_its_tasks(tmp_path: Path) -> None:
    paths = {path.name: path for path in write_demo_media(tmp_path)}
    store = MemoryStore("memory://pictures")
    begin(store, {"ocr": DECODE, "caption": DECODE}, {"name": "papers"})
    row = {
        "input_id": "a",
        "unit_index": 0,
        "input_uri": str(paths["shapes.jpg"]),
        "unit_kind": "image",
        "media": "image",
    }
    gone = {**row, "input_id": "b", "input_uri": str(tmp_path / "gone.png")}
    for task in ("ocr", "caption"):
        put_rows(store, task, rows(CHUNK, [row, gone]))
    report_of(store)
    pictures = store.list("report/pictures")
    assert len(pictures) == 2, "the picture and a small one"
    shown, missing = sorted(data_of(store, "detail-0-0"), key=lambda row: row["input_id"])
    assert (shown["pictures"][0]["width_px"], shown["pictures"][0]["height_px"]) == (608, 288)
    assert missing["pictures"] == []
    assert missing["missing"] == "No such file or directory"


@pytest.mark.parametrize("bounds", HISTOGRAMS.values())
def test_bounds_of_bins_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_commands_without_a_job_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for command in (["report"], ["sql", "states"], ["diff", str(tmp_path / "empty")]):
        arguments = [command[0], str(tmp_path / "empty"), *command[1:]]
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_what_is_committed_is_what_the_sources_give(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "scripts" / "report-page", tmp_path], capture_output=True, text=True, check=False)
    if re.search("ENOTFOUND|ETIMEDOUT|ECONNREFUSED|EAI_AGAIN", done.stderr):
        pytest.skip("npm reaches no registry, and the page was never built here")
    assert done.returncode == 0, done.stderr
    for name in ("report.js", "report.css"):
        assert (tmp_path / name).read_bytes() == (ROOT / "jobs/report/built" / name).read_bytes(), (
            "run scripts/report-page"
        )
    assert sum(path.stat().st_size for path in (ROOT / "jobs/report/built").iterdir()) < 200_000


def test_a_report_is_written_into_a_store_elsewhere() -> None:
    store, target = output("memory://elsewhere", "u"), store_at("memory://target")
    address = write_report(store, Folder(target), sample=1, seed=0, pictures=False, tell=lambda what: None)
    assert address == "memory://target/index.html"
    assert "data/overview.js" in target.list()


WITHOUT_RAY = """
import sys, pipelines.running
from jobs.cli import main
from tests.support.in_process import InProcess
pipelines.running.Cluster = InProcess
main(["run", sys.argv[1]])
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_was_killed_can_be_looked_at(world: World) -> None:
    for number in range(12):
        write_image(world.inputs / f"{number:02}.png", f"Sign {number}")
    replies = [{"sample": f"{number:02}.png", "task": "*", "reply": "SIGN"} for number in range(4)]
    write_recording(world.recording, *replies, {"sample": "*", "task": "*", "reply": "SIGN", "delay_s": 600})
    world.spec |= {"tasks": ["ocr"], "limits": {"chunk_units": 1}}
    command = [sys.executable, "-c", WITHOUT_RAY, str(world.spec_file)]
    run = subprocess.Popen(command, cwd=ROOT, env=world.environment, stdout=subprocess.DEVNULL)
    world.wait_for(lambda: len(world.parts()) >= 4)
    world.wait_for(lambda: '"done_rows": 4' in (world.output / "_job" / "progress.json").read_text())
    run.kill()
    run.wait()
    world.sweep()
    page = Path(world.run("report", str(world.output)).strip().splitlines()[-1])
    overview = (page.parent / "data" / "overview.js").read_text(encoding="utf-8")
    assert "The last run never came to its end" in overview
    assert "8 of 12 units are not answered yet" in overview
