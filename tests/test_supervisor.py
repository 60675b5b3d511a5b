"""The supervisor over a real engine child with seeded faults: the poisoned fail, the innocent are answered once."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.engines.scripted_kind import Settings
from operators.infer.engine_log import EngineLog
from operators.infer.engine_wire import pack_answer, pack_request, unpack_answer, unpack_request
from operators.infer.poison_bisector import PoisonBisector
from operators.infer.supervisor import TICK_S, WEIGH_S, Supervisor
from operators.processes.child import Child, Limits
from schemas.checkout import ROOT
from schemas.errors import EngineError, Failure
from schemas.request import Clip, Completion, Message, Picture, Request, Sampling
from tests.support.world import write_recording

Start = Callable[..., Supervisor]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun: list[Supervisor] = []

    def start(*lines: dict[str, Any], slots: int = 8, stall_s: float = 30, limits: Limits | None = None) -> Supervisor:
        recording = write_recording(tmp_path / "replies.jsonl", *lines)
        engine = Settings(recording=str(recording), slots=slots)
        begun.append(Supervisor(engine, limits=limits, stall_s=stall_s))
        return begun[-1]

    yield start
    for supervisor in begun:
        supervisor.close()


def request(number: int, deadline_s: float = 60, parts: tuple[Any, ...] = ("read",)) -> Request:
    label = (("sample", "a.pdf"), ("task", "ocr"), ("unit", str(number)), ("step", "0"))
    return Request(f"r{number}", (Message("user", parts),), Sampling(), deadline_s, label)


def ask_all(supervisor: Supervisor, requests: list[Request]) -> list[Completion | Failure]:
    futures = [supervisor.ask(each) for each in requests]
    return [future.result(60) for future in futures]


OK = {"task": "ocr", "reply": "unit {unit}"}


def test_many_requests_from_many_threads_are_each_answered_once(start: Start) -> None:
    supervisor = start(OK)
    answers: Counter[str] = Counter()

    def submit(first: int) -> None:
        for number in range(first, first + 50):
            supervisor.submit(request(number), lambda asked, _: answers.update([asked.request_id]))

    threads = [threading.Thread(target=submit, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 30
    while answers.total() < 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    supervisor.close()
    assert answers == {f"r{number}": 1 for number in range(200)}


def test_an_engine_is_not_weighed_for_every_answer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    weighed: list[float] = []

    def weigh(_: Child) -> int:
        weighed.append(time.monotonic())
        return 1

    monkeypatch.setattr(Child, "address_space_mb", property(weigh))
    supervisor = start(OK)
    began = time.monotonic()
    assert all(isinstance(answer, Completion) for answer in ask_all(supervisor, [request(n) for n in range(300)]))
    supervisor.close()
    assert 1 <= len(weighed) <= 1 + (time.monotonic() - began) / WEIGH_S


def test_an_engine_whose_interpreter_is_not_there_keeps_nobody_waiting(tmp_path: Path) -> None:
    class Elsewhere(Settings):
        def python(self) -> str | None:
            return str(tmp_path / "python")

    supervisor = Supervisor(Elsewhere(recording=str(write_recording(tmp_path / "replies.jsonl", OK))))
    try:
        answer = supervisor.ask(request(0)).result(60)
    except EngineError as error:  # it was known by then
        answer = Failure("infer", error.kind, str(error))
    supervisor.close()
    assert isinstance(answer, Failure)
    assert answer.kind == "engine_error"
    assert "cannot be started" in answer.message
    assert str(tmp_path / "python") in answer.message


@pytest.mark.parametrize(
    ("fault", "kind", "deaths"),
    [("crash", "crashed", True), ("exit", "crashed", True), ("hang", "timeout", True), ("error", "engine_error", False),
     ("memory", "out_of_memory", None)],  # the limit may strike before or after the loop counts as hung
)  # fmt: skip
def test_among_innocents_exactly_the_guilty_fails(
    start: Start, tmp_path: Path, fault: str, kind: str, deaths: bool | None
) -> None:
    log = tmp_path / "asked.txt"
    supervisor = start(
        {**OK, "asked_log": str(log)},
        {**OK, "unit": 23, "fault": fault},
        stall_s=1.0,
        limits=Limits(memory_mb=1024),
    )
    answers = ask_all(supervisor, [request(number) for number in range(60)])
    failed = {number: answer for number, answer in enumerate(answers) if isinstance(answer, Failure)}
    assert {number: failure.kind for number, failure in failed.items()} == {23: kind}
    if deaths is not None:
        assert failed[23].attempts == (supervisor.stats.deaths if deaths else 1)
    assert [answer.text for answer in answers if isinstance(answer, Completion)] == [
        f"unit {number}" for number in range(60) if number != 23
    ]
    # 16 in flight: 1 + log2(16) + 1 deaths at most; only unanswered ones were asked again
    assert supervisor.stats.deaths <= 6
    asked = Counter(log.read_text().split())
    assert max(asked.values()) <= supervisor.stats.deaths + 1


def test_a_request_that_is_never_answered_meets_its_deadline(start: Start) -> None:
    supervisor = start(OK, {**OK, "unit": 1, "fault": "stall"}, slots=2)
    answers = ask_all(supervisor, [request(0), request(1, deadline_s=0.5), request(2)])
    assert isinstance(answers[1], Failure)
    assert answers[1].kind == "deadline"
    assert isinstance(answers[2], Completion)
    assert supervisor.stats.deaths == 0


def test_a_kill_from_outside_costs_nobody_a_failure_and_no_answer_is_asked_again(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "asked.txt"
    supervisor = start({**OK, "delay_s": 0.15, "asked_log": str(log)}, slots=4)
    futures = [supervisor.ask(request(number)) for number in range(40)]
    futures[8].result(30)
    answered = {f"r{number}" for number, future in enumerate(futures) if future.done()}
    asked_before = Counter(log.read_text().split())
    pid = supervisor.child_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert all(isinstance(future.result(60), Completion) for future in futures)
    again = Counter(log.read_text().split()) - asked_before
    assert not answered & again.keys()
    assert supervisor.stats.deaths == 1


def test_an_engine_that_dies_while_nobody_waits_is_started_for_the_next_request(start: Start) -> None:
    """At the end of a job Ray ends it before its supervisor: a large one would be loaded once more for nothing."""
    supervisor = start(OK)
    assert isinstance(supervisor.ask(request(0)).result(60), Completion)
    pid = supervisor.child_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while supervisor.stats.deaths == 0:
        time.sleep(0.01)
    time.sleep(3 * TICK_S)
    assert supervisor.child_pid is None
    assert isinstance(supervisor.ask(request(1)).result(60), Completion)
    assert supervisor.child_pid != pid
    assert supervisor.stats.deaths == 1


def test_an_engine_that_cannot_be_built_is_said_once_and_for_good(tmp_path: Path) -> None:
    supervisor = Supervisor(Settings(recording=str(tmp_path / "none.jsonl"), slots=2))
    first = supervisor.ask(request(0)).result(30)
    assert isinstance(first, Failure)
    assert "none.jsonl cannot be read" in first.message
    with pytest.raises(EngineError, match=r"none\.jsonl"):
        supervisor.submit(request(1), lambda *_: None)
    supervisor.close()


@dataclass(frozen=True, kw_only=True)
class Colored(Settings):
    """With a value that no recording is played with."""

    color: str = "red"


def test_an_engine_that_dies_as_it_loads_says_of_what_and_where_the_traceback_is(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "replies.jsonl", OK)
    supervisor = Supervisor(Colored(recording=str(recording), slots=1), logs=tmp_path / "logs")
    answer = supervisor.ask(request(0)).result(60)
    supervisor.close()
    assert isinstance(answer, Failure)
    assert "exited with code 1 while it was loading, 3 times in a row (TypeError: " in answer.message
    assert "'color')" in answer.message
    log = Path(answer.message.partition("; its log: ")[2])
    assert log.parent == tmp_path / "logs"
    text = log.read_text()
    assert text.count("Traceback (most recent call last)") == 3
    assert text.count("sightread: the engine exited with code 1 (TypeError: ") == 3
    assert supervisor.stats.log == str(log)
    why, _, tail = (supervisor.stats.death or "").partition("\n")
    assert why.startswith("the engine exited with code 1 (TypeError: ")
    assert "TypeError: " in tail.splitlines()[-1]  # the traceback, for who cannot read the file


def test_the_log_of_an_engine_is_for_its_user_alone_and_gone_if_it_printed_nothing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").write_text("in the way")
    log = EngineLog(tmp_path / "file" / "logs")
    folder = tmp_path / f"sightread-{os.getuid()}"
    assert log.path.parent == folder
    assert folder.stat().st_mode & 0o077 == 0
    log.note("something")
    log.close()
    assert log.path.exists()
    # of processes that were killed, what is empty goes with the next log
    dead = [folder / f"engine-{socket.gethostname()}-{1 << 23}{number}.log" for number in ("", "-2")]
    dead[0].touch()
    dead[1].write_text("loading")
    EngineLog(folder).close()
    assert [path.exists() for path in dead] == [False, True]
    supervisor = start(OK)
    assert isinstance(supervisor.ask(request(0)).result(30), Completion)
    assert supervisor.log.path.exists()
    supervisor.close()
    assert not supervisor.log.path.exists()


def test_pictures_arrive_byte_for_byte(start: Start) -> None:
    data = random.Random(7).randbytes(300_000)
    supervisor = start({**OK, "reply": "{sha256}"})
    clip = Clip((Picture(32, 32, memoryview(data)), Picture(32, 32, b"x")), (0.0, 0.5))
    answer = supervisor.ask(request(0, parts=(clip, "what?"))).result(30)
    assert isinstance(answer, Completion)
    assert answer.text == hashlib.sha256(data).hexdigest()


def test_closing_leaves_no_process_and_fails_what_waits(start: Start) -> None:
    supervisor = start({**OK, "fault": "stall"})
    future = supervisor.ask(request(0))
    while supervisor.stats.asked == 0:
        time.sleep(0.01)
    pid = supervisor.child_pid
    supervisor.close()
    answer = future.result(1)
    assert isinstance(answer, Failure)
    assert answer.kind == "aborted"
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_supervisor_takes_its_engine_along(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "replies.jsonl", OK)
    code = (
        "import time; from model.engines.scripted_kind import Settings; "
        "from operators.infer.supervisor import Supervisor\n"
        f"s = Supervisor(Settings(recording={str(recording)!r}))\n"
        "while s.child_pid is None: time.sleep(.01)\n"
        "print(s.child_pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


def test_the_wire_keeps_requests_and_answers() -> None:
    clip = Clip((Picture(64, 32, b"ab"), Picture(64, 32, b"cd")), (0.0, 0.5))
    sampling = Sampling(temperature=0.5, seed=3, stop=("\n",))
    before = Request("x", (Message("user", (Picture(32, 32, b"p"), "a", clip)),), sampling, 5.0, (("task", "ocr"),))
    head, payloads = pack_request(before)
    assert unpack_request(head["ask"], [bytes(each) for each in payloads]) == before
    for answer in (Completion("t", "stop", 1, 2, 0.5), Failure("infer", "crashed", "m", 2)):
        assert unpack_answer(pack_answer("x", answer)) == answer


@given(
    st.integers(1, 64).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=4))),
    st.integers(1, 64),
    st.randoms(use_true_random=False),
)
def test_halving_finds_every_killer_and_charges_no_innocent(
    case: tuple[int, set[int]], limit: int, chance: random.Random
) -> None:
    count, killers = case
    policy = PoisonBisector(limit)
    ids = [f"r{number}" for number in range(count)]
    poisoned = {f"r{number}" for number in killers}
    for request_id in ids:
        policy.submit(request_id)
    answered: list[str] = []
    quarantined: list[str] = []
    deaths = 0
    while len(answered) + len(quarantined) < count:
        policy.admit()
        assert policy.running, "nothing runs although something waits"
        # some are answered before the killer strikes
        for request_id in sorted(policy.running - poisoned):
            if chance.random() < 0.3 or not policy.running & poisoned:
                assert policy.answered(request_id)
                answered.append(request_id)
        if policy.running & poisoned:
            deaths += 1
            found = policy.died(ids)
            if found is not None:
                policy.deaths.pop(found)
                quarantined.append(found)
    assert sorted(quarantined) == sorted(poisoned)
    assert sorted(answered) == sorted(set(ids) - poisoned)
    rounds = (min(limit, count) - 1).bit_length() + 2
    assert deaths <= len(poisoned) * rounds
