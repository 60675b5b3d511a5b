"""A recording and a checkpoint that the spec names by an address: fetched once to each node, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from jobs.load import parse
from model.engines.kinds import FreeMemory, engine_kind
from operators.infer.supervisor import Supervisor
from operators.store.inputs import object_origin
from operators.store.inputs.local_copy import local_copy
from pipelines.job import Job, prepare
from pipelines.local import answer
from schemas.engines.torch import Spec
from schemas.errors import EngineError, InputError, SpecError
from schemas.fetch import FetchSettings
from tests.support.object_server import S3Server
from tests.support.tiny import tiny_checkpoint

OUTPUT = {"type": "object", "properties": {"is": {"type": "string"}}, "required": ["is"]}


def put_recording(s3: S3Server, reply: str = "yes") -> str:
    address = f"{s3.new_bucket()}/a b/replies.jsonl"
    put(s3, address, reply)
    return address


def put(s3: S3Server, address: str, reply: str) -> None:
    line = {"sample": "*", "task": "*", "reply": json.dumps({"is": reply})}
    s3.put(address, json.dumps(line).encode())


def job_of(tmp_path: Path, **engine: Any) -> Job:
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "in" / "a.csv").write_text("question\nIs it?\n")
    spec = {
        "name": "elsewhere",
        "inputs": str(tmp_path / "in" / "a.csv"),
        "tasks": [{"name": "asked", "prompt": "{question}", "units": ["text"], "output": OUTPUT}],
        "engine": engine,
        "output": str(tmp_path / "out"),
    }
    return prepare(parse(spec, "test"))


def other_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "other"))


def test_a_recording_in_a_bucket_answers_on_any_node(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path, kind="scripted", recording=put_recording(s3))
    other_node(tmp_path, monkeypatch)
    (row,) = answer(job)
    assert (row["status"], row["result"]) == ("ok", {"is": "yes"})
    assert [path.name for path in (tmp_path / "other" / "copies").rglob("*") if path.is_file()].count("file") == 1


def test_the_identity_is_of_the_contents(s3: S3Server, tmp_path: Path) -> None:
    first, same, other = (
        job_of(tmp_path, kind="scripted", recording=put_recording(s3, reply)).identity for reply in ("a", "a", "b")
    )
    assert first == same
    assert first != other


def test_what_changed_after_the_run_began_is_not_taken(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = put_recording(s3)
    job = job_of(tmp_path, kind="scripted", recording=address)
    put(s3, address, "no")
    assert next(answer(job))["result"] == {"is": "yes"}  # this node has it
    other_node(tmp_path, monkeypatch)
    with pytest.raises(EngineError, match=r"^engine.recording: s3://.*replies.jsonl was changed after it was listed$"):
        next(answer(job))


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (
            {"kind": "scripted", "recording": "{bucket}/none.jsonl"},
            "engine.recording: {bucket}/none.jsonl is not there",
        ),
        ({"kind": "scripted", "recording": "s3://no-such-bucket/a"}, "engine.recording: s3://no-such-bucket"),
        (
            {"kind": "torch", "model": "{bucket}/none"},
            "engine.model: {bucket}/none/ is not there, or has none of the files",
        ),
        ({"kind": "torch", "model": "s3://no-such-bucket/a/"}, "engine.model: s3://no-such-bucket is not there"),
        (
            {"kind": "torch", "model": "https://example.com/a"},
            "engine.model: https://example.com/a: the web has no folders",
        ),
        (
            {"kind": "scripted", "recording": "https://127.0.0.1/a"},
            "engine.recording: https://127.0.0.1/a: 127.0.0.1 leads",
        ),
    ],
)
def test_what_is_not_there_is_a_sentence(s3: S3Server, tmp_path: Path, engine: dict[str, str], sentence: str) -> None:
    bucket = s3.new_bucket()
    with pytest.raises(SpecError) as caught:
        job_of(tmp_path, **{key: value.format(bucket=bucket) for key, value in engine.items()})
    assert str(caught.value).startswith(sentence.format(bucket=bucket))
    assert "\n" not in str(caught.value)


@pytest.fixture
def checkpoint(s3: S3Server, tmp_path: Path) -> str:
    """The address of a tiny one, with more beside it that is none of it."""
    folder = tiny_checkpoint(tmp_path / "checkpoint")
    address = f"{s3.new_bucket()}/models/tiny"
    for path in folder.iterdir():
        s3.put(f"{address}/{path.name}", path.read_bytes())
    s3.put(f"{address}/optimizer.pt", b"large")
    s3.put(f"{address}/step-1/config.json", b"{}")
    return address


def test_a_checkpoint_in_a_bucket_is_a_folder_of_each_node(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path, kind="torch", model=f"{checkpoint}/")
    local = job_of(tmp_path, kind="torch", model=str(tmp_path / "checkpoint"))
    assert job.infer.provenance.model == job.identity["engine"]["model"] == f"{checkpoint}/"
    assert job.identity["engine"]["weights_sha256"] == local.identity["engine"]["weights_sha256"]
    other_node(tmp_path, monkeypatch)
    assert job.infer.localize is not None
    settings: Any = job.infer.localize(job.infer.engine)
    folder = Path(settings.model)
    assert folder.is_relative_to(tmp_path / "other")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected


def test_a_copy_is_whole_or_not_there(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one was killed amid it; many that ask at once cause one download."""
    copy = local_copy(checkpoint, (".json", ".safetensors"), FetchSettings())
    pieces, names = object_origin.ObjectOrigin.pieces, list[str]()

    def breaking(self: Any, address: str, *where: Any) -> Any:
        if address.endswith(".safetensors"):
            raise InputError("unreachable", "it broke off")
        yield from pieces(self, address, *where)

    def counted(self: Any, address: str, *where: Any) -> Any:
        names.append(address.rpartition("/")[2])
        return pieces(self, address, *where)

    monkeypatch.setattr(object_origin.ObjectOrigin, "pieces", breaking)
    with pytest.raises(InputError, match="it broke off"):
        copy.path()
    copies = tmp_path / "cache" / "copies"
    assert [path.suffix for path in copies.iterdir()] == [".lock"]
    (lock,) = copies.iterdir()
    killed = lock.with_suffix(".part")
    killed.mkdir()
    (killed / "half.json").write_text("{")

    monkeypatch.setattr(object_origin.ObjectOrigin, "pieces", counted)
    barrier, paths = Barrier(4), list[Path]()
    threads = [Thread(target=lambda: (barrier.wait(), paths.append(copy.path()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*paths}) == 1
    assert sorted(names) == sorted(path.name for path in paths[0].iterdir())
    assert not (paths[0] / "half.json").exists()
    assert {path.suffix for path in copies.iterdir()} == {".lock", ""}


def test_an_engine_whose_files_are_gone_is_given_up(s3: S3Server, tmp_path: Path) -> None:
    job = job_of(tmp_path, kind="scripted", recording=put_recording(s3))

    def gone(_: Any) -> Any:
        raise SpecError("engine.recording: it is gone")

    supervisor = Supervisor(job.infer.engine, localize=gone)
    supervisor.close()
    assert supervisor.broken == "engine.recording: it is gone"


def test_doctor_fetches_nothing() -> None:
    kind = engine_kind(Spec(kind="torch", model="s3://no-such-bucket/checkpoint/"))
    can_answer, (finding,) = kind.findings(FreeMemory(1, 1))
    assert (can_answer, finding.level) == (False, "note")
    assert "a run fetches it" in finding.message
