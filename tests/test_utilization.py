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

from model.engines.scripted_kind import Settings
from operators.infer.infer import Infer
from operators.infer.supervisor import Supervisor
from operators.infer.utilization import Busy, Utilization
from pipelines.job import prepare
from pipelines.plan import stages
from pipelines.summary.utilization import Used, UtilizationSummary, summarize_utilization
from pipelines.summary.utilization import bottleneck as bottleneck_of
from schemas.request import Completion, Message, Picture, Request, Sampling
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


@given(st.lists(st.tuples(st.integers(-3, 5), st.floats(0.01, 5)), max_size=40), st.integers(1, 8))
def test_a_slot_is_in_use_while_somebody_has_it(steps: list[tuple[int, float]], most: int) -> None:
    now_s = running = 0
    expected = 0.0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("operators.infer.utilization.time.monotonic", lambda: now_s)
        busy = Busy(most)
        for more, wait_s in steps:
            for _ in range(abs(more) if running + more >= 0 else 0):
                (busy.__enter__ if more > 0 else busy.__exit__)()
                running += 1 if more > 0 else -1
            now_s += wait_s
            expected += min(running, most) * wait_s
            assert busy.seconds == pytest.approx(expected)


def test_an_engine_that_was_started_anew_goes_on_counting() -> None:
    use = Utilization(slots=2)
    use.answered(0.5, 90.0)  # by one that died before this counts from
    use.started_anew()
    use.asked(100.0)
    use.asked(101.0)
    use.answered(3.0, 104.0)
    use.started_anew()
    use.answered(1.0, 106.0)
    use.answered(1.5, 107.0)
    use.started_anew()
    now = use.snapshot()
    assert (now["since_s"], now["until_s"], now["busy_s"]) == (100.0, 107.0, 5.0)


def test_slots_are_in_use_for_as_long_as_requests_are_in_the_engine_and_no_longer(tmp_path: Path) -> None:
    """Requests that wait to be sent or read were counted: an engine that answered at once had all its slots in use."""
    recording = write_recording(tmp_path / "r.jsonl", {"sample": "*", "task": "*", "reply": "x" * 20_000})
    supervisor = Supervisor(Settings(recording=str(recording), slots=4))
    picture = Picture(640, 640, bytes(3 * 640 * 640))
    label = (("sample", "a"), ("task", "ocr"), ("unit", "0"))
    futures = [
        supervisor.ask(Request(f"r{number}", (Message("user", (picture,)),), Sampling(), 60, label))
        for number in range(200)
    ]
    answers = [future.result(60) for future in futures]
    use = supervisor.utilization.snapshot()
    supervisor.close()
    in_engine_s = sum(answer.infer_s for answer in answers if isinstance(answer, Completion))
    assert use["since_s"] is not None
    assert use["until_s"] is not None
    assert use["busy_s"] == pytest.approx(in_engine_s, rel=0.5, abs=0.05)


def call(stage: str, began_s: float, busy_s: float) -> dict[str, Any]:
    return {"stage": stage, "began_s": began_s, "busy_s": busy_s}


def receipt(*spent: dict[str, Any], actor: str = "a", rows: int = 8, **more: Any) -> dict[str, Any]:
    engine = {
        "actor": actor, "slots": 2, "since_s": 10.0, "until_s": 20.0, "busy_s": 2.0, "deaths": 0, "parse_s": 1.0,
        "open_s": 0.0, **more,
    }  # fmt: skip
    return {"rows": rows, "output_tokens": 100, "engine": engine, "spent": list(spent)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What time it is for the driver, and what it has used by then."""
    clock = {"now_s": 20.0, "cpu_s": 0.5}
    monkeypatch.setattr("pipelines.summary.utilization.time.time", lambda: clock["now_s"])
    monkeypatch.setattr("pipelines.summary.utilization._cpu_s", lambda: clock["cpu_s"])
    return clock


def test_a_run_says_how_busy_its_stages_were(clock: dict[str, float]) -> None:
    clock["now_s"] = 5.0
    used = Used({"decode": 2, "commit": 1})
    clock |= {"now_s": 15.0, "cpu_s": 2.5}
    used.add(receipt(call("decode", 8.0, 4.0), call("commit", 14.0, 0.5), until_s=14.0, busy_s=1.0))
    plan = call("", 11.0, 1.0) | {"inputs": 512}  # it came alone
    used.add({"rows": None, "output_tokens": None, "engine": None, "spent": [], "plan": plan})
    clock |= {"now_s": 20.0, "cpu_s": 4.5}
    used.add(receipt(deaths=1, parse_s=1.0))
    used.add(receipt(call("decode", 13.0, 3.0), actor="b", since_s=11.0, busy_s=4.0, open_s=0.5, deaths=2))
    used.add(receipt(call("commit", 17.0, 2.0), call("publish", 18.0, 1.0), until_s=18.0, busy_s=1.5))
    summary = used.summary()
    assert summary is not None
    assert (summary.since_s, summary.span_s, summary.deaths, summary.tokens_per_s) == (10.0, 10.0, 3, 40.0)
    rows = {stage.stage: (stage.workers, round(stage.busy_s, 3)) for stage in summary.stages}
    assert rows == {
        "probe": (1, 1.0),
        "decode": (2, 5.0),  # what it did before the first request counts for nothing
        "open": (2, 0.5), "parse": (2, 2.0), "engine": (4, 6.0), "commit": (1, 2.5), "publish": (1, 1.0),
        "driver": (1, 3.0),  # of 4.5 all but the 0.5 of before it began, and half of the 2 until the first receipt
    }  # fmt: skip
    assert list(rows) == ["probe", "decode", "open", "parse", "engine", "commit", "publish", "driver"]
    assert summary.utilization == pytest.approx(6 / 40)
    assert UtilizationSummary.of(json.loads(json.dumps(summary.as_json()))) == summary


def test_nothing_is_told_of_engines_that_answered_nothing() -> None:
    assert summarize_utilization([]) is None
    assert summarize_utilization([{**receipt(call("decode", 1.0, 1.0)), "engine": None}]) is None
    assert summarize_utilization([receipt(since_s=None)]) is None


def test_the_driver_is_looked_at_as_long_as_no_engine_answers(clock: dict[str, float]) -> None:
    used = Used()
    for second in range(6000):  # what is kept of it is bounded
        clock |= {"now_s": 100.0 + second, "cpu_s": 0.1 * second}
        used.look()
    clock |= {"now_s": 6110.0, "cpu_s": 603.0}
    used.add(receipt(since_s=6090.0, until_s=6109.0))
    (share,) = (stage.share for stage in used.summary().stages if stage.stage == "driver")  # type: ignore[union-attr]
    assert share == pytest.approx((603.0 - 599.0) / 20.0)


_SECONDS = st.floats(0, 1000)
_CALLS = st.lists(st.builds(call, st.sampled_from(["probe", "decode", "commit", "publish"]), _SECONDS, _SECONDS))
_RECEIPTS = st.builds(
    lambda spent, **engine: receipt(*spent, **engine),
    _CALLS, actor=st.sampled_from("ab"), since_s=_SECONDS | st.none(), until_s=_SECONDS, busy_s=_SECONDS,
    parse_s=_SECONDS, open_s=_SECONDS,
)  # fmt: skip


@given(st.lists(_RECEIPTS, max_size=20), st.integers(1, 4))
def test_busy_and_idle_add_up_whatever_receipts_tell(receipts: list[dict[str, Any]], workers: int) -> None:
    summary = summarize_utilization(receipts, {"decode": workers})
    if summary is not None:
        for stage in summary.stages:
            assert stage.busy_s + stage.idle_s == pytest.approx(stage.workers * summary.span_s)
            assert 0 <= stage.busy_s == pytest.approx(stage.share * stage.workers * summary.span_s)
            assert stage.idle_s >= 0
        assert summary.bottleneck in {*(stage.stage for stage in summary.stages), "Ray", "requests"}


@pytest.mark.parametrize(
    ("change", "bottleneck"),
    [({"engine": 0.95, "driver": 0.97}, "engine"), ({"engine": 0.7, "parse": 0.4}, "engine"),
     ({"decode": 0.8, "engine": 0.3}, "decode"), ({"probe": 0.8}, "probe"), ({"parse": 0.7}, "parse"),
     ({"open": 0.7}, "open"), ({"driver": 0.8, "commit": 0.6}, "driver"),
     ({"commit": 0.8, "publish": 0.1}, "commit"), ({"commit": 0.8, "publish": 0.7}, "publish"),
     # none of them could have held it back
     ({}, "Ray"), ({"enough": False}, "requests"), ({"enough": False, "decode": 0.8}, "decode"),
     ({"parts": 3, "commit": 0.8}, "requests"), ({"parts": 1, "engine": 0.95}, "engine"),
     ({"deaths": 1, "decode": 0.8}, "engine deaths"), ({"deaths": 1, "engine": 0.95}, "engine")],
)  # fmt: skip
def test_a_run_names_what_held_it_up(change: dict[str, Any], bottleneck: str) -> None:
    deaths, parts, enough = (change.pop(key, usual) for key, usual in (("deaths", 0), ("parts", 9), ("enough", True)))
    shares = {"engine": 0.055, "decode": 0.015} | change
    assert bottleneck_of(shares, deaths, parts=parts, enough=enough) == bottleneck


@pytest.mark.parametrize("value", [None, 7, {}, {"stages": [{}]}, {"stages": 3}, {"utilization": 0.9, "decode": 0.1}])
def test_what_another_wrote_is_no_utilization(value: Any) -> None:
    assert UtilizationSummary.of(value) is None
