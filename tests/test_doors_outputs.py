"""Wrong outputs and job folders: exit code 2 or 1 and one line, whatever is in them; nothing runs for long."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.cli import main
from jobs.load import load, parse
from operators.store.local import LocalStore
from operators.store.part_log import PartLog, PartName
from operators.store.view import View
from pipelines.folder import LAYOUT, JobFolder
from pipelines.growth import grow
from pipelines.job import Job, prepare
from pipelines.plain_values import to_json
from pipelines.planner import plan_work
from pipelines.planning import list_job
from pipelines.progress import Progress
from pipelines.rounds import Round, now, who
from schemas import tables
from schemas.errors import StoreLost
from tests.support.in_process import InProcess
from tests.support.parts import chunk
from tests.support.sentences import Spec, job_of_text, sentence

ORDINARY = pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    return job_of_text(tmp_path, monkeypatch)


# outputs


def _file(path: Path) -> None:
    path.write_text("")


def _round(**changes: object) -> bytes:
    """As it is stored. Of a task as it is defined nowhere."""
    tasks = {"text": {"prompt": "another\n\x1b[2J"}}
    return to_json(Round(0, "first", (0,), tasks, now(), who(), {"name": "n"}).as_json() | changes)


def _taken(path: Path) -> None:
    """By a job of the same task, defined otherwise, of which something is answered."""
    store = LocalStore(str(path))
    JobFolder(store).claim()
    store.put_if_absent("_job/rounds/00000.json", _round())
    store.put_if_absent("_job/inputs/00000/part-00000.parquet", b"never read")
    store.put_if_absent(PartName("text", chunk("c")).key, b"never read")


def _of_another_version(path: Path) -> None:
    JobFolder(LocalStore(str(path))).claim()
    (path / "_job/identity.json").write_text(json.dumps({"layout": LAYOUT - 1}))


OUTPUTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a file": ("out", _file, "out is not a folder"),
    "below a file": ("out/a/b", lambda path: _file(path.parent.parent), "out is not a folder"),
    "a link to nothing": ("out", lambda path: path.symlink_to("nowhere"), "out is a link that leads nowhere"),
    "below a link to nothing": (
        "out/a",
        lambda path: path.parent.symlink_to("nowhere"),
        "out is a link that leads nowhere",
    ),
    "a link to itself": ("out", lambda path: path.symlink_to(path), "out is a link that leads nowhere"),
    "a device": ("/dev/full", lambda path: None, "/dev/full is not a folder"),
    "below a device": ("/dev/null/out", lambda path: None, "/dev/null is not a folder"),
    "where nobody may write": ("/proc/sightread", lambda path: None, "cannot be written"),
    "too long a name": ("x" * 300, lambda path: None, "a name of 300 bytes"),
    "too long a path": ("x/" * 3000, lambda path: None, "cannot be written"),
    "nobody's": ("~nobody-is-called-so/out", lambda path: None, "there is no such user's folder"),
    "another machine": ("file://host/out", lambda path: None, "file:// and an absolute path"),
    "hdfs": ("hdfs://host/out", lambda path: None, "nothing can be written to hdfs://"),
    "a slip": ("s3:/bucket/out", lambda path: None, "s3:// and a place, as s3://bucket/out"),
    "S3": ("S3A://bucket/out", lambda path: None, "nothing can be written to s3a://"),
    "https": ("https://host/out", lambda path: None, "nothing can be written to https://"),
    "memory": ("memory://x", lambda path: None, "the memory of one"),
    "another job's": ("out", _taken, r"holds answers of another text: .*--redo text$"),
    "another version's": ("out", _of_another_version, "by another version of sightread .*this job needs another"),
    "its folder is a file": (
        "out",
        lambda path: (path.mkdir(), _file(path / "_job")),
        "_job is not a folder",
    ),
}


def _everything() -> list[str]:
    return sorted(str(path) for path in Path.cwd().rglob("*"))


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_output_that_cannot_be_is_one_sentence_and_leaves_nothing(
    spec: Spec, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    address, make, words = OUTPUTS[name]
    if address.startswith("/proc") and command == "plan" and os.getuid() == 0:
        pytest.skip("that nobody may write there does not show before it is tried")
    make(Path(address))
    Path("spec.yaml").write_text(yaml.safe_dump({**spec, "output": address}))
    before = _everything()
    said = sentence(capsys, command, "spec.yaml")
    assert re.search(words, said), said
    assert _everything() == before


@ORDINARY
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_folder_that_this_user_may_not_write_is_one_sentence(
    spec: Spec, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    Path("out").mkdir(mode=0o500)
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    assert "out cannot be written by this user" in sentence(capsys, command, "spec.yaml")


def test_a_disk_that_is_full_from_the_start_is_one_sentence(
    spec: Spec, capsys: pytest.CaptureFixture[str], small_disk: Path
) -> None:
    (small_disk / "x").write_bytes(b"x" * (256 << 10))
    Path("spec.yaml").write_text(yaml.safe_dump({**spec, "output": str(small_disk / "out")}))
    assert "No space left on device" in sentence(capsys, "run", "spec.yaml")
    assert not [path for path in (small_disk / "out").rglob("*") if path.is_file()]


def test_a_disk_that_may_only_be_read_is_one_sentence(
    spec: Spec, capsys: pytest.CaptureFixture[str], small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    Path("spec.yaml").write_text(yaml.safe_dump({**spec, "output": str(small_disk / "out")}))
    for command in ("plan", "run"):
        assert "cannot be written" in sentence(capsys, command, "spec.yaml")


# job folders


@pytest.fixture
def folder(spec: Spec) -> Path:
    """Of a job that was killed after it had listed and cut its inputs."""
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    begin(prepare(load(Path("spec.yaml"))))
    return Path("out")


def begin(job: Job) -> None:
    store = LocalStore(job.output)
    of_job, view = JobFolder(store), View(store)
    of_job.claim()
    of_job.write_spec(job.spec.model_dump(mode="json"))
    rounds = grow(job, of_job, view, of_job.rounds(), [], list_job(job), changed=False)
    plan_work(job, of_job, rounds, None, Progress())


IDENTITY, STORED, ROUND = "_job/identity.json", "_job/spec.yaml", "_job/rounds/00000.json"
INPUTS, CHUNKS = "_job/inputs/00000/part-00000.parquet", "_job/chunks/00000/part-00000.parquet"


def _other_columns(path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), path)


def _nulls(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist([{}], schema=table.schema), path)


def _other_types(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, table.schema.names[0], pa.array([[1]] * table.num_rows)), path)


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("nowhere")


def _folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def _write(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


ANY = {
    "empty": _write(b""),
    "rubbish": _write(bytes(range(256))),
    "a pipe": _pipe,
    "a link": _link,
    "a folder": _folder,
}
JSON = {
    **ANY,
    "half": _half,
    "a list": _write(b"[]"),
    "deep": _write(b"[" * 100_000),
    "deep mappings": _write(b'{"a":' * 90 + b"1" + b"}" * 90),
    "digits": _write(b'{"a": ' + b"9" * 5000 + b"}"),
    "huge": _write(b'{"a": "' + b"x" * (17 << 20) + b'"}'),
}
BROKEN: dict[str, dict[str, Callable[[Path], object]]] = {
    IDENTITY: {
        **JSON,
        "another layout": _write(json.dumps({"layout": LAYOUT + 1, "name": "\x1b[2J\n"}).encode()),
        "no layout": _write(json.dumps({"layout": "\x1b[2J\n" * 99}).encode()),
    },
    ROUND: {
        **JSON,
        "another number": _write(_round(number=1)),
        "no number": _write(_round(number=True)),
        "no kind": _write(_round(kind="\x1b[2J\n")),
        "a list for a kind": _write(_round(kind=[])),
        "names of manifests": _write(_round(manifests=["../../x"])),
        "a manifest too many": _write(_round(manifests=[0, 10**300])),
        "tasks that are none": _write(_round(tasks={"text": "\x1b[2J\n"})),
        "a task of no name": _write(_round(tasks={"text": {"": {}}, "../..": {}}, manifests=[1])),
        "no counts": _write(_round(counts={"new": "x"})),
        "chunks without end": _write(_round(chunk_files=10**18, tasks={})),
        "a key too many": _write(_round(more=1)),
        "a key too few": _write(to_json({"number": 0, "kind": "first"})),
    },
    INPUTS: {**ANY, "half": _half, "other columns": _other_columns, "nulls": _nulls, "other types": _other_types},
    CHUNKS: {**ANY, "half": _half, "other columns": _other_columns, "nulls": _nulls, "other types": _other_types},
}
WORDS = {
    "another layout": "another version",
    "no layout": "another version",
    "chunks without end": "chunks",
    "a manifest too many": "inputs",
    "a task of no name": "inputs",
}
NOT_SEEN = {(ROUND, "a folder"), (CHUNKS, "a folder"), (CHUNKS, "a link"), (CHUNKS, "a pipe")}
"""By a plan: what is no file is no round and no manifest until one is to be written there."""


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, ways in BROKEN.items() for name in ways])
def test_a_broken_job_folder_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, name: str
) -> None:
    monkeypatch.setattr("pipelines.running.Cluster", InProcess)
    BROKEN[key][name](folder / key)
    words = WORDS.get(name, key.split("/")[1])
    assert words in sentence(capsys, "run", "spec.yaml")
    if (key, name) not in NOT_SEEN:
        assert words in sentence(capsys, "plan", "spec.yaml")


@pytest.mark.parametrize("name", [*JSON, "another kind of spec", "a spec of nothing"])
@pytest.mark.parametrize("command", ["reparse", "show", "markdown", "overlay"])
def test_a_broken_spec_in_the_folder_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    ways = {
        **JSON,
        "another kind of spec": _write(_round(spec=["!!python/name:os.system ''"])),
        "a spec of nothing": _write(_round(spec={"name": "\x1b[2J\n"})),
    }
    ways[name](folder / ROUND)
    sentence(capsys, command, str(folder))


@pytest.mark.parametrize("name", ANY)
def test_what_lies_where_the_spec_is_kept_does_not_hold_a_run_for_ever(folder: Path, name: str) -> None:
    """Nobody reads it but people; the next run puts its own there, or says why not."""
    ANY[name](folder / STORED)
    of_job = JobFolder(LocalStore("out"))
    assert of_job.spec()["name"] == "n"
    with contextlib.suppress(StoreLost):
        of_job.write_spec({"name": "m"})
        assert yaml.safe_load((folder / STORED).read_text()) == {"name": "m"}


def test_a_folder_of_no_round_is_whole_after_the_next_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a kill between the claim and the first round leaves it."""
    (folder / STORED).unlink()
    (folder / ROUND).unlink()
    assert "holds no job" in sentence(capsys, "reparse", str(folder))
    for command in ("show", "markdown", "overlay"):
        sentence(capsys, command, str(folder))
    assert main(["plan", "spec.yaml"]) == 0
    begin(prepare(load(Path("spec.yaml"))))
    assert JobFolder(LocalStore("out")).spec()["name"] == "n"


@pytest.mark.parametrize("name", [*sorted(ANY.keys() - {"a folder"}), "other columns"])
@pytest.mark.parametrize("command", ["reparse", "show", "markdown", "overlay"])
def test_a_file_of_results_that_is_none_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    spec = yaml.safe_load(Path("spec.yaml").read_text())
    begin(prepare(parse(spec | {"tasks": [*spec["tasks"], "parse_document"]}, "spec")))  # a further task
    for task in ("text", "parse_document"):
        path = folder / f"results/task={task}/part-00000.parquet"
        path.parent.mkdir(parents=True)
        ({**ANY, "other columns": _other_columns}[name])(path)
    said = sentence(capsys, command, str(folder))
    assert re.search("part|holds no", said)


@pytest.mark.parametrize("name", [*sorted(ANY.keys() - {"a folder"}), "other columns"])
def test_a_part_that_is_none_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    job = prepare(load(Path("spec.yaml")))
    store = LocalStore("out")
    put_row(store, job, unit_kind="text")
    path = folder / PartName("text", chunk("x")).key
    ({**ANY, "other columns": _other_columns}[name])(path)
    assert f"{chunk('x')}.parquet" in sentence(capsys, "reparse", str(folder))


def put_row(store: LocalStore, job: Job, **values: object) -> None:
    """In the log and in the results, about the first task."""
    schema = tables.results_schema(job.tasks[0].output.arrow_type, [])
    empty = {pa.string(): "", pa.int32(): 0, pa.int64(): 0, pa.float64(): 0.0}
    row = {field.name: None if field.nullable else empty[field.type] for field in schema}
    row |= {"input_id": "0", "input_uri": "/a.pdf", "unit_count": 1, "status": "ok", "text": "a", "attempt": 1}
    row |= {"verified": {"ok": True}, "finish_reason": "stop", "chunk_id": chunk("c")} | values
    name = job.tasks[0].name
    PartLog(store).write(name, chunk("c"), pa.Table.from_pylist([row], schema=schema))
    assert View(store).publish(name, 0)


@pytest.mark.parametrize("command", ["reparse", "show", "markdown", "overlay"])
@pytest.mark.parametrize("address", ["nowhere", "spec.yaml", "s3://b/o", "x" * 300, "/dev/null", "a\0b", "/"])
def test_what_is_no_job_folder_is_one_sentence(
    spec: Spec, capsys: pytest.CaptureFixture[str], command: str, address: str
) -> None:
    Path("spec.yaml").write_text("")
    if address != "/":
        sentence(capsys, command, address)


def test_a_summary_in_whose_place_is_a_broken_link_does_not_hold_a_run_for_ever(folder: Path) -> None:
    (folder / "_job/summary.json").symlink_to("nowhere")
    with pytest.raises(OSError, match="a link that leads nowhere"):
        JobFolder(LocalStore("out")).write_summary({})


@pytest.mark.parametrize("command", ["reparse", "markdown"])
def test_a_full_disk_under_a_job_folder_is_one_sentence(
    spec: Spec, capsys: pytest.CaptureFixture[str], small_disk: Path, command: str
) -> None:
    output = str(small_disk / "out")
    spec |= {"output": output, "tasks": ["parse_document"], "inputs": ["a.pdf"]}
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    job = prepare(load(Path("spec.yaml")))
    begin(job)
    page = "<html><body><p>a</p></body></html>"
    put_row(LocalStore(output), job, unit_kind="document", text=page, page=1, width_px=9)
    before = sorted(path for path in small_disk.rglob("*") if path.is_file())
    with (small_disk / "x").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert "No space left on device" in sentence(capsys, command, output)
    assert sorted(path for path in small_disk.rglob("*") if path.is_file() and path.name != "x") == before
