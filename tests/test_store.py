"""The verbs of a store, held to by every one that ships: who comes first, what is stale, and what a kill leaves."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from jobs.cli import main
from operators.store.addresses import SCHEMES, absolute, local_path, store_at
from operators.store.local import TEMPORARIES
from operators.store.store import Store, overwrite, read
from schemas.address import OBJECT_STORES, scheme_of
from schemas.checkout import ROOT
from schemas.errors import SpecError
from tests.support.world import write_recording

RACERS = 16


@pytest.fixture(params=["folder", "memory", "s3", "az"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    match request.param:
        case "folder":
            return store_at(str(tmp_path / "out"))
        case "memory":
            return store_at(f"memory://{uuid.uuid4().hex}")
        case "s3":  # moto alone lets two win now and then
            return store_at(f"{request.getfixturevalue('proxy').new_bucket()}/some/where")
        case _:
            return store_at(f"{request.getfixturevalue('azure').new_container()}/some/where")


def race(verb: Callable[[int], bool]) -> list[int]:
    """Numbers of the threads that won."""
    won: list[int] = []
    start = threading.Barrier(RACERS)

    def one(number: int) -> None:
        start.wait()
        if verb(number):
            won.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_files_are_put_listed_read_and_deleted(store: Store) -> None:
    assert (store.list(), store.stat("a/b"), store.list("a")) == ([], None, [])
    for key in ("a/c", "a/b/x", "ab/c"):
        assert store.put_if_absent(key, key.encode())
    assert store.list() == ["a/b/x", "a/c", "ab/c"]
    assert store.list("a") == ["a/b/x", "a/c"]
    there = store.stat("a/c")
    assert there is not None
    assert there.size_bytes == 3
    with store.open("a/c") as file:
        file.seek(1)
        assert file.read() == b"/c"
    for _ in range(2):
        store.delete("a/c")
    assert store.stat("a/c") is None
    with pytest.raises(FileNotFoundError):
        store.open("a/c")


def test_the_first_of_many_threads_wins(store: Store) -> None:
    for turn in range(4 if scheme_of(store.address) in OBJECT_STORES else 20):
        (first,) = race(lambda number, key=f"{turn}": store.put_if_absent(key, b"%d" % number))  # type: ignore[misc]
        assert read(store, str(turn)) == b"%d" % first
        there = store.stat(str(turn))
        assert there is not None
        (next_,) = race(
            lambda number, key=f"{turn}", version=there.version: store.replace_if_same(key, b"r%d" % number, version)  # type: ignore[misc]
        )
        assert read(store, str(turn)) == b"r%d" % next_


def test_a_stale_version_replaces_nothing(store: Store) -> None:
    assert not store.replace_if_same("k", b"x", "1")
    store.put_if_absent("k", b"one")
    first = store.stat("k")
    assert first is not None
    assert store.replace_if_same("k", b"two", first.version)
    assert not store.replace_if_same("k", b"six", first.version)
    assert not store.put_if_absent("k", b"six")
    assert read(store, "k") == b"two"
    overwrite(store, "k", b"six")
    overwrite(store, "new", b"a")
    assert (read(store, "k"), read(store, "new")) == (b"six", b"a")


def _put(address: str, start: object, won: object, number: int) -> None:
    start.wait()  # type: ignore[attr-defined]
    if store_at(address).put_if_absent("k", b"%d" % number):
        won.put(number)  # type: ignore[attr-defined]


def test_the_first_of_many_processes_wins(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    start, won = spawn.Barrier(RACERS), spawn.Queue()
    racers = [spawn.Process(target=_put, args=(str(tmp_path), start, won, number)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert read(store_at(str(tmp_path)), "k") == b"%d" % won.get(timeout=5)
    assert won.empty()


@pytest.mark.parametrize("verb", ["put", "replace"])
def test_who_is_killed_before_a_file_is_in_its_place_leaves_nothing_to_see(tmp_path: Path, verb: str) -> None:
    store = store_at(str(tmp_path))
    if verb == "replace":
        store.put_if_absent("k", b"before")
    code = (
        "import os, signal, sys; from pathlib import Path; from operators.store.addresses import store_at\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.link = Path.replace = die; s = store_at(sys.argv[1]); there = s.stat('k')\n"
        "s.replace_if_same('k', b'after', there.version) if there else s.put_if_absent('k', b'after')"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert len(list((tmp_path / TEMPORARIES).iterdir())) == 1
    assert store.list() == (["k"] if verb == "replace" else [])
    if verb == "replace":
        assert read(store, "k") == b"before"
    # the next writer sweeps what is left of the dead, and leaves what the living still write
    living = tmp_path / TEMPORARIES / f"{socket.gethostname()}-{os.getpid()}-x.tmp"
    living.write_bytes(b"x")
    of_another_host = tmp_path / TEMPORARIES / f"{socket.gethostname()}-{1 << 23}-1-x.tmp"
    of_another_host.write_bytes(b"x")
    overwrite(store_at(str(tmp_path)), "k", b"later")
    assert set((tmp_path / TEMPORARIES).iterdir()) == {living, of_another_host}
    assert read(store, "k") == b"later"


def test_a_key_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    store = store_at(str(tmp_path / "out"))
    for key in ("../x", "/etc/passwd"):
        with pytest.raises(ValueError, match="out of the store"):
            store.put_if_absent(key, b"")


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_at("out").address == "out"
    assert store_at(f"file://{tmp_path}/a%20b").address == f"{tmp_path}/a b"
    assert local_path(f"FILE://{tmp_path}") == tmp_path
    assert absolute("out") == f"{tmp_path}/out"
    assert absolute("memory://x") == "memory://x"
    assert (local_path("memory://x"), local_path("./s3/x")) == (None, Path("s3/x"))
    assert pickle.loads(pickle.dumps(store_at("out"))).address == "out"
    for address in ("hdfs://h/o", "https://h/o", "hf://datasets/a/b", "s3:/bucket/out", "file://host/out", "file:/out"):
        with pytest.raises(SpecError, match="output: "):
            store_at(address)
    assert list(tmp_path.iterdir()) == []
    assert set(SCHEMES) == {"file", "s3", "gs", "az", "memory"}


@pytest.mark.parametrize("command", ["plan", "run", "doctor"])
def test_an_output_that_no_store_is_there_for_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    recording = write_recording(tmp_path / "r.jsonl")
    spec = {
        "name": "n", "inputs": [str(tmp_path)], "tasks": ["ocr"], "output": "hdfs://bucket/out",
        "engine": {"kind": "scripted", "recording": str(recording)},
    }  # fmt: skip
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    assert main([command, "spec.yaml"]) == (1 if command == "doctor" else 2)
    printed = capsys.readouterr()
    text = " ".join((printed.out + printed.err).split())
    assert "output: 'hdfs://bucket/out': nothing can be written to hdfs:// so far" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.jsonl", "spec.yaml"]


def test_a_run_is_not_put_into_the_memory_of_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = write_recording(tmp_path / "r.jsonl")
    spec = {
        "name": "n", "inputs": [str(tmp_path)], "tasks": ["ocr"], "output": "memory://x",
        "engine": {"kind": "scripted", "recording": str(recording)},
    }  # fmt: skip
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert main(["run", str(tmp_path / "spec.yaml")]) == 2
    assert "a run has many processes" in capsys.readouterr().err
