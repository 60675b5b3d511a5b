"""The lease of an output: who has it, who may take it over and when, and what becomes of a holder that lost it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.load import parse
from operators.commit import Commit
from operators.infer.engine_handle import Stats
from operators.infer.infer import Infer
from operators.infer.utilization import Utilization
from operators.media.decode import Decode
from operators.media.probe import Probe
from operators.store import lease, local
from operators.store.addresses import store_at
from operators.store.holder import Holder, here
from operators.store.lease import KEY, Lease, LeaseGuard, holder_of, is_beating
from operators.store.store import Store, overwrite, read
from pipelines.job import prepare
from pipelines.planning import chunk_table, list_job
from schemas import tables
from schemas.checkout import ROOT
from schemas.errors import LEASE_LOST, OutputBusy, StoreLost
from schemas.request import Request

TAKERS = 8
ELSEWHERE = {**here(), "boot": "of another machine"}


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    match request.param:
        case "folder":
            return store_at(str(tmp_path / "out"))
        case "memory":
            return store_at(f"memory://{uuid.uuid4().hex}")
        case _:
            return store_at(f"{request.getfixturevalue('proxy').new_bucket()}/some/where")


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return store_at(str(tmp_path / "out"))


def stale_after(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTREAD_LEASE_S", str(seconds))


def lease_on(store: Store, who: str = "me", lost: list[str] | None = None) -> Lease:
    return Lease(store, who, "a test", "noon", on_lost=(lost if lost is not None else []).append)


def left_behind(store: Store, **values: Any) -> None:
    """By a holder of another machine, which is silent."""
    overwrite(store, KEY, Holder("theirs", "them", "a test", "dawn", ELSEWHERE, **values).as_json())


def wait_for(what: Callable[[], Any], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# who has it


def test_a_lease_is_held_and_let_go(store: Store) -> None:
    for _ in range(2):
        with lease_on(store) as held:
            there = holder_of(store)
            assert there is not None
            assert (there.token, there.who, there.since) == (held.token, "me", "noon")
            assert is_beating(store)
        assert holder_of(store) is None
        assert not is_beating(store)


def test_a_command_that_ends_by_an_exception_lets_go(folder: Store) -> None:
    with pytest.raises(KeyError), lease_on(folder):
        raise KeyError
    assert holder_of(folder) is None


def test_a_second_one_is_refused_with_who_and_since_when(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stale_after(4, monkeypatch)
    # known at once on one machine, and after a beat from another
    for place in (here(), ELSEWHERE):
        monkeypatch.setattr(lease, "here", lambda place=place: place)
        with lease_on(store, "the first"), pytest.raises(OutputBusy, match=r"by the first since noon \(a test\)"):
            lease_on(store).__enter__()


def test_who_lives_on_this_machine_is_not_watched(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_watched", lambda *_: pytest.fail("watched"))
    with lease_on(folder):
        assert is_beating(folder)
        with pytest.raises(OutputBusy):
            lease_on(folder).__enter__()


def test_words_of_a_holder_steer_no_terminal(folder: Store) -> None:
    holder = Holder("theirs", "th\x1b[2Jem\nall", "x" * 9999, "dawn", here(), beat_s=time.monotonic())
    overwrite(folder, KEY, holder.as_json())
    with pytest.raises(OutputBusy) as busy:
        lease_on(folder).__enter__()
    assert str(busy.value).isprintable()
    assert len(str(busy.value)) < 1000


# who may take it over


def test_a_silent_holder_of_another_machine_is_watched_and_then_taken_over(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stale_after(0.5, monkeypatch)
    left_behind(store, beat_s=time.monotonic())
    assert not is_beating(store)
    with lease_on(store):
        there = holder_of(store)
        assert there is not None
        assert there.who == "me"
    (line,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert line == (
        f"another process wrote to {store.address} (them since dawn (a test)); watching whether it lives, up to 0.5 s"
    )


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b"x" * 100_000, b'{"token": 1}'),
        Holder("theirs", "them", "a test", "dawn", ELSEWHERE).as_json()[:-20],
        b'{"token": "t", "who": "w", "what": "w", "since": "s", "place": {"process": 1}}',
        b'{"token": "t", "who": "w", "what": "w", "since": "s", "beat_s": "1e999", "beat": 1e999}',
        b'{"version": 9, "leases": [{"holder": "them"}]}',
    ],
)
def test_a_file_that_says_nothing_locks_nobody_out_for_ever(
    folder: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale_after(0.3, monkeypatch)
    overwrite(folder, KEY, data)
    assert holder_of(folder) is None
    with lease_on(folder):
        assert holder_of(folder) is not None


def test_a_file_that_says_nothing_and_changes_is_of_somebody_who_lives(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale_after(1, monkeypatch)
    overwrite(folder, KEY, b"of another version, 1")
    writer = threading.Timer(0.3, lambda: overwrite(folder, KEY, b"of another version, 2"))
    writer.start()
    with pytest.raises(OutputBusy, match="a process whose lease this version cannot read"):
        lease_on(folder).__enter__()
    writer.join()


def test_what_a_later_version_adds_is_left_out() -> None:
    holder = Holder("t", "them", "a test", "dawn", here(), beat=3, beat_s=0.5)
    values = json.loads(holder.as_json()) | {"role": "of later", "ended": False}
    assert Holder.of(json.dumps(values).encode()) == holder


def _holding(folder: Path, *, stopped: bool = False) -> subprocess.Popen[bytes]:
    """A process that holds the lease of a folder."""
    code = (
        "import sys, time; from operators.store.addresses import store_at; from operators.store.lease import Lease\n"
        "with Lease(store_at(sys.argv[1]), 'the child', 'a test', 'dawn', on_lost=print):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    holding = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    assert holding.stdout is not None
    assert holding.stdout.readline() == b"held\n"
    if stopped:
        holding.send_signal(signal.SIGSTOP)
    return holding


def test_a_process_of_this_machine_that_was_killed_is_known_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_watched", lambda *_: pytest.fail("watched"))
    holding, store = _holding(tmp_path), store_at(str(tmp_path))
    with pytest.raises(OutputBusy, match="the child since dawn"):
        lease_on(store).__enter__()
    holding.kill()
    wait_for(lambda: not is_beating(store))  # a zombie is gone too
    with lease_on(store):
        pass
    holding.communicate()


@pytest.mark.parametrize(
    ("place", "gone"),
    [
        ({}, False),
        ({"process": "1", "started": "0"}, False),
        ({**ELSEWHERE, "process": str(1 << 22)}, False),
        ({**here(), "process": "no number"}, False),
        ({**here(), "process": "²"}, False),
        ({**here(), "started": ""}, False),
        (here(), False),
        ({**here(), "process": str(1 << 22)}, True),
        ({**here(), "process": "9" * 40}, True),
        ({**here(), "started": "1"}, True),  # another process has its number now
    ],
)
def test_only_a_process_of_this_machine_can_be_known_to_be_gone(place: dict[str, str], gone: bool) -> None:
    assert Holder("t", "them", "a test", "dawn", place).is_gone == gone


def test_a_process_that_proc_hides_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder("t", "them", "a test", "dawn", here() | {"process": "1"})
    monkeypatch.setattr("operators.store.holder._stat", lambda _: [])

    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    assert not holder.is_gone


# the clock of the watcher


class _Clock:
    """Stands for `time` in the lease."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_time_in_which_the_store_was_away_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr(lease, "time", clock)
    store = store_at(f"memory://{uuid.uuid4().hex}")
    left_behind(store)
    seen = lease._look(store)
    assert seen is not None
    began_s, looks = clock.now_s, 0
    look = lease._look

    def looked(store: Store) -> Any:
        nonlocal looks
        looks += 1
        clock.now_s += 35 if looks == 20 else 0  # it did not answer
        return look(store)

    monkeypatch.setattr(lease, "_look", looked)
    now = lease._watched(store, seen, 40)
    assert now is not None
    assert now.version == seen.version
    assert 95 <= clock.now_s - began_s <= 100  # 20 s, 36 s, and another 40 s


def test_a_lease_is_kept_through_an_outage(
    proxy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stale_after(8, monkeypatch)
    caplog.set_level("INFO")
    store, lost = store_at(f"{proxy.new_bucket()}/out"), list[str]()
    monkeypatch.setattr(lease, "here", lambda: ELSEWHERE)
    with lease_on(store, lost=lost) as held:
        proxy.faults(1.0, kinds=("500", "reset"))
        with ThreadPoolExecutor(1) as executor:
            second = executor.submit(lease_on(store, "the second").__enter__)
            time.sleep(4)
            proxy.faults()
            with pytest.raises(OutputBusy, match="by me since noon"):
                second.result()
        there = holder_of(store)
        assert there is not None
        assert there.token == held.token
    assert not lost


# exactly one


def test_what_was_not_watched_is_not_replaced(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    left_behind(folder)
    quicker = lease_on(folder, "the quicker")

    def watched(store: Store, seen: Any, _: float) -> Any:
        monkeypatch.undo()
        quicker._take()
        return seen

    monkeypatch.setattr(lease, "_watched", watched)
    with pytest.raises(OutputBusy, match="by the quicker since noon"):
        lease_on(folder).__enter__()


@pytest.mark.parametrize("kind", ["folder", "memory", "s3"])
def test_of_many_who_find_it_stale_exactly_one_takes_it_over(
    request: pytest.FixtureRequest,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    amount: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    """Takers that do not see that the others live, but by the beats of their hearts."""
    stale_after(8 if kind == "s3" else 2, monkeypatch)
    monkeypatch.setattr(lease, "here", lambda: ELSEWHERE)
    if kind == "s3":
        proxy = request.getfixturevalue("proxy")
        proxy.faults(0.05, seed=18, stall_s=2)
    races, at_once, refused = amount(4, 100), amount(4, 10), 0
    for start in range(0, races, at_once):
        addresses = []
        for number in range(start, min(start + at_once, races)):
            match kind:
                case "folder":
                    addresses.append(str(tmp_path / f"{number}"))
                case "memory":
                    addresses.append(f"memory://{uuid.uuid4().hex}")
                case _:
                    addresses.append(f"{proxy.new_bucket()}/out")
        with ThreadPoolExecutor(at_once) as executor:
            refused += sum(executor.map(_race, addresses, range(start, start + at_once)))
    figure(f"{races} races of {TAKERS} on {kind}: one winner each, {refused} refused")


def _race(address: str, seed: int) -> int:
    """How many were refused; all but one."""
    left_behind(store_at(address))
    chance, over = random.Random(seed), threading.Event()
    pauses = [chance.uniform(0, 0.01) for _ in range(TAKERS)]  # so that they find it silent at about one time
    start = threading.Barrier(TAKERS)
    won, refused = list[str](), list[str]()

    def take(number: int) -> None:
        start.wait()
        time.sleep(pauses[number])
        try:
            with lease_on(store_at(address), f"taker {number}"):
                won.append(f"taker {number}")
                over.wait()
        except OutputBusy as error:
            refused.append(str(error))

    takers = [threading.Thread(target=take, args=(number,)) for number in range(TAKERS)]
    for taker in takers:
        taker.start()
    wait_for(lambda: len(won) + len(refused) == TAKERS, 120)
    over.set()
    for taker in takers:
        taker.join()
    (winner,) = won
    assert all(f"by {winner} since noon" in text for text in refused)
    return len(refused)


# a holder that lost it


def test_who_was_silent_for_too_long_is_told_once_and_takes_nothing_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale_after(1, monkeypatch)
    lost: list[str] = []
    with lease_on(store, lost=lost) as held:
        guard = LeaseGuard(store.address, held.token)
        assert guard.held()
        left_behind(store)  # as one that took it over would
        wait_for(lambda: lost)
        wait_for(lambda: not guard.held())
    (sentence,) = lost
    assert sentence == f"the lease of {store.address} was lost: it was taken over by them since dawn (a test)"
    assert b"theirs" in read(store, KEY)
    left_behind(store, ended=True)
    assert not guard.held()
    assert not LeaseGuard(store.address, held.token).held()


def test_a_file_that_somebody_deleted_is_put_again(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stale_after(0.8, monkeypatch)
    lost: list[str] = []
    with lease_on(folder, lost=lost) as held:
        folder.delete(KEY)
        assert LeaseGuard(folder.address, held.token).held()
        wait_for(lambda: holder_of(folder) is not None)
        there = holder_of(folder)
        assert there is not None
        assert there.token == held.token
    assert not lost


def test_a_holder_that_was_stopped_loses_it_and_one_that_goes_on_in_time_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale_after(2, monkeypatch)
    holding, store = _holding(tmp_path, stopped=True), store_at(str(tmp_path))
    assert holding.stdout is not None
    timer = threading.Timer(1, holding.send_signal, (signal.SIGCONT,))
    timer.start()
    time.sleep(0.6)  # or its last beat is so fresh that nobody watches it
    with pytest.raises(OutputBusy, match="the child"):
        lease_on(store).__enter__()
    timer.join()
    holding.send_signal(signal.SIGSTOP)
    with lease_on(store, "the second"):
        holding.send_signal(signal.SIGCONT)
        assert b"was lost: it was taken over by the second since noon" in holding.stdout.readline()
    holding.kill()
    holding.communicate()


def test_a_holder_that_was_stopped_within_a_replacement_is_told_rather_than_waited_for(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale_after(0.2, monkeypatch)
    monkeypatch.setattr(local, "LOCK_S", 0.2)
    left_behind(folder)
    code = (
        "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(flush=True)"
    )
    stopped = subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(60)", f"{folder.address}/{local.TEMPORARIES}"],
        stdout=subprocess.PIPE,
    )
    assert stopped.stdout is not None
    stopped.stdout.readline()
    try:
        with pytest.raises(StoreLost, match="another process keeps the lock; is one stopped"):
            lease_on(folder).__enter__()
    finally:
        stopped.kill()
        stopped.communicate()
    with lease_on(folder):
        pass


_WAITS = {
    "python": "while True: time.sleep(0.01)",
    "a lock": "threading.Event().wait()",
    "a thread": "t = threading.Thread(target=time.sleep, args=(60,), daemon=True); t.start(); t.join()",
    "a pool": "concurrent.futures.ThreadPoolExecutor(1).submit(time.sleep, 60).result()",
    "a child": "subprocess.run(['sleep', '60'])",
    "a swallowed interrupt": "while True:\n        try: time.sleep(60)\n        except KeyboardInterrupt: pass",
    "native code": "ctypes.CDLL(None).pause(); ctypes.CDLL(None).pause()",
}


@pytest.mark.parametrize("wait", _WAITS)
def test_whatever_a_command_waits_for_it_ends_when_the_lease_is_lost(
    tmp_path: Path, wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale_after(1, monkeypatch)
    code = (
        "import concurrent.futures, ctypes, subprocess, sys, threading, time\n"
        "from operators.processes import ending; from operators.store.addresses import store_at\n"
        "from pipelines.one_driver import one_driver\n"
        "ending.LIMIT_S = 1.0; ending.listen()\n"
        "try:\n"
        "  with one_driver(store_at(sys.argv[1]), 'a test'):\n"
        "    print('held', flush=True)\n"
        f"    {_WAITS[wait]}\n"
        "finally: ending.exit_if_told()"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload]
    assert command.stdout.readline() == "held\n"
    left_behind(store_at(str(tmp_path)))
    _, printed = command.communicate(timeout=30)
    assert command.returncode == 1
    assert printed == f"sightread: the lease of {tmp_path} was lost: it was taken over by them since dawn (a test)\n"


def test_without_the_lease_nothing_is_committed(folder: Store) -> None:
    left_behind(folder)
    answered = {"chunk_id": "00000-0000-0123456789abcdef", "task": "ocr", "rows": b"never read"}
    receipts = Commit(folder.address, LeaseGuard(folder.address, "mine").held)(
        pa.Table.from_pylist([answered], schema=tables.ANSWERED)
    )
    assert [(row["outcome"], row["message"]) for row in receipts.to_pylist()] == [("lost", LEASE_LOST)]
    assert folder.list() == [KEY]


class _Engine:
    """Never answers."""

    broken: str | None = None

    def __init__(self) -> None:
        self.utilization, self.stats = Utilization(1), Stats()
        self.asked: list[str] = []
        self.closed = threading.Event()

    def submit(self, request: Request, _: object) -> None:
        self.asked.append(request.request_id)

    def close(self) -> None:
        self.closed.set()


def test_without_the_lease_an_engine_is_let_go_and_asked_nothing_more(
    folder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale_after(0.4, monkeypatch)
    monkeypatch.setattr("operators.infer.infer.LOOK_S", 0.05)
    (tmp_path / "t.csv").write_text("question\nwhy\nhow\n")
    (tmp_path / "r.jsonl").write_text('{"reply": "x"}\n')
    spec = {
        "name": "n", "inputs": [str(tmp_path / "t.csv")], "tasks": [{"name": "text", "prompt": "{question}"}],
        "output": folder.address, "engine": {"kind": "scripted", "recording": str(tmp_path / "r.jsonl")},
    }  # fmt: skip
    job = prepare(parse(spec, "spec"))
    probe, decode = Probe(job.decode, workers=1), Decode(job.decode)
    decoded = decode(chunk_table(list_job(job).inputs, probe, job))
    probe.close()
    decode.close()
    with lease_on(folder) as held:
        engine = _Engine()
        infer = Infer(replace(job.infer, held=LeaseGuard(folder.address, held.token).held), engine)
        with ThreadPoolExecutor(1) as executor:
            answered = executor.submit(infer, decoded)
            wait_for(lambda: len(engine.asked) == 2)
            assert not engine.closed.is_set()
            left_behind(folder)
            (row,) = answered.result(timeout=20).to_pylist()
        assert (row["lost"], row["rows"]) == (LEASE_LOST, None)
        assert engine.closed.is_set()
        (row,) = infer(decoded).to_pylist()
        assert (row["lost"], len(engine.asked)) == (LEASE_LOST, 2)


# a store that says no


@pytest.fixture
def full(folder: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    def refused(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(folder), "put_if_absent", refused)
    return folder


def test_a_store_that_takes_nothing_is_named(full: Store) -> None:
    with pytest.raises(StoreLost, match=r"^output: .*out cannot be written: .*No space left"):
        lease_on(full).__enter__()


def test_the_end_of_a_command_does_not_wait_for_a_store_that_is_gone(
    folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LET_GO_S", 0.1)
    answers = threading.Event()
    held = lease_on(folder)
    with held:
        stat = type(folder).stat

        def waits(store: Any, key: str) -> Any:
            answers.wait()
            return stat(store, key)

        monkeypatch.setattr(type(folder), "stat", waits)
    assert held._thread.is_alive()
    answers.set()
    held._thread.join()
