"""Jobs from what an output stores: of each spec its tasks, as they were defined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.load import parse, parse_stored_all
from operators.store.addresses import store_at
from pipelines.folder import JobFolder
from pipelines.job import Job, prepare
from pipelines.rounds import Kind, Round, definitions, specs
from pipelines.stored_job import stored_jobs
from schemas.errors import JobConflict, SpecError
from tests.support.world import write_recording


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "replies.jsonl", {"reply": "yes"})


def job_of(recording: Path, *tasks: Any, output: str = "/nowhere/out", **keys: Any) -> Job:
    engine = {"kind": "scripted", "recording": str(recording)} | keys
    spec = {"name": "test", "inputs": ["in"], "tasks": list(tasks), "engine": engine, "output": output}
    return prepare(parse(spec, "the spec"))


def round_of(number: int, kind: Kind, job: Job) -> Round:
    return Round(number, kind, (0,), job.definitions, "then", "somebody", job.spec.model_dump(mode="json"))


def test_each_spec_is_a_job_with_the_tasks_that_it_defined_last(recording: Path, tmp_path: Path) -> None:
    first = job_of(recording, "ocr", "caption", "parse_document")
    second = job_of(recording, {"name": "caption", "prompt": "What is it?"}, slots=3)
    rounds = [round_of(0, "first", first), round_of(1, "redo", second)]

    jobs = stored_jobs(rounds, parse_stored_all(specs(rounds), "out"), str(tmp_path / "moved"))

    assert [[task.name for task in job.tasks] for job in jobs] == [["ocr", "parse_document"], ["caption"]]
    assert [job.spec.engine.concurrency for job in jobs] == [8, 3]
    assert jobs[1].tasks[0].prompt == "What is it?"
    assert {job.output for job in jobs} == {str(tmp_path / "moved")}
    assert [job.infer.tasks for job in jobs] == [job.tasks for job in jobs]
    assert jobs[0].definitions | jobs[1].definitions == definitions(rounds)
    assert jobs[0].decode == first.decode


def test_a_task_that_was_written_out_is_the_same_when_it_is_read_back(recording: Path, tmp_path: Path) -> None:
    output = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}, "required": ["b"]}
    job = job_of(recording, {"name": "mine", "units": ["page"], "prompt": "What?", "output": output})
    folder = JobFolder(store_at(str(tmp_path / "out")))
    folder.claim()
    folder.add_round(round_of(0, "first", job))

    (again,) = stored_jobs(folder.rounds(), parse_stored_all(folder.specs(), "out"), str(tmp_path / "out"))

    assert again.tasks[0].prompt == job.tasks[0].prompt  # it shows the schema, whose keys are in the spec's order
    assert [*again.tasks[0].output.schema["properties"]] == ["b", "a"]


def test_another_engine_answers_for_the_same_tasks(recording: Path, tmp_path: Path) -> None:
    rounds = [round_of(0, "first", job_of(recording, "ocr"))]
    other = write_recording(tmp_path / "other.jsonl", {"reply": "no"})
    engine = job_of(other, "ocr", slots=2).spec.engine

    (job,) = stored_jobs(rounds, parse_stored_all(specs(rounds), "out"), str(tmp_path / "out"), engine)

    assert job.spec.engine == engine
    assert job.definitions == definitions(rounds)


def test_a_task_that_would_be_another_now_is_refused(recording: Path, tmp_path: Path) -> None:
    rounds = [round_of(0, "first", job_of(recording, "ocr"))]
    write_recording(recording, {"reply": "something else"})
    with pytest.raises(JobConflict, match="recording_sha256"):
        stored_jobs(rounds, parse_stored_all(specs(rounds), "out"), str(tmp_path / "out"))

    gone = replace(rounds[0], spec={**rounds[0].spec, "tasks": [{"name": "ocrx"}]})
    with pytest.raises(SpecError, match="there is no task 'ocrx'"):
        stored_jobs([gone], parse_stored_all(specs([gone]), "out"), str(tmp_path / "out"))
