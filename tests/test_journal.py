"""What a run tells of itself while it goes: progress.json and events.jsonl, on a folder and on a store that appends
nothing; bounded, by the holder of the lease alone, and never in the way of a run."""

from __future__ import annotations

import inspect
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.processes import ending
from operators.store import retries
from operators.store.addresses import store_at
from operators.store.lease import KEY, Lease, LeaseGuard, holder_of
from operators.store.memory import MemoryStore
from operators.store.publisher import Publisher
from operators.store.store import Store, overwrite
from pipelines import event_log
from pipelines import journal as journal_module
from pipelines.event_log import EVENTS, PROGRESS, EventLog, read_events, read_progress, write_progress
from pipelines.journal import MOST_WAITING, Journal
from pipelines.plan import COMMITS
from pipelines.progress import Progress, Several
from pipelines.rounds import now
from schemas.errors import StoreLost

ENGINE: dict[str, Any] = {
    "actor": "host/1", "slots": 4, "since_s": time.time() - 100, "until_s": time.time(), "busy_s": 20.0,
    "parse_s": 1.0, "open_s": 0.0,
    "deaths": 0, "death": None, "log": "/logs/engine.log",
}  # fmt: skip


def receipt(number: int = 0, **changed: Any) -> dict[str, Any]:
    """A row of RECEIPTS."""
    return {
        "chunk_id": f"00000-0000-{number:016x}", "task": "ocr", "outcome": "committed", "message": None, "rows": 10,
        "ok": 10, "doubtful": 0, "failures": [], "prompt_tokens": 5, "output_tokens": 50, "infer_s": 2.0,
        "engine": ENGINE, "lacks": [], "retries": [], "spent": [], **changed,
    }  # fmt: skip


def failures(kind: str, rows: int, message: str = "why") -> list[dict[str, Any]]:
    return [{"status": "unreadable_input", "stage": "decode", "kind": kind, "message": message, "rows": rows}]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """One that lines are appended in, and one that they cannot be appended in."""
    retries.retries_of("driver")  # those of tests before this one, in the same process
    return store_at(str(tmp_path / "out") if request.param == "folder" else f"memory://{tmp_path.name}")


@pytest.fixture
def lease(store: Store) -> Iterator[Lease]:
    with Lease(store, "ann@host", "sightread run, papers", now(), on_lost=lambda _: None) as lease:
        yield lease


def journal(store: Store, lease: Lease, every_s: float = 60.0) -> Journal:
    return Journal(store, LeaseGuard(store.address, lease.token), name="papers", workers=2, every_s=every_s)


def kinds(store: Store) -> list[str]:
    return [event["kind"] for event in read_events(store)]


def one(store: Store, kind: str) -> dict[str, Any]:
    (event,) = (event for event in read_events(store) if event["kind"] == kind)
    return event


def progress_of(store: Store) -> dict[str, Any]:
    progress = read_progress(store)
    assert progress is not None
    return progress


def test_a_run_as_it_is_told_of(store: Store, lease: Lease) -> None:
    with journal(store, lease) as told:
        told.listed(3, {"unknown type": 2})
        told.grown(1, 2, 0, asked_again=False)
        told.probed(3, 3)
        told.planned(40, 10, 3)
        told.starting("the engine")
        told.receipt(receipt(1))
        told.receipt(receipt(2, ok=8, failures=failures("timeout", 2)))
        told.publishing()
        told.published(1)
    assert kinds(store) == [
        "run began", "listed", "inputs differ", "planned", "starting", "engine answers", "rows failed", "published",
    ]  # fmt: skip
    assert one(store, "run began")["who"] == "ann@host"
    assert one(store, "run began")["what"] == "sightread run, papers"
    assert one(store, "inputs differ") | {"at": ""} == {
        "at": "", "kind": "inputs differ", "new": 1, "changed": 2, "gone": 0, "asked_again": False,
    }  # fmt: skip
    progress = progress_of(store)
    some = {
        key: progress[key] for key in ("planned_rows", "done_rows", "new_rows", "failed_rows", "failures", "inputs")
    }
    assert some == {
        "planned_rows": 40, "done_rows": 30, "new_rows": 20, "failed_rows": 2, "failures": {"timeout": 2}, "inputs": 3,
    }  # fmt: skip
    assert (progress["who"], progress["job"], progress["open_chunks"]) == ("ann@host", "papers", 1)
    assert progress["bottleneck"] == "requests"
    assert progress["rows_per_s"] > 0
    assert progress["tokens_per_s_run"] > 0


def test_what_is_planned_while_others_are_answered(store: Store, lease: Lease) -> None:
    with journal(store, lease) as told:
        for piece in range(1, 31):
            told.planned(100 * piece, piece, 4 * piece)
            told.receipt(receipt(piece))
    progress = progress_of(store)
    counted = {key: progress[key] for key in ("planned_rows", "done_rows", "new_rows", "open_chunks")}
    assert counted == {"planned_rows": 3000, "done_rows": 330, "new_rows": 300, "open_chunks": 90}
    planned = [event for event in read_events(store) if event["kind"] == "planned"]
    assert [event["times"] for event in planned] == [1, 10]
    assert planned[0]["rows"] == 100


def test_a_bucket_takes_several_parts_at_once() -> None:
    guard = LeaseGuard("s3://bucket/out", "")
    for address, parts in (("s3://bucket/out", COMMITS), ("/out", 1)):
        told = Journal(store_at(address), guard, name="papers", workers=3)
        told.receipt(receipt())
        use = told.used.summary()
        assert use is not None
        workers = {stage.stage: stage.workers for stage in use.stages}
        assert (workers["decode"], workers["commit"]) == (3, parts)


def test_it_is_written_while_the_run_goes_on(store: Store, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.pace.LEAST_S", 0.001)
    engine = ENGINE | {"since_s": time.time()}
    with journal(store, lease, every_s=0.02) as told:
        told.planned(40, 0, 4)
        for number in range(3):
            told.receipt(receipt(number, engine=engine))
            deadline = time.monotonic() + 20
            while (read_progress(store) or {}).get("done_rows") != 10 * (number + 1):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert progress_of(store)["state"] == "asking"
        deadline = time.monotonic() + 20
        while progress_of(store)["eta_s"] is None:
            assert time.monotonic() < deadline
            told.receipt(receipt(3, rows=0, engine=engine))
            time.sleep(0.01)
    assert "run began" in kinds(store)


def test_of_failures_of_a_kind_the_first_and_then_counts(store: Store, lease: Lease) -> None:
    with journal(store, lease) as told:
        told.planned(5000, 0, 400)
        for number in range(300):
            told.receipt(receipt(number, failures=failures("timeout", 1, f"page {number}")))
        told.receipt(receipt(301, failures=failures("crashed", 7)))
    events = [event for event in read_events(store) if event["kind"] == "rows failed"]
    assert [(event["failure"]["kind"], event["times"]) for event in events] == [
        ("timeout", 1), ("timeout", 10), ("timeout", 100), ("crashed", 7),
    ]  # fmt: skip
    assert events[0]["message"] == "page 0"
    assert progress_of(store)["failures"] == {"timeout": 300, "crashed": 7}


def test_an_engine_that_dies_says_why_and_its_last_lines(store: Store, lease: Lease) -> None:
    died = {**ENGINE, "deaths": 1, "death": "crashed: signal 11\nCUDA error\nlast line"}
    gone = {**ENGINE, "actor": "host/2", "since_s": None, "deaths": 3, "death": "timeout: not loaded\nno such file"}
    with journal(store, lease) as told:
        told.planned(30, 0, 3)
        told.receipt(receipt(1))
        told.receipt(receipt(2, engine=died))
        told.receipt(receipt(3, engine=died))
        none = dict.fromkeys(receipt(), None) | {"task": "ocr", "chunk_id": "c", "outcome": "no_engine"}
        told.halted(none | {"message": "the engine died; its log: /tmp/x.log", "engine": gone})
    first, last = (event for event in read_events(store) if event["kind"] == "engine died")
    assert (first["why"], first["last_lines"], first["then"]) == (
        "crashed: signal 11", "CUDA error\nlast line", "started anew",
    )  # fmt: skip
    assert (last["engine"], last["times"], last["last_lines"], last["then"]) == (
        "host/2", 3, "no such file", "no engine",
    )  # fmt: skip
    assert one(store, "no engine")["message"] == "the engine died; its log: /tmp/x.log"
    assert progress_of(store)["engine_deaths"] == 4


def test_retries_of_stages_are_summed(store: Store, lease: Lease) -> None:
    with journal(store, lease) as told:
        told.planned(30, 0, 3)
        for number in range(3):
            again = [{"stage": "decode", "times": 6, "reason": f"503 {number}"}]
            told.receipt(receipt(number, retries=again))
    events = [event for event in read_events(store) if event["kind"] == "store asked again"]
    assert [(event["stage"], event["times"], event["reason"]) for event in events] == [
        ("decode", 6, "503 0"), ("decode", 12, "503 1"),
    ]  # fmt: skip
    assert progress_of(store)["store_retries"] == 18


def test_what_may_pass_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    retries.retries_of("before")
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)
    answers = [retries.MayPass("503 SLOW_DOWN"), retries.Refused("403"), None]

    def ask() -> str:
        if (error := answers.pop(0)) is not None:
            raise error
        return "there"

    assert retries.patiently(ask, "s3://bucket/key") == "there"
    assert retries.retries_of("decode") == [{"stage": "decode", "times": 2, "reason": "s3://bucket/key: 403"}]
    assert retries.retries_of("decode") == []


def test_who_is_in_haste_waits_for_no_store() -> None:
    def ask() -> str:
        raise retries.MayPass("503")

    with retries.in_haste(0.0), pytest.raises(StoreLost, match="503"):
        retries.patiently(ask, "s3://bucket/key")
    assert not hasattr(retries._haste, "patience_s")


def _broken_off(told: Journal, error: BaseException) -> None:
    told.planned(40, 0, 4)
    told.receipt(receipt())
    raise error


@pytest.mark.parametrize(
    ("error", "why", "code"),
    [
        (StoreLost("output: nothing more"), "output: nothing more", 1),
        (RuntimeError("a bug"), "RuntimeError: a bug", None),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_an_end_before_the_end_says_why(
    store: Store, lease: Lease, error: BaseException, why: str, code: int | None
) -> None:
    told = journal(store, lease)
    with pytest.raises(type(error)), told:
        _broken_off(told, error)
    event = one(store, "ended early")
    assert (event["why"], event["exit_code"], event["new_rows"]) == (why, code, 10)
    progress = progress_of(store)
    assert (progress["state"], progress["why"], progress["exit_code"]) == ("ended", why, code)


def test_a_process_that_is_told_to_end_says_so_at_once(
    store: Store, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What unwinds may be cut short after some seconds."""
    with journal(store, lease) as told:
        told.planned(40, 0, 4)
        monkeypatch.setattr(ending, "exit_reason", lambda: "ended by SIGTERM")
        deadline = time.monotonic() + 20
        while (read_progress(store) or {}).get("state") != "ending":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert progress_of(store)["why"] == "ended by SIGTERM"
    assert one(store, "told to end")["why"] == "ended by SIGTERM"


def test_nothing_is_written_without_the_lease(store: Store, lease: Lease) -> None:
    with journal(store, lease, every_s=0.02) as told:
        there = holder_of(store)
        assert there is not None
        overwrite(store, KEY, json.dumps({**there.__dict__, "token": "another"}).encode())
        told._guard._asked_s = -1e9  # as after some seconds
        told.planned(40, 0, 4)
        time.sleep(0.1)
        write_progress(store, {"state": "of the other"})
        before = kinds(store)
        told.starting("the engine")
    assert read_progress(store) == {"state": "of the other"}
    assert kinds(store) == before


def test_who_left_the_lease_is_told(store: Store) -> None:
    with Lease(store, "ann@host", "sightread run, papers", "2026-01-01T00:00:00+00:00", on_lost=lambda _: None):
        there = holder_of(store)
        assert there is not None
    # of a process of this machine that is gone
    gone = replace(there, place={**there.place, "process": "1", "started": "never"})
    overwrite(store, KEY, json.dumps(gone.__dict__).encode())
    with Lease(store, "bob@host", "x", now(), on_lost=lambda _: None) as lease, journal(store, lease):
        pass
    assert (
        one(store, "lease taken over")["left_by"] == "ann@host since 2026-01-01T00:00:00+00:00 (sightread run, papers)"
    )


class Refusing(MemoryStore):
    def stat(self, key: str) -> Any:
        if key in (PROGRESS, EVENTS):
            raise OSError(28, "No space left on device")
        return super().stat(key)


def test_a_disk_that_is_full_ends_nothing_and_leaves_no_thread(tmp_path: Path) -> None:
    store = Refusing(f"memory://{tmp_path.name}")
    with (
        Lease(store, "ann@host", "x", now(), on_lost=lambda _: None) as lease,
        journal(store, lease, every_s=0.02) as told,
    ):
        for number in range(MOST_WAITING + 100):
            told.starting(str(number))
        assert len(told._waiting) <= MOST_WAITING
    assert "journal" not in {thread.name for thread in threading.enumerate()}
    assert store.list("_job/events.jsonl") == []


def test_a_bucket_that_throttles_is_counted_and_one_that_is_gone_keeps_no_run(
    proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_PATIENCE_S", 0.3)
    store = store_at(f"{proxy.new_bucket()}/out")
    retries.retries_of("before")
    proxy.faults(0.5, seed=1, kinds=["503"])
    for number in range(5):
        overwrite(store, f"part{number}", b"rows")
    (again,) = Publisher.at(store.address).retries("commit")
    assert again["stage"] == "commit"
    assert again["times"] >= 1
    assert again["reason"].startswith(f"{store.address.rpartition('/')[0]}/out/part")
    proxy.faults()
    with Lease(store, "ann@host", "x", now(), on_lost=lambda _: None) as lease:
        with journal(store, lease, every_s=0.05) as told:
            told.planned(40, 0, 4)
            proxy.faults(1.0, kinds=["503"])
            told.starting("the engine")
        assert "journal" not in {thread.name for thread in threading.enumerate()}
        proxy.faults()
        with journal(store, lease):
            pass
    assert "run began" in kinds(store)


def test_several_are_told_of_all_that_one_is_told_of() -> None:
    methods = [name for name, _ in inspect.getmembers(Progress, inspect.isfunction)]
    calls: list[tuple[int, str, tuple[Any, ...], dict[str, Any]]] = []

    class Listener:
        def __init__(self, number: int) -> None:
            self.number = number

        def __getattr__(self, name: str) -> Any:
            return lambda *arguments, **named: calls.append((self.number, name, arguments, named))

    several: Any = Several(Listener(1), Listener(2))  # type: ignore[arg-type]
    for name in methods:
        calls.clear()
        signature = inspect.signature(getattr(Progress, name)).parameters.values()
        plain = tuple(field.name for field in signature if field.kind is field.POSITIONAL_OR_KEYWORD)[1:]
        named = {field.name: True for field in signature if field.kind is field.KEYWORD_ONLY}
        getattr(several, name)(*plain, **named)
        assert calls == [(1, name, plain, named), (2, name, plain, named)]


# the file of events


def event(number: int, text: str = "") -> dict[str, Any]:
    return {"at": "2026", "kind": "k", "number": number, "text": text}


def numbers(store: Store) -> list[int]:
    return [event["number"] for event in read_events(store)]


def test_the_last_lines_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MOST_LINES", 100)
    log = EventLog(store)
    for start in range(0, 1000, 10):
        log.add([event(number) for number in range(start, start + 10)])
        with store.open(EVENTS) as file:
            assert len(file.readlines()) <= 100
    EventLog(store).add([event(1000)])  # of the next run
    there = numbers(store)
    assert there[-1] == 1000
    assert there == list(range(there[0], 1001))
    assert 40 <= len(there) <= 101


def test_the_last_bytes_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MOST_BYTES", 10_000)
    log = EventLog(store)
    for number in range(100):
        log.add([event(number, "x" * 500)])
        stat = store.stat(EVENTS)
        assert stat is not None
        assert stat.size_bytes <= 10_000
    there = numbers(store)
    assert there == list(range(there[0], 100))
    assert len(there) >= 7


@given(st.binary(max_size=200), st.integers(0, 3))
def test_what_others_left_in_the_file_is_no_event(data: bytes, lines: int) -> None:
    """A kill in the middle of a line, a page of zeros after a crash of the machine, anything."""
    store = MemoryStore("memory://torn")
    overwrite(store, EVENTS, data)
    for number in range(lines):
        EventLog(store).add([event(number)])
    assert [entry.get("number") for entry in read_events(store)][-lines or 1 :] == list(range(lines)) or not lines


def test_a_line_that_a_kill_cut_takes_no_other_with_it(tmp_path: Path) -> None:
    store = store_at(str(tmp_path))
    EventLog(store).add([event(0)])
    path = tmp_path / EVENTS
    path.write_bytes(path.read_bytes() + b'{"at": "2026", "ki')
    EventLog(store).add([event(1)])
    assert numbers(store) == [0, 1]


def test_nothing_else_is_taken_for_the_file(tmp_path: Path) -> None:
    import os

    (tmp_path / "_job").mkdir()
    os.mkfifo(tmp_path / EVENTS)
    with pytest.raises(OSError, match="no file"):
        EventLog(store_at(str(tmp_path))).add([event(0)])
    (tmp_path / EVENTS).unlink()
    (tmp_path / "other").write_text("kept\n")
    (tmp_path / EVENTS).symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic"):
        EventLog(store_at(str(tmp_path))).add([event(0)])
    assert (tmp_path / "other").read_text() == "kept\n"


def test_names_that_are_no_text_are_written(store: Store) -> None:
    EventLog(store).add([event(0, "na\udcefve \x1b[31m \n")])
    write_progress(store, {"why": "na\udcefve"})
    assert read_events(store)[0]["text"] == "na\udcefve \x1b[31m \n"
    assert read_progress(store) == {"why": "na\udcefve"}
