"""A store that is not there, or is lost in mid-run: a sentence, and the same command goes on. Whole runs, no Ray."""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

from jobs.cli import main
from operators.store import objects, retries
from operators.store.results import Results
from tests.support.faulty_proxy import FaultyProxy
from tests.support.object_server import S3Server
from tests.support.scripted_server import Answer, error, scripted_server
from tests.support.world import World, write_image, write_pdf, write_recording

DOCUMENT = {"name": "document_qa", "parameters": {"question": "What is it?"}}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTREAD_STORE_PATIENCE_S", "1")
    monkeypatch.setenv("SIGHTREAD_LEASE_S", "1")  # what is lost with the store is not let go
    monkeypatch.setattr(retries, "LONGEST_S", 0.05)


def write_spec(folder: Path, inputs: str, output: str, task: Any = "ocr") -> str:
    recording = write_recording(folder / "r.jsonl", {"sample": "*", "task": "*", "reply": "text"})
    spec = {
        "name": "n", "inputs": [inputs], "tasks": [task], "output": output, "limits": {"chunk_units": 1},
        "engine": {"kind": "scripted", "recording": str(recording), "max_context": 32768},
    }  # fmt: skip
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return str(folder / "spec.yaml")


def four_inputs(bucket: str, proxy: S3Server, folder: Path, suffix: str) -> None:
    for number in range(4):
        path = folder / f"{number}{suffix}"
        write_pdf(path, 1) if suffix == ".pdf" else write_image(path)
        proxy.put(f"{bucket}/in/{path.name}", path.read_bytes())


def break_at(monkeypatch: pytest.MonkeyPatch, proxy: FaultyProxy, place: str, turn: int = 1) -> None:
    """From a call of this function of a run on, the store refuses all; nothing of it is in the cache any more."""
    owner, _, name = place.rpartition(".") if "." in place.rpartition(":")[2] else place.rpartition(":")
    real = getattr(resolve_name(owner), name)
    turns = iter(range(turn - 1))

    def broken(*arguments: Any, **more: Any) -> Any:
        if next(turns, None) is None:
            proxy.faults(1.0, kinds=("503",))
            for file in (Path.cwd() / "cache").rglob("*"):
                file.unlink() if file.is_file() else None
        return real(*arguments, **more)

    monkeypatch.setattr(resolve_name(owner), name, broken)


@pytest.mark.parametrize(
    ("place", "turn", "reason", "committed"),
    [
        ("operators.media.probe:Probe.__call__", 1, "s3://.*/in/0", "what is committed stays"),
        ("pipelines.folder:JobFolder.add_round", 1, "s3://.*/_job/rounds/00000.json", "what is committed stays"),
        ("pipelines.folder:JobFolder.write_chunks", 1, "s3://.*/_job/chunks/00000/part-", "what is committed stays"),
        ("pipelines.folder:JobFolder.read_chunks", 1, "s3://.*/_job/chunks/00000/part-", "what is committed stays"),
        ("jobs.display:Display.receipt", 2, "inputs: s3://.*/in/2", "2 of 4 rows are committed"),
        (
            "operators.commit:Commit._commit",
            2,
            "output: s3://.*/out takes nothing more: s3://.*/out/_job/parts/task=ocr/00000/",
            "1 of 4 rows are committed",
        ),
        ("operators.store.view:View.publish_all", 1, "s3://.*/out/_job/parts/task=ocr", "4 of 4 rows are committed"),
        ("pipelines.run:summarize", 1, "s3://.*/out/results", "4 of 4 rows are committed"),
        ("pipelines.summary.audit:_expected", 1, "s3://.*/out/results/task=", "4 of 4 rows are committed"),
    ],
)
def test_a_store_that_is_lost_ends_the_run_in_one_line_and_the_same_command_goes_on(
    proxy: FaultyProxy, in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    place: str, turn: int, reason: str, committed: str,
) -> None:  # fmt: skip
    bucket = proxy.new_bucket()
    four_inputs(bucket, proxy, in_process, ".png")
    spec = write_spec(in_process, f"{bucket}/in/", f"{bucket}/out")
    with monkeypatch.context() as broken:
        break_at(broken, proxy, place, turn)
        assert main(["run", spec]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.match(f"sightread: {reason}.* does not answer for 1 s: status 503", line), line
    assert line.endswith(f"; {committed}, and the same command again goes on\n")
    proxy.faults()
    assert main(["run", spec]) == 0
    assert [row["status"] for row in rows_of(f"{bucket}/out", "ocr")] == ["ok"] * 4


def test_a_whole_document_whose_store_is_lost_is_no_failed_row(
    proxy: FaultyProxy, in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is opened beside the engine, not where units are decoded."""
    bucket = proxy.new_bucket()
    four_inputs(bucket, proxy, in_process, ".pdf")
    spec = write_spec(in_process, f"{bucket}/in/", f"{bucket}/out", DOCUMENT)
    with monkeypatch.context() as broken:
        break_at(broken, proxy, "jobs.display:Display.receipt")
        assert main(["run", spec]) == 1
    assert "1 of 4 rows are committed, and the same command again goes on" in capsys.readouterr().err
    proxy.faults()
    assert main(["run", spec]) == 0
    assert [row["status"] for row in rows_of(f"{bucket}/out", "document_qa")] == ["ok"] * 4


@pytest.mark.slow
def test_a_store_that_is_lost_under_ray_ends_the_run_in_one_line(world: World, proxy: FaultyProxy) -> None:
    bucket = proxy.new_bucket()
    four_inputs(bucket, proxy, world.folder, ".png")
    asked = world.folder / "asked"
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "a", "delay_s": 1, "asked_log": str(asked)})
    world.spec |= {"inputs": [f"{bucket}/in/"], "output": f"{bucket}/out", "tasks": ["ocr"]}
    world.spec |= {"limits": {"chunk_units": 1}, "decode": {"workers": 1}}
    process = world.start()
    world.wait_for(asked.exists)
    proxy.faults(1.0, kinds=("503",))
    printed = process.communicate(timeout=240)[0]
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    assert re.match(
        r"sightread: .*does not answer for [01] s: status 503.*; [0-4] of 4 rows are committed, and the same",
        printed.splitlines()[-1],
    ), printed
    world.nothing_left()
    proxy.faults()
    assert "4 of 4" in world.run()


def test_a_summary_that_the_store_does_not_take_is_told(
    proxy: FaultyProxy, in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = proxy.new_bucket()
    four_inputs(bucket, proxy, in_process, ".png")
    break_at(monkeypatch, proxy, "pipelines.folder:JobFolder.write_summary")
    assert main(["run", write_spec(in_process, f"{bucket}/in/", f"{bucket}/out")]) == 1
    assert "not committed: the summary: s3://" in capsys.readouterr().out


def rows_of(output: str, task: str) -> list[dict[str, Any]]:
    return [row for batch in Results.at(output).batches(task, ("input_uri", "status")) for row in batch.to_pylist()]


# before anything begins


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ([error(404, "NoSuchBucket")], "output: s3://b is not there"),
        ([error(403, "InvalidAccessKeyId", "unknown")], "output: s3://b lets nobody in .* InvalidAccessKeyId: unknown"),
        ([error(403, "AccessDenied", "no")], "output: s3://b/out: status 403, AccessDenied: no"),
        ([Answer(301)], "output: s3://b lies in another region than AWS_REGION says"),
        ([error(503, "SlowDown")], "output: s3://b/out does not answer for [01] s: status 503, SlowDown"),
    ],
)
def test_an_output_that_cannot_be_used_is_told_before_any_work(
    in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: str, answers: list[Answer], sentence: str,
) -> None:  # fmt: skip
    write_image(in_process / "a.png")
    with scripted_server(*answers) as server:
        as_aws(monkeypatch, server.address)
        assert main([command, write_spec(in_process, "a.png", "s3://b/out")]) == 2
    line = capsys.readouterr().err
    assert re.match(f"sightread: {sentence}.*docs/buckets.md", line), line
    assert line.count("\n") == 1


def test_inputs_that_cannot_be_listed_leave_no_claim_so_that_the_spec_may_be_corrected(
    proxy: FaultyProxy, in_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = proxy.new_bucket()
    four_inputs(bucket, proxy, in_process, ".png")
    for output in (f"{bucket}/out", "out"):
        assert main(["run", write_spec(in_process, "s3://a-typo/in/", output)]) == 2
        assert "s3://a-typo is not there" in capsys.readouterr().err
        assert main(["run", write_spec(in_process, f"{bucket}/in/", output)]) == 0


def test_who_may_read_and_not_write_is_told_before_any_work(
    in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(in_process / "a.png")
    nothing = Answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    with scripted_server(nothing, Answer(404), error(403, "AccessDenied", "s3:PutObject")) as server:
        as_aws(monkeypatch, server.address)
        assert main(["run", write_spec(in_process, "a.png", "s3://b/out")]) == 2
    assert re.match("sightread: output: s3://b/out cannot be written: .*s3:PutObject", capsys.readouterr().err)


def test_a_store_that_lets_two_create_one_file_is_refused(
    in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that passes over If-None-Match without a word."""
    write_image(in_process / "a.png")
    nothing = Answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    with scripted_server(nothing, Answer(404), Answer(200, headers={"etag": '"1"'})) as server:
        as_aws(monkeypatch, server.address)
        assert main(["run", write_spec(in_process, "a.png", "s3://b/out")]) == 2
    assert "it lets several writers create one file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "plan", "show", "overlay", "markdown", "reparse", "export"])
def test_an_endpoint_where_nobody_listens_is_not_waited_for_as_in_mid_run(
    in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    write_image(in_process / "a.png")
    monkeypatch.setenv("SIGHTREAD_STORE_PATIENCE_S", "300")
    monkeypatch.setattr(objects, "FIRST_PATIENCE_S", 0.5)
    as_aws(monkeypatch, "http://127.0.0.1:1")
    address = "s3://b/out"
    of_spec, more = command in ("run", "plan"), ["--to", "webdataset"] if command == "export" else []
    assert main([command, write_spec(in_process, "a.png", address) if of_spec else address, *more]) == 2
    assert re.match("sightread: output: s3://b/out does not answer for [01] s: ", capsys.readouterr().err)


def as_aws(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "planted", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
