"""Whether the engine is kept busy: enough chunks under way for replies of any length, first simulated and then held
against Ray; and what a run says of it."""

from __future__ import annotations

import heapq
import json
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from operators.infer.infer import Infer
from operators.infer.utilization import Utilization
from pipelines.job import prepare
from pipelines.plan import stages
from pipelines.summary.utilization import summarize_utilization
from schemas.spec import JobSpec
from tests.support.world import World, write_recording

LENGTHS: dict[str, Callable[[random.Random], float]] = {
    "much alike": lambda chance: chance.uniform(60, 180),
    "long tail": lambda chance: min(4096.0, chance.lognormvariate(5, 1)),
    "one in a hundred runs away": lambda chance: 8192.0 if chance.random() < 0.01 else chance.uniform(100, 400),
}


def simulated_time(lengths: list[float], slots: int, chunk: int, calls: int) -> float:
    """Until the last reply, in the unit of the lengths, when `calls` chunks are under way at most and a slot takes what
    came first. Ray is taken to need no time."""
    left = [len(lengths[start : start + chunk]) for start in range(0, len(lengths), chunk)]
    waiting: deque[tuple[float, int]] = deque()
    running: list[tuple[float, int]] = []
    now, begun, open_chunks = 0.0, 0, 0
    while begun < len(left) or waiting or running:
        while begun < len(left) and open_chunks < calls:
            waiting += [(length, begun) for length in lengths[begun * chunk : (begun + 1) * chunk]]
            begun, open_chunks = begun + 1, open_chunks + 1
        while waiting and len(running) < slots:
            length, place = waiting.popleft()
            heapq.heappush(running, (now + length, place))
        now, place = heapq.heappop(running)
        left[place] -= 1
        open_chunks -= not left[place]
    return now


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize(("slots", "units"), [(64, 5000), (128, 20_000)])
def test_simulated_chunks_under_way_are_enough_for_replies_of_any_length(
    tmp_path: Path, kind: str, slots: int, units: int
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "r.jsonl").write_text("")
    engine = {"kind": "scripted", "recording": str(tmp_path / "r.jsonl"), "slots": slots}
    spec = {"name": "n", "inputs": [str(tmp_path)], "tasks": ["ocr"], "output": str(tmp_path / "o"), "engine": engine}
    plan = stages(prepare(JobSpec.model_validate(spec)), 32)
    (calls,) = (stage.calls for stage in plan if stage.operator is Infer)
    chance = random.Random(slots)
    lengths = [LENGTHS[kind](chance) for _ in range(units)]
    bare = simulated_time(lengths, slots, chunk=units, calls=1)
    assert bare / simulated_time(lengths, slots, 32, calls) > 0.95


@pytest.mark.slow
def test_ray_keeps_the_slots_of_a_paced_engine_as_full_as_simulated(world: World) -> None:
    units, slots, chunk = 320, 8, 16
    frames = [Image.new("RGB", (32, 32), (number % 256, number // 256, 0)) for number in range(units)]
    frames[0].save(world.inputs / "a.tiff", save_all=True, append_images=frames[1:])
    chance = random.Random(0)
    lengths_s = [min(2.0, 0.12 * chance.lognormvariate(0, 1)) for _ in range(units)]
    lines = ({"sample": "a.tiff", "unit": unit, "reply": "x", "delay_s": s} for unit, s in enumerate(lengths_s))
    write_recording(world.recording, *({"task": "caption", **line} for line in lines))
    world.spec["tasks"] = ["caption"]
    world.spec["engine"] |= {"slots": slots}
    world.spec["limits"] = {"chunk_units": chunk}
    world.run()
    in_use = json.loads((world.output / "_job" / "summary.json").read_text())["engine"]["utilization"]
    all_at_hand = sum(lengths_s) / (slots * simulated_time(lengths_s, slots, units, 1))
    one_at_a_time = sum(lengths_s) / (slots * simulated_time(lengths_s, slots, chunk, 1))
    # with one chunk after the other it would show
    assert one_at_a_time < 0.6 < 0.85 * all_at_hand < in_use


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.01, 5)), min_size=1, max_size=40), st.integers(1, 8))
def test_slots_in_use_are_counted_between_first_request_and_last_answer(
    steps: list[tuple[int, float]], slots: int
) -> None:
    utilization, now, busy = Utilization(slots), 100.0, 0.0
    last_fall = first = None
    before = 0
    for running, wait in steps:
        utilization.note(running, now)
        if running and first is None:
            first = now
        if running < before:
            last_fall = now
        before = running
        busy += min(running, slots) * wait
        now += wait
    utilization.note(before, now)
    assert utilization.busy_s == pytest.approx(busy)
    assert utilization.since_s == first
    assert utilization.until_s == (last_fall or 0.0)


def receipt(chunk: str, actor: str = "a", **more: Any) -> dict[str, Any]:
    engine = {"actor": actor, "slots": 2, "since_s": 10.0, "until_s": 14.0, "busy_s": 8.0, "deaths": 0}
    engine |= {key: more.pop(key) for key in tuple(more) if key in engine}
    return {
        "chunk_id": chunk, "rows": 8, "output_tokens": 100, "decode_s": 1.0, "commit_s": 0.1,
        "engine": engine, **more,
    }  # fmt: skip


def test_a_run_says_how_busy_its_engines_were_together() -> None:
    summary = summarize_utilization(
        [
            receipt("x", until_s=12.0, busy_s=4.0),
            receipt("x", deaths=1),
            receipt("y", actor="b", until_s=20.0, busy_s=12.0, deaths=2),
        ],
        workers=2,
    )
    assert summary is not None
    assert (summary.span_s, summary.deaths) == (10.0, 3)
    assert summary.utilization == pytest.approx((8 + 12) / (4 * 10))
    assert summary.tokens_per_s == 30.0
    assert summary.decode == pytest.approx(2 / 20), "a chunk is decoded once for all its tasks"
    assert summarize_utilization([], workers=1) is None
    assert summarize_utilization([{**receipt("x"), "engine": None}], workers=1) is None


@pytest.mark.parametrize(
    ("change", "bottleneck"),
    [({}, "engine"), ({"busy_s": 4.0, "decode_s": 8.0}, "decode"), ({"busy_s": 4.0, "commit_s": 3.0}, "commit"),
     ({"busy_s": 4.0, "rows": 40}, "object store"), ({"busy_s": 4.0}, "requests"),
     ({"busy_s": 4.0, "decode_s": 8.0, "deaths": 1}, "engine deaths"), ({"deaths": 1}, "engine")],
)  # fmt: skip
def test_a_run_names_what_held_the_engine_up(change: dict[str, Any], bottleneck: str) -> None:
    summary = summarize_utilization([receipt("x", **change)], workers=2)
    assert summary is not None
    assert summary.bottleneck == bottleneck
