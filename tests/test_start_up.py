"""What a small job starts and loads: processes and modules are counted, never seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.load import parse
from pipelines.job import prepare
from pipelines.one_actor import in_one_actor
from pipelines.plan import Stage
from pipelines.progress import Progress
from pipelines.ray_head import lean
from pipelines.ray_stand_ins import StandIn
from pipelines.run import run
from schemas.errors import JobConflict
from tests.support.in_process import InProcess
from tests.support.world import ROOT, World, write_image, write_recording

HEAVY = {"torch", "duckdb", "transformers", "tokenizers", "matplotlib", "scipy", "av"}
"""Libraries that take tenths of a second to import, and that no part of Ray needs."""


@pytest.mark.slow
def test_a_small_job_starts_its_actors_and_little_beside(world: World, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.loaded", str(tmp_path)],
        cwd=ROOT,
        env=world.environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    # no agent that works, no monitor, no actor of Ray Data's for figures, places or an autoscaler, no task
    beside = ("gcs_server", "pipelines.ray_head", "raylet", "signal.pause", "signal.pause")
    assert result["1"]["lives"] == ["AllStages", *beside]
    assert result["2"]["lives"] == [*["Loaded"] * 2, *["LoadedToo"] * 2, *beside]
    for modules, path in result["1"]["told"] + result["2"]["told"]:
        assert str(tmp_path) in path  # modules of tasks are looked for there, though no agent tells workers so
        assert not HEAVY & set(modules), HEAVY & set(modules)
    assert not HEAVY & set(result["driver"])
    assert result["variables"] == []
    world.nothing_left()


def test_stages_in_one_actor_are_made_from_the_last_and_called_from_the_first() -> None:
    made = []

    class Adds:
        def __init__(self, letter: str) -> None:
            made.append(letter)
            self.letter = letter

        def __call__(self, told: str) -> str:
            return told + self.letter

    plan = [Stage(letter, Adds, (letter,), actors=3, calls=4, cpus=1, gpus=0.5) for letter in "ab"]
    stage = in_one_actor(plan)
    assert (stage.name, stage.actors, stage.calls, stage.cpus, stage.gpus) == ("a, b", 1, 1, 2, 1)
    assert stage.operator(*stage.arguments)("") == "ab"
    assert made == ["b", "a"]


def test_an_engine_that_answers_has_loaded_no_compiler() -> None:
    """torch has one, which takes as long to load as torch itself."""
    code = """
import asyncio, sys
from pathlib import Path
import numpy as np
from model.engines.torch_engine import TorchEngine
from model.prompts.rgb import pack
from schemas.request import Message, Request, Sampling

async def answer():
    engine = TorchEngine(Path("model/nano/checkpoint"))
    message = Message("user", (pack(np.zeros((64, 64, 3), np.uint8)), "Read it."))
    completion = await engine.generate(Request("a", (message,), Sampling(max_tokens=3)))
    await engine.close()
    return completion.output_tokens

heavy = {"torch._dynamo", "torch._inductor", "sympy", "torch", "ray"}
print(asyncio.run(answer()) > 0, sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True ['torch']\n"


@pytest.mark.parametrize("joined", [False, True])
def test_a_head_that_is_only_begun_ends_too(joined: bool, world: World) -> None:
    """joined: whether the run comes as far as to wait for it, and finds that it did not start."""
    code = f"""
import os
from pipelines import ray_data, ray_head
from schemas.errors import ClusterLost

ray_data._set_variables()
before = dict(os.environ)
folders = []
ray_head._folder, made = (lambda: folders.append(made()) or folders[-1]), ray_head._folder
ray_data.START_S = (0.01,)
ray_data.begin(1)
ray_data.begin(1)
(head, folder), told = (ray_data._ahead.head.process, folders[0]), "-"
if {joined}:
    try:
        ray_data.connect(1)
    except ClusterLost as error:
        told = error
    assert ray_data._ahead is None
print(len(folders), folder.exists() or head.poll(), told)
ray_data.disconnect()
left = [name for name in ray_head.settings() if os.environ.get(name) != before.get(name)]
print(len(folders), folder.exists() or head.poll(), left)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=world.environment, capture_output=True, text=True, check=False
    )
    meanwhile = "1 -9 Ray did not start within 0.01 s; tried 1 times" if joined else "1 True -"
    assert done.stdout == f"{meanwhile}\n1 -9 []\n", done.stderr
    world.nothing_left()


def test_ray_starts_before_inputs_are_looked_into_and_only_where_there_are_some(
    in_process: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Counted(InProcess):
        def begin(self) -> None:
            told.append("begin")

        def connect(self) -> None:
            told.append("connect")

    class Planned(Progress):
        def planned(self, rows: int, done: int, chunks: int) -> None:
            told.append(f"{chunks} chunks")

    monkeypatch.setattr("pipelines.running.Cluster", Counted)
    write_image(in_process / "a.png")
    recording = write_recording(in_process / "replies.jsonl", {"sample": "*", "task": "*", "reply": "text"})
    spec = {
        "name": "test",
        "inputs": [str(in_process / "*.png")],
        "tasks": ["caption"],
        "engine": {"kind": "scripted", "recording": str(recording)},
        "output": str(in_process / "out"),
    }
    assert run(prepare(parse(spec, "test")), progress=Planned()).exit_code == 0
    assert list(dict.fromkeys(told)) == ["begin", "1 chunks", "connect"]
    told.clear()
    assert run(prepare(parse(spec, "test")), progress=Planned()).exit_code == 0  # nothing to do
    with pytest.raises(JobConflict):
        run(prepare(parse({**spec, "tasks": [{"name": "caption", "prompt": "Other?"}]}, "test")))
    assert told == ["0 chunks"]


def test_a_raylet_is_told_to_start_little() -> None:
    agents = ["--dashboard_agent_command=python agent.py --a=b", "--runtime_env_agent_command=x"]
    command = ["/raylet", "--head", "--num_prestart_python_workers=64", *agents]
    told = lean(command)
    assert told[:3] == ["/raylet", "--head", "--num_prestart_python_workers=1"]
    waiting = {argument.partition("=")[2] for argument in told[3:]}
    assert len(waiting) == 1
    assert waiting.pop().endswith('-c "import signal; signal.pause()"')
    assert [argument.partition("=")[0] for argument in told] == [argument.partition("=")[0] for argument in command]


def test_a_stand_in_answers_where_somebody_waits_and_takes_the_rest() -> None:
    stand_in = StandIn()
    assert stand_in.update_iteration_metrics.remote("figures", tag=1) is None
    with pytest.raises(AttributeError):
        stand_in.__getstate_of_an_actor__  # noqa: B018  what pickling asks for is no method of an actor


def test_the_scheduler_of_ray_looks_as_often_as_chunks_come_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import ray_steps

    ray = ray_steps.streaming_executor_state
    before_s = ray.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S
    now_s = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    waits_s = []
    with ray_steps.paced() as ended:
        for every_s in (3.0, 0.2, 60.0):
            for _ in range(20):
                now_s += every_s
                ended()
            waits_s.append(ray.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S)
    waits_s.append(ray.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S)
    assert waits_s == [pytest.approx(0.3), before_s, ray_steps.MOST_S, before_s]
