"""A job as tar shards: media beside the answers, for webdataset and for us."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.cli import main
from jobs.load import parse_stored
from operators.store.addresses import store_at
from operators.store.inputs import opened_input as opening
from operators.store.part_log import PartLog
from operators.store.view import View
from pipelines import export as exporting
from pipelines.folder import JobFolder
from pipelines.growth import grow
from pipelines.job import prepare
from pipelines.listing import list_inputs
from pipelines.planner import plan_work
from pipelines.planning import list_job
from pipelines.progress import Progress
from schemas import tables
from tests.support.media import write_clip
from tests.support.object_server import S3Server
from tests.support.world import write_image, write_pdf, write_recording

TASKS = ("ocr", "caption")


def world(folder: Path, inputs: Path | str, *, output: str | None = None) -> str:
    """A job that was answered without an engine. The address of its output."""
    output = output or str(folder / "out")
    recording = write_recording(folder / "replies.jsonl", {"task": "ocr", "text": "x"})
    spec = parse_stored(
        {
            "name": "my job/1",
            "inputs": [str(inputs)],
            "tasks": list(TASKS),
            "engine": {"kind": "scripted", "recording": str(recording)},
            "output": output,
            "limits": {"chunk_units": 2},
        },
        "the spec",
    )
    job = prepare(spec)
    store = store_at(output)
    job_folder, view, log = JobFolder(store), View(store), PartLog(store)
    job_folder.claim()
    rounds = grow(job, job_folder, view, job_folder.rounds(), (), list_job(job), changed=False)
    work = plan_work(job, job_folder, rounds, None, Progress())
    for chunk in work.pending.to_pylist():
        for task in chunk["tasks"]:
            log.write(task, chunk["chunk_id"], rows_of(chunk, task))
    view.publish_all(TASKS, {})
    return output


def rows_of(chunk: dict[str, Any], task: str) -> pa.Table:
    names = (
        *("input_id", "input_uri", "unit_index", "unit_count", "unit_kind", "page", "start_s", "end_s", "error"),
        *("generation", "attempt"),
    )
    schema = tables.results_schema(pa.struct([("text", pa.string()), ("score", pa.float64())]), [])
    return pa.Table.from_pylist(
        [
            {name: unit[name] for name in names}
            | {"chunk_id": chunk["chunk_id"]}
            | {"request_index": 0, "status": "unreadable_input" if unit["error"] else "ok", "text": f"<{task}>"}
            | {"result": None if unit["error"] else {"text": f"{task} {unit['unit_index']} Füße", "score": math.nan}}
            for unit in chunk["units"]
        ],
        schema=pa.schema([field.with_nullable(True) for field in schema]),
    )


def folder_of(path: Path) -> Path:
    folder = path / "in"
    folder.mkdir()
    write_image(folder / "1.png", "One")
    write_image(folder / "2.gif", "Two", frames=2)
    write_pdf(folder / "3.pdf", 3)
    write_clip(folder / "4.mp4", [number * 100 for number in range(30)])
    (folder / "5.jpg").write_bytes(b"no picture")
    (path / "list.csv").write_text(
        "path,label\n" + "".join(f"in/{file.name},L{file.name}\n" for file in sorted(folder.iterdir()))
        + "in/none.png,gone\n"
    )  # fmt: skip
    return path / "list.csv"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its file open
def test_shards_read_back_by_webdataset_and_as_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import webdataset

    output = world(tmp_path, folder_of(tmp_path))
    assert main(["export", output, "--to", "webdataset"]) == 0
    path = f"{output}/shards/my-job-1-000000.tar"
    assert capsys.readouterr().out == f"{path}\n6 samples\n"

    samples = list(webdataset.WebDataset(path, shardshuffle=False))
    assert [[key for key in sample if not key.startswith("_")] for sample in samples] == [
        ["caption.json", "json", "ocr.json", "png"],
        ["caption.json", "json", "ocr.json", "gif"],
        ["json", "ocr.json", "pdf"],  # captions are of pictures and clips
        ["caption.json", "json", "mp4"],
        ["caption.json", "json", "ocr.json", "jpg"],
        ["caption.json", "json", "ocr.json"],
    ]
    inputs = JobFolder(store_at(output)).read_inputs([0])
    assert [sample["__key__"] for sample in samples] == inputs["input_id"].to_pylist()
    assert samples[0]["png"] == (tmp_path / "in/1.png").read_bytes()
    assert json.loads(samples[0]["json"]) == {
        "input_id": samples[0]["__key__"],
        "input_uri": str(tmp_path / "in/1.png"),
        "media": "image",
        "label": "L1.png",
    }
    pages = json.loads(samples[2]["ocr.json"])
    assert [(row["unit_index"], row["page"], row["status"], row["text"]) for row in pages] == [
        (number, number + 1, "ok", "<ocr>") for number in range(3)
    ]
    assert pages[0]["result"] == {"text": "ocr 0 Füße", "score": None}
    (missing,) = json.loads(samples[5]["caption.json"])
    assert (missing["status"], missing["error"]["kind"], missing["result"]) == ("unreadable_input", "not_found", None)

    listing = list_inputs((path,), None)
    assert [row["input_uri"] for row in listing.inputs.to_pylist()] == [
        f"{path}#{sample['__key__']}.{suffix}"
        for sample, suffix in zip(samples, ("png", "gif", "pdf", "mp4", "jpg"), strict=False)
    ]
    assert listing.inputs["ocr.json"].to_pylist() == [
        sample["ocr.json"].decode() if "ocr.json" in sample else None for sample in samples[:5]
    ]


def units(output: str) -> list[tuple[Any, ...]]:
    folder = JobFolder(store_at(output))
    place = {name: row for row, name in enumerate(folder.read_inputs([0])["input_id"].to_pylist())}
    names = ("media", "unit_index", "unit_count", "unit_kind", "page", "start_s", "end_s")
    rows = [
        (place[unit["input_id"]], *(unit[name] for name in names), unit["error"] and unit["error"]["kind"])
        for chunk in folder.read_chunks(0, 0).to_pylist()
        for unit in chunk["units"]
    ]
    return sorted(rows, key=lambda row: row[:3:2])


def test_a_round_trip_gives_the_same_units(tmp_path: Path) -> None:
    before = world(tmp_path, (folder_of(tmp_path), tmp_path / "in")[1])
    assert main(["export", before, "--to", "webdataset", "--into", str(tmp_path / "shards")]) == 0
    after = world(tmp_path, tmp_path / "shards/*.tar", output=str(tmp_path / "again"))
    assert units(after) == units(before)
    assert len(units(before)) == 8  # a picture, two frames, three pages, a clip and a fault


def test_many_shards_in_a_bucket_and_going_on(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporting, "MOST_SAMPLES", 2)
    bucket = s3.new_bucket()
    for name in ("1", "2", "3", "4", "5"):
        write_image(tmp_path / f"{name}.png", name)
        s3.put(f"{bucket}/in/{name}.png", (tmp_path / f"{name}.png").read_bytes())
    output = world(tmp_path, f"{bucket}/in/", output=f"{bucket}/out")
    into = f"{bucket}/shards"
    stopped = store_at(into)
    generator = exporting.export(store_at(output), stopped, "j", 1 << 20)
    assert next(generator).new
    generator.close()
    command = ["export", output, "--to", "webdataset", "--into", into, "--shard-mb", "1"]
    assert main(command) == 2  # a name of its own, so that another export's shards are not taken for these
    assert "give this one another --into" in capsys.readouterr().err
    shards = list(exporting.export(store_at(output), store_at(into), "j", 1 << 20))
    assert [(shard.new, shard.samples) for shard in shards] == [(False, 2), (True, 2), (True, 1)]
    listing = list_inputs((f"{into}/j-{{000000..000002}}.tar",), None)
    assert listing.inputs["error"].null_count == listing.inputs.num_rows == 5
    assert listing.inputs["media"].to_pylist() == ["image"] * 5


def test_an_input_that_is_gone_is_named_and_the_others_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = world(tmp_path, folder_of(tmp_path))
    (tmp_path / "in/2.gif").unlink()
    assert main(["export", output, "--to", "webdataset"]) == 1
    text = capsys.readouterr().out
    assert f"cannot be read any more: {tmp_path}/in/2.gif: No such file" in text
    assert "6 samples; 1 inputs cannot be read any more" in text
    assert len(list_inputs((f"{output}/shards/*.tar",), None).inputs) == 4
    assert main(["export", output, "--to", "webdataset"]) == 0
    assert "(was there)" in capsys.readouterr().out


def test_what_is_killed_leaves_no_half_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = world(tmp_path, folder_of(tmp_path))

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "open_local", broken)
    assert main(["export", output, "--to", "webdataset"]) == 130
    assert store_at(f"{output}/shards").list() == ["export.json"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--shard-mb", "5000"], "stores take no more than 4096 MB at once"),
        (["--into", "https://example.org/x"], "--into: 'https://example.org/x': nothing can be written to https://"),
        (["--shard-mb", "7"], "holds the shards of another export"),
        (["--into", "{folder}/taken"], "holds my-job-1-000000.tar already"),
        (["--into", "{folder}/list.csv"], "--into: "),
        (["--into", "s3://no-such-bucket/x"], "--into: s3://no-such-bucket is not there"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    tmp_path: Path, s3: S3Server, capsys: pytest.CaptureFixture[str], change: list[str], sentence: str
) -> None:
    output = world(tmp_path, folder_of(tmp_path))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/my-job-1-000000.tar").touch()
    assert main(["export", output, "--to", "webdataset"]) == 0
    capsys.readouterr()
    arguments = [text.replace("{folder}", str(tmp_path)) for text in change]
    assert main(["export", output, "--to", "webdataset", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_folder_without_a_job_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path), "--to", "webdataset"]) == 2
    assert "holds no job" in capsys.readouterr().err
