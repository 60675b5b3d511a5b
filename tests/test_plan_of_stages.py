"""What a plan asks of a cluster: pools that grow, labels of nodes, and the sentences where that cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.load import parse
from operators.store.addresses import store_at
from operators.store.results import Results
from pipelines.job import Job, prepare
from pipelines.plan import check_labels, check_resources, stages
from schemas.errors import SpecError
from tests.support.world import World, write_image, write_recording


def job_of(folder: Path, engine: dict[str, Any], **more: Any) -> Job:
    recording = folder / "r.jsonl"
    recording.write_text('{"reply": "x"}\n')
    spec = {"name": "n", "inputs": ["*.png"], "tasks": ["caption"], "output": str(folder / "out"), **more}
    return prepare(parse({**spec, "engine": {"kind": "scripted", "recording": str(recording), **engine}}, "s"))


def test_engines_may_be_as_many_as_there_is_work_and_room_for(tmp_path: Path) -> None:
    infer = stages(job_of(tmp_path, {"replicas": {"min": 2, "max": 5}}), 8.0)[1]
    assert (infer.at_first, infer.actors) == (2, 5)
    infer = stages(job_of(tmp_path, {"replicas": {"max": 5}}), 8.0)[1]
    assert (infer.at_first, infer.actors) == (1, 5)
    infer = stages(job_of(tmp_path, {"replicas": 3}), 8.0)[1]
    assert (infer.at_first, infer.actors) == (3, 3)
    with pytest.raises(SpecError, match=r"engine.replicas: min is 3, and max is 2"):
        job_of(tmp_path, {"replicas": {"min": 3, "max": 2}})
    # what is there at first must be had, and no more
    plan = stages(job_of(tmp_path, {"replicas": {"min": 2, "max": 5}}, decode={"workers": 4}), 8.0)
    check_resources(plan, cpus=4, gpus=0)
    with pytest.raises(SpecError, match=r"^decode.workers: the plan takes 4 CPUs and the cluster has 3; lower it$"):
        check_resources(plan, cpus=3, gpus=0)


def test_a_stage_runs_where_the_labels_are_or_says_that_there_is_no_such_node(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"resources": {"disk": "fast", "zone": "a"}}, decode={"resources": {"zone": "b"}})
    plan = stages(job, 8.0)
    check_labels(plan, [{"zone": "b"}, {"disk": "fast", "zone": "a", "more": "x"}])
    with pytest.raises(
        SpecError, match=r"^engine.resources: no node of the Ray cluster has the labels {disk: fast, zone: a}$"
    ):
        check_labels(plan, [{"zone": "b"}, {"disk": "fast"}, {"zone": "a"}])
    with pytest.raises(SpecError, match=r"^decode.resources: .*{zone: b}$"):
        check_labels(plan, [{"disk": "fast", "zone": "a"}])
    with pytest.raises(SpecError, match=r"engine.resources"):
        job_of(tmp_path, {"resources": {"zone": "!a"}})
    # neither is what makes it the same job
    assert job.definitions == job_of(tmp_path, {}).definitions


@pytest.mark.slow
def test_a_pool_that_grows_answers_every_unit_once(world: World) -> None:
    for number in range(12):
        write_image(world.inputs / f"{number}.png")
    write_recording(world.recording, {"sample": "*", "task": "caption", "reply": "text"})
    world.spec |= {"limits": {"chunk_units": 1}, "decode": {"workers": 1}}
    world.spec["tasks"] = ["caption"]
    world.spec["engine"] |= {"replicas": {"min": 1, "max": 2}}
    assert "12 of 12" in world.run()
    assert Results(store_at(str(world.output))).count("caption") == 12
