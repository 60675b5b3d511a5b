"""A plan needs no weights, and no network: it is the plan of a run, or says what of that is left open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from jobs.cli import main
from jobs.load import parse
from model.engines.kinds import FreeMemory, engine_kind
from operators.store.addresses import store_at
from pipelines.folder import JobFolder
from pipelines.job import Job, prepare
from pipelines.outlook import outlook
from pipelines.rounds import Round
from schemas.engines.torch import Spec
from schemas.errors import JobConflict, SpecError
from tests.support.hub_server import TOKEN, Hub
from tests.support.object_server import S3Server
from tests.support.tiny import tiny_checkpoint
from tests.support.web_server import web_server

MODEL, WEIGHTS = "tests/set", "model.safetensors"
OUTPUT = {"type": "object", "properties": {"is": {"type": "string"}}, "required": ["is"]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """With a tiny checkpoint, which this machine has nothing of."""
    with web_server(tmp_path) as server:
        hub = Hub(server)
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.push_folder(tiny_checkpoint(tmp_path / "checkpoint"))
        yield hub


def spec_of(tmp_path: Path, model: str = MODEL, prompt: str = "{question}", **task: Any) -> dict[str, Any]:
    (tmp_path / "a.csv").write_text("question\nIs it?\n")
    asked = {"name": "asked", "prompt": prompt, "units": ["text"], "output": OUTPUT, **task}
    return {
        "name": "planned", "inputs": str(tmp_path / "a.csv"), "tasks": [asked],
        "engine": {"kind": "torch", "model": model}, "output": str(tmp_path / "out"),
    }  # fmt: skip


def job_of(tmp_path: Path, *, fetch: bool = False, **changes: Any) -> Job:
    return prepare(parse(spec_of(tmp_path, **changes), "test"), fetch=fetch)


def begin(job: Job) -> None:
    """As a run of it would."""
    folder = JobFolder(store_at(job.output))
    folder.claim()
    folder.add_round(Round(0, "first", (), job.definitions, "then", "somebody", job.spec.model_dump(mode="json"), {}))


def test_it_fetches_no_weights_and_knows_the_job_of_a_run(hub: Hub, tmp_path: Path) -> None:
    planned = job_of(tmp_path)
    assert WEIGHTS not in hub.fetched
    assert "config.json" in hub.fetched
    (sentence,) = planned.left_open
    assert f"whether the weights of {MODEL} fit it" in sentence
    run = job_of(tmp_path, fetch=True)
    assert WEIGHTS in hub.fetched
    assert (planned.identity, planned.definitions) == (run.identity, run.definitions)
    assert run.left_open == ()
    assert job_of(tmp_path).left_open == ()  # they are here now, and are looked into
    hub.fetched.clear()
    assert outlook(job_of(tmp_path)).work.pending.num_rows == 1
    assert WEIGHTS not in hub.fetched


def test_doctor_knows_whether_weights_are_here(hub: Hub, tmp_path: Path) -> None:
    kind, memory = Spec(kind="torch", model=MODEL), FreeMemory(100, 100)
    job_of(tmp_path)
    assert engine_kind(kind).findings(memory)[0] is False
    job_of(tmp_path, fetch=True)
    assert engine_kind(kind).findings(memory)[0] is True


def test_without_a_network_it_is_planned_and_says_what_is_open(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "job.yaml").write_text(json.dumps(spec_of(tmp_path)))
    assert main(["plan", str(tmp_path / "job.yaml")]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"{MODEL} is not on this machine; its config is asked for, no weights are fetched\n"
    said = " ".join(printed.out.split())
    assert "rows asked: 1" in said
    assert f"open whether there is a {MODEL}, and whether this engine runs it" in said
    assert not (tmp_path / "out").exists()
    assert main(["plan", str(tmp_path / "job.yaml"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["left_open"]) == 3
    assert hub.fetched == []
    with pytest.raises(SpecError, match="cannot be had from the hub"):
        job_of(tmp_path, fetch=True)


def test_what_the_hub_does_not_have_is_refused(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="tests/other is no local folder and cannot be had from the hub"):
        job_of(tmp_path, model="tests/other")


def test_a_proxy_that_says_no_is_a_sentence(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    def refused(*_: Any, **__: Any) -> str:
        raise HTTPError("403 Forbidden")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    with pytest.raises(SpecError, match="cannot be had from the hub: 403 Forbidden"):
        job_of(tmp_path, fetch=True)
    assert len(job_of(tmp_path).left_open) == 3


def test_an_output_that_was_begun_is_held_against_what_is_known(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the hub at hand, of the weights too; without it, of all but what the checkpoint says."""
    begin(job_of(tmp_path, fetch=True))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "other-machine"))
    monkeypatch.setattr("pipelines.growth.View.committed", lambda *_: {"a chunk"})
    hub.push_folder(tiny_checkpoint(tmp_path / "newer", seed=1))
    with pytest.raises(JobConflict, match=r"engine\.weights_sha256"):
        outlook(job_of(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "third-machine"))
    outlook(job_of(tmp_path))
    with pytest.raises(JobConflict, match="prompt"):
        outlook(job_of(tmp_path, prompt="{question} Say yes."))


def test_a_checkpoint_in_a_bucket_is_described_without_its_weights(s3: S3Server, tmp_path: Path) -> None:
    address = f"{s3.new_bucket()}/tiny"
    for path in tiny_checkpoint(tmp_path / "checkpoint").iterdir():
        s3.put(f"{address}/{path.name}", path.read_bytes())
    planned = job_of(tmp_path, model=address)
    copies = tmp_path / "cache" / "copies"
    assert {path.name for path in copies.rglob("*.json")} >= {"config.json", "tokenizer.json"}
    assert [*copies.rglob(WEIGHTS)] == []
    assert len(planned.left_open) == 2
    assert "weights_sha256" not in planned.identity["engine"]
    run = job_of(tmp_path, model=address, fetch=True)
    assert job_of(tmp_path, model=address).identity == run.identity
    assert planned.as_there(run.definitions).definitions == run.definitions
