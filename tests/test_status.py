"""How a job stands, as it is read from its output alone: units by task and round, rows by kind of failure, who runs it;
while a run goes on, after one that was killed, and where files are broken."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from jobs.cli import main
from operators.store.addresses import store_at
from operators.store.chunk_id import ChunkId
from operators.store.lease import Lease, LeaseGuard
from operators.store.part_log import PartLog
from operators.store.store import Store, overwrite, sizes
from operators.store.view import View, key_of
from pipelines.event_log import EventLog, write_progress
from pipelines.folder import JobFolder
from pipelines.journal import Journal
from pipelines.rounds import Round, now
from pipelines.status import Status, status_of
from schemas import tables
from schemas.errors import JobConflict, SpecError
from tests.support.world import World, write_image, write_pdf, write_recording

SLICE = 0


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_at(str(tmp_path / "out") if request.param == "folder" else f"memory://{tmp_path.name}")


class Output:
    """What runs leave, written by hand: a task of another machine, and inputs that are nowhere."""

    def __init__(self, store: Store) -> None:
        self.store, self.folder = store, JobFolder(store)
        self.log, self.view = PartLog(store), View(store)
        self.folder.claim()
        self.rounds: list[Round] = []

    def add(self, kind: Any, tasks: list[str], inputs: list[str], **more: Any) -> None:
        """inputs: of a manifest of its own."""
        number = len(self.rounds)
        if inputs:
            rows = [{"input_id": name, "input_uri": f"s3://far/{name}.png", "slice": SLICE} for name in inputs]
            for piece, start in enumerate(range(0, len(rows), 512)):
                some = pa.Table.from_pylist(rows[start : start + 512], schema=tables.INPUTS)
                self.folder.write_piece(number, piece, some)
        manifests = (number,) if inputs else ()
        definitions = {task: {"module": "no.such.module"} for task in tasks}
        spec = {"name": "papers", "engine": {"kind": "gone", "model": "/nowhere"}}
        round_ = Round(number, kind, manifests, definitions, now(), "ann@host", spec, **more)
        self.folder.add_round(round_)
        self.rounds.append(round_)

    def plan(self, round_: int, units: list[tuple[str, int]], tasks: list[str], attempt: int = 1, name: int = 0) -> str:
        """A chunk manifest of one chunk; its id. units: (input, generation)."""
        chunk_id = str(ChunkId(SLICE, round_, f"{round_:04x}{name:012x}"))
        planned = [
            {"input_id": input_id, "unit_index": 0, "generation": generation, "attempt": attempt}
            for input_id, generation in units
        ]
        rows = [{"chunk_id": chunk_id, "tasks": tasks, "passthrough": b"", "units": planned}]
        self.folder.write_chunks(round_, name, pa.Table.from_pylist(rows, schema=tables.CHUNKS))
        return chunk_id

    def answer(
        self, task: str, chunk_id: str, units: list[tuple[str, int]], attempt: int = 1, failed: str | None = None,
        model: str = "m",
    ) -> None:  # fmt: skip
        schema = tables.results_schema(pa.string(), [])
        plain = {field.name: {pa.string(): "", pa.int32(): 0, pa.int64(): 0}.get(field.type) for field in schema}
        rows = [
            {
                **plain, "input_id": input_id, "unit_index": 0, "unit_count": 1, "generation": generation,
                "attempt": attempt, "chunk_id": chunk_id, "model": model, "decode_s": 0.0, "infer_s": 0.0,
                "status": "engine_failed" if failed else "ok",
                "error": {"stage": "infer", "kind": failed, "message": "", "attempts": 1} if failed else None,
            }
            for input_id, generation in units
        ]  # fmt: skip
        self.log.write(task, chunk_id, pa.Table.from_pylist(rows, schema=schema))

    def status(self) -> Status:
        return status_of(self.store)


def counted(status: Status, task: str) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, int]]:
    """Units and units asked again, each planned, published, in the log only and open; failed rows."""
    of_task = status.tasks[task]
    units, again = (tuple(asdict(units).values()) for units in (of_task.units, of_task.again))
    return units, again, of_task.rows.failed


def test_units_by_task_and_by_round(store: Store) -> None:
    output = Output(store)
    a, b = ("a", 0), ("b", 0)
    output.add("first", ["ocr", "caption"], ["a", "b"], counts={"new": 2})
    chunk = output.plan(0, [a, b], ["ocr", "caption"])
    assert counted(output.status(), "ocr") == ((2, 0, 0, 2), (0, 0, 0, 0), {})
    output.answer("ocr", chunk, [a, b], failed="timeout")
    assert counted(output.status(), "ocr") == ((2, 0, 2, 0), (0, 0, 0, 0), {})
    assert output.status().log.unpublished == 1
    output.view.publish("ocr", SLICE)
    assert counted(output.status(), "ocr") == ((2, 2, 0, 0), (0, 0, 0, 0), {"timeout": 2})
    assert output.status().log.unpublished == 0
    assert counted(output.status(), "caption") == ((2, 0, 0, 2), (0, 0, 0, 0), {})

    output.add("inputs", ["ocr", "caption"], ["a", "c"], counts={"new": 1, "changed": 1})
    fresh = [("a", 1), ("c", 1)]
    chunk = output.plan(1, fresh, ["ocr"])
    status = output.status()
    assert counted(status, "ocr") == ((3, 1, 0, 2), (0, 0, 0, 0), {"timeout": 2})  # b, and a and c anew
    assert status.inputs["asked"] == 3
    output.answer("ocr", chunk, fresh)
    output.view.publish("ocr", SLICE)
    assert counted(output.status(), "ocr") == ((3, 3, 0, 0), (0, 0, 0, 0), {"timeout": 1})

    output.add("retry", ["ocr"], [], chunk_files=1, counts={"timeout": 1})
    chunk = output.plan(2, [b], ["ocr"], attempt=2)
    assert counted(output.status(), "ocr") == ((3, 3, 0, 0), (1, 0, 0, 1), {"timeout": 1})
    output.answer("ocr", chunk, [b], attempt=2, model="other")
    status = output.status()
    assert (status.log.files, status.log.unpublished, status.view.files) == (3, 1, 1)
    first, inputs, retry = status.rounds
    assert (first.kind, first.inputs, first.about, first.by) == ("first", 2, {"new": 2}, "ann@host")
    assert asdict(first.units) == {"planned": 4, "published": 2, "unpublished": 0, "open": 2}
    assert (inputs.inputs, asdict(inputs.units)["published"], inputs.rows.ok) == (2, 2, 2)
    assert (retry.kind, retry.inputs, retry.about, retry.units.unpublished) == ("retry", 0, {"timeout": 1}, 1)
    assert not status.planning
    output.view.publish("ocr", SLICE)
    status = output.status()
    task = status.tasks["ocr"]
    assert (task.retried_rows, task.models, task.rows.failed) == (1, {"m": 2, "other": 1}, {})
    assert [round_.rows.rows for round_ in status.rounds] == [0, 2, 1]  # that readers see


def test_a_run_that_plans_has_not_counted_all_yet(store: Store) -> None:
    output = Output(store)
    output.add("first", ["ocr"], [f"input{number}" for number in range(1200)])
    assert output.status().planning
    output.plan(0, [("input0", 0)], ["ocr"])
    output.plan(0, [("input999", 0)], ["ocr"], name=2)
    (round_,) = output.status().rounds
    assert (round_.manifests, round_.expected, round_.units.planned) == (2, 3, 2)
    output.add("retry", ["ocr"], [], chunk_files=2)
    assert (output.status().rounds[1].manifests, output.status().rounds[1].expected) == (0, 2)


def test_a_round_tells_new_inputs_from_those_that_are_asked_about_again(store: Store) -> None:
    output = Output(store)
    output.add("first", ["ocr"], ["a", "b"])
    output.add("inputs", ["ocr"], ["b", "c", "d"])
    first, later = output.status().rounds
    assert (first.about, later.about) == ({"new": 2}, {"new": 2, "again": 1})


def test_a_job_of_which_nothing_was_asked_yet(store: Store) -> None:
    JobFolder(store).claim()
    status = status_of(store)
    assert (status.job, status.tasks, status.rounds, status.holder, status.progress) == (None, {}, [], None, None)


def test_no_job_and_one_of_another_version_are_sentences(store: Store) -> None:
    with pytest.raises(SpecError, match="holds no job"):
        status_of(store)
    overwrite(store, "_job/identity.json", b'{"layout": 4}')
    with pytest.raises(JobConflict, match="another version of sightread"):
        status_of(store)


def test_a_broken_file_of_the_results_is_named_and_the_rest_counted(store: Store) -> None:
    output = Output(store)
    output.add("first", ["ocr", "caption"], ["a"])
    chunk = output.plan(0, [("a", 0)], ["ocr", "caption"])
    for task in ("ocr", "caption"):
        output.answer(task, chunk, [("a", 0)])
        output.view.publish(task, SLICE)
    overwrite(store, key_of("ocr", SLICE), b"PAR1 no more of it PAR1")
    status = output.status()
    assert len(status.problems) >= 1
    assert all(key_of("ocr", SLICE) in problem or "of ocr" in problem for problem in status.problems)
    assert counted(status, "caption")[0] == (1, 1, 0, 0)
    assert counted(status, "ocr")[0] == (1, 0, 1, 0)  # the log has it


def test_reading_changes_nothing(store: Store) -> None:
    output = Output(store)
    output.add("first", ["ocr"], ["a"])
    output.answer("ocr", output.plan(0, [("a", 0)], ["ocr"]), [("a", 0)])
    output.view.publish("ocr", SLICE)
    before = {key: store.stat(key) for key in store.list()}
    output.status()
    assert {key: store.stat(key) for key in store.list()} == before


def test_parts_that_the_log_lacks_because_they_were_pruned_are_published(store: Store) -> None:
    output = Output(store)
    output.add("first", ["ocr"], ["a"])
    chunk = output.plan(0, [("a", 0)], ["ocr"])
    output.answer("ocr", chunk, [("a", 0)])
    output.view.publish("ocr", SLICE)
    output.view.prune("ocr", SLICE, [chunk])
    output.log.delete(output.log.parts("ocr")[chunk])
    status = output.status()
    assert (status.log.files, counted(status, "ocr")[0]) == (0, (1, 1, 0, 0))


def test_sizes_are_those_of_the_files(store: Store) -> None:
    overwrite(store, "a/b", b"12345")
    overwrite(store, "ab/c", b"1")
    assert sizes(store, "a") == {"a/b": 5}


def test_sizes_of_a_bucket_come_with_its_listing(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(f"{s3.new_bucket()}/some/out")
    overwrite(store, "a/b", b"12345")
    monkeypatch.setattr(store, "stat", None)
    assert sizes(store, "a") == {"a/b": 5}
    assert store.list("a") == ["a/b"]


# who works at it


def shown(store: Store, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["status", store.address]) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def output(tmp_path: Path) -> Output:
    output = Output(store_at(str(tmp_path / "out")))
    output.add("first", ["ocr"], ["a"])
    output.plan(0, [("a", 0)], ["ocr"])
    return output


def test_nobody_runs_it(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    assert "running nobody" in shown(output.store, capsys)


def test_who_runs_it_and_what_it_does(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    with Lease(output.store, "ann@host", "sightread run, papers", now(), on_lost=print) as lease:
        assert "it has not said yet what it does" in shown(output.store, capsys)
        guard = LeaseGuard(output.store.address, lease.token)
        with Journal(output.store, guard, name="papers", workers=1, every_s=0.05) as journal:
            journal.planned(10, 4, 3)
            while "now starting" not in (text := shown(output.store, capsys)):
                time.sleep(0.05)
    assert "running by ann@host since" in text
    assert "(sightread run, papers)" in text
    assert re.search(r"now starting, 4 of 10 rows; as of 0:\d\d:\d\d", text)
    assert "planned: times=1 rows=10 done=4 chunks=3" in text


def test_how_the_last_run_ended(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    progress = {"state": "ended", "at": now(), "began": "then", "who": "ann@host", "exit_code": 3, "why": None}
    write_progress(output.store, progress)
    assert "last run ann@host, begun then, ended with exit code 3; 0:00:0" in shown(output.store, capsys)
    write_progress(output.store, progress | {"why": "output: nothing more"})
    assert "ended early: output: nothing more;" in shown(output.store, capsys)
    write_progress(output.store, progress | {"state": "asking", "planned_rows": 9, "done_rows": 4})
    assert "never came to its end: asking, 4 of 9 rows;" in shown(output.store, capsys)


def test_a_holder_that_is_gone_left_it_behind(
    output: Output, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = os.fork()
    if not child:
        Lease(output.store, "ann@host", "sightread run, papers", "then", on_lost=print)._take()
        os._exit(0)
    os.waitpid(child, 0)
    text = shown(output.store, capsys)
    assert "running nobody; ann@host left it behind (sightread run, papers, since then)" in text


@pytest.mark.parametrize("data", [b"", b"[]", b'"x"', b"{", b'{"at": 5}', b'{"state": []}', b"\xff" * 9, b"[" * 99999])
def test_what_is_no_progress_is_none(output: Output, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("_job/progress.json", "_job/events.jsonl"):
        overwrite(output.store, key, data)
    assert "running nobody" in shown(output.store, capsys)
    assert main(["status", output.store.address, "--json"]) == 0


def test_names_of_others_steer_no_terminal(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J[bold]x[/bold]\u202e\n"
    EventLog(output.store).add([{"at": now(), "kind": evil, "message": evil, evil: "\udcff"}])
    stage = {"stage": evil, "workers": 1, "busy_s": 1.0, "idle_s": 1.0, "share": 0.5}
    use = {"utilization": 0.5, "tokens_per_s": 1, "since_s": 0, "span_s": 2, "deaths": 0, "bottleneck": evil}
    progress = {"state": evil, "who": evil, "began": evil, "at": now(), "why": evil}
    write_progress(output.store, {**progress, "utilization": {**use, "stages": [stage]}})
    output.add("inputs", [evil.replace("/", "")], ["b"], counts={evil: 1})
    assert main(["status", output.store.address]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]x[/bold]" in text
    assert "1.0 s" in text
    assert main(["status", output.store.address, "--json"]) == 0
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text)["events"][-1]["message"] == evil


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"sightread: {tmp_path} holds no job\n"
    assert not list(tmp_path.iterdir())


# whole jobs


def test_a_job_of_a_folder_and_of_a_bucket(
    s3: Any, in_process: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON, and without the inputs, the recording and the spec."""
    (in_process / "in").mkdir()
    write_image(in_process / "in" / "a.png")
    write_pdf(in_process / "in" / "b.pdf", 2)
    (in_process / "in" / "c.pdf").write_bytes(b"%PDF-1.4 no more")
    replies = [{"sample": "*", "task": task, "reply": "text"} for task in ("ocr", "caption")]
    recording = write_recording(in_process / "r.jsonl", *replies)
    for address in (str(in_process / "out"), f"{s3.new_bucket()}/out"):
        spec = {
            "name": "papers", "inputs": ["in/"], "tasks": ["ocr", "caption"], "output": address,
            "decode": {"workers": 1}, "engine": {"kind": "scripted", "recording": str(recording)},
            "limits": {"max_failed_fraction": 0.5},
        }  # fmt: skip
        Path("spec.yaml").write_text(yaml.safe_dump(spec))
        assert main(["run", "spec.yaml"]) == 0
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr("pipelines.catalogue.bind", None)
            assert main(["status", address, "--json"]) == 0
        status = json.loads(capsys.readouterr().out)
        assert (status["job"], status["output"], status["planning"]) == ("papers", address, False)
        assert status["holder"] is None
        assert (status["progress"]["state"], status["progress"]["exit_code"]) == ("ended", 0)
        assert (status["progress"]["planned_rows"], status["progress"]["done_rows"]) == (5, 5)
        assert (status["inputs"]["asked"], status["inputs"]["listing"]["inputs"]) == (3, 3)
        for task, number, failed in (("ocr", 4, 1), ("caption", 1, 0)):
            of_task = status["tasks"][task]
            assert of_task["units"] == {"planned": number, "published": number, "unpublished": 0, "open": 0}
            assert (of_task["rows"]["rows"], of_task["rows"]["ok"]) == (number, number - failed)
            assert sum(of_task["rows"]["failed"].values()) == failed
        kinds = [event["kind"] for event in status["events"]]
        assert kinds[-1] == "ended"
        assert {"run began", "listed", "planned", "rows failed", "published"} <= {*kinds}
        assert (status["log"]["files"], status["view"]["files"]) == (3, 2)
        assert main(["status", address]) == 0
        assert "ended with exit code 0" in " ".join(capsys.readouterr().out.split())


def test_a_run_that_lists_once_more_says_so(in_process: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the lease by then, and a bucket takes its time."""
    write_image(in_process / "a.png")
    recording = write_recording(in_process / "r.jsonl", {"sample": "*", "task": "caption", "reply": "text"})
    spec = {"name": "papers", "inputs": ["*.png"], "tasks": ["caption"], "output": "out", "decode": {"workers": 1}}
    Path("spec.yaml").write_text(yaml.safe_dump(spec | {"engine": {"kind": "scripted", "recording": str(recording)}}))
    assert main(["run", "spec.yaml", "--limit", "1"]) == 0
    seen = []

    def slowly(*arguments: Any) -> Any:
        deadline = time.monotonic() + 20
        while (progress := status_of(store_at("out")).progress) is None or progress["state"] == "ended":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        seen.append(progress["state"])
        raise SpecError("inputs: no more")

    monkeypatch.setattr("pipelines.run.lister_of", slowly)
    assert main(["run", "spec.yaml"]) == 2
    assert seen == ["listing"]
    status = status_of(store_at("out"))
    assert status.progress is not None
    assert (status.progress["state"], status.progress["why"], status.progress["exit_code"]) == (
        "ended", "inputs: no more", 2,
    )  # fmt: skip
    assert status.tasks["caption"].units.published == 1


@pytest.mark.slow
def test_status_is_asked_while_a_job_runs_and_after_it_was_killed(world: World) -> None:
    write_pdf(world.inputs / "a.pdf", 40)
    world.spec |= {"tasks": ["ocr"], "limits": {"chunk_units": 2}, "decode": {"workers": 1}}
    world.spec["engine"] |= {"slots": 1}
    write_recording(world.recording, {"sample": "*", "task": "ocr", "reply": "text", "delay_s": 0.5})

    def state() -> Any:
        progress = world.output / "_job" / "progress.json"
        return json.loads(progress.read_text())["state"] if progress.exists() else None

    process = world.start()
    world.wait_for(lambda: state() == "asking" and list(world.output.glob("results/task=ocr/*.parquet")), 240)
    there = status_of(store_at(str(world.output)))
    assert there.holder is not None
    assert there.progress is not None
    assert (there.holder["beats"], there.holder["what"]) == (True, "sightread run, test")
    assert (there.progress["state"], there.progress["planned_rows"]) == ("asking", 40)
    assert there.tasks["ocr"].units.planned == 40
    assert there.tasks["ocr"].units.open > 0
    assert there.events[0]["kind"] == "run began"
    process.kill()
    process.wait()
    text = world.run("status", str(world.output))
    assert f"running  nobody; {there.holder['who']} left it behind" in text
    assert "never came to its end: asking" in text

    world.run()
    there = status_of(store_at(str(world.output)))
    assert asdict(there.tasks["ocr"].units) == {"planned": 40, "published": 40, "unpublished": 0, "open": 0}
    assert there.holder is None
    assert there.progress is not None
    assert (there.progress["state"], there.progress["exit_code"]) == ("ended", 0)
    kinds = [event["kind"] for event in there.events]
    assert "lease taken over" in kinds
    assert kinds[-1] == "ended"
