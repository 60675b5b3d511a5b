"""What `sightread compact` deletes from the log, what it leaves, and that nothing is lost with it."""

from __future__ import annotations

import argparse
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from jobs.commands.compact import age
from jobs.load import parse
from operators.store.addresses import store_at
from operators.store.part_log import PartLog, PartName
from operators.store.store import Store
from operators.store.view import View, key_of
from pipelines.compact import Freed, compact
from pipelines.verify import verify
from schemas.spec import JobSpec
from tests.support.outputs import CHUNKS, FIRST, answer, finished, flip, plan, revise, texts
from tests.support.result_rows import chunk_id, rows


@pytest.fixture
def store() -> Store:
    return finished(store_at(f"memory://{uuid.uuid4().hex}"))


def spec(*tasks: Any) -> JobSpec:
    engine = {"kind": "scripted", "recording": "x"}
    return parse({"name": "t", "inputs": ["in"], "tasks": [*tasks], "output": "out", "engine": engine}, "test")


def compacted(store: Store, task: str = "ocr", **options: Any) -> Freed:
    (freed,) = compact(store, {task: spec(task)}, **options)
    return freed


def test_parts_that_the_results_hold_are_deleted_with_all_revisions(store: Store) -> None:
    before = texts(store)
    freed = compacted(store)
    assert (freed.parts, freed.kept, freed.unreadable) == (4, 0, ())
    assert freed.size_bytes > 0
    assert PartLog(store).parts("ocr") == {}
    assert texts(store) == before
    assert View(store).committed("ocr") == CHUNKS.keys()
    assert (verify(store).findings, verify(store).open_units) == ([], {})
    View(store).rebuild("ocr", 0)
    assert texts(store) == before
    assert compacted(store).parts == 0


def test_what_is_not_published_yet_stays(store: Store) -> None:
    revise(store, [*CHUNKS][1])
    assert (compacted(store).parts, PartLog(store).parts("ocr").keys()) == (3, {[*CHUNKS][1]})
    View(store).publish("ocr", 0)
    assert compacted(store).parts == 1
    assert verify(store).findings == []


def test_parts_of_a_broken_file_stay(store: Store) -> None:
    flip(store, key_of("ocr", 0), 7000)
    freed = compacted(store)
    assert (freed.parts, len(freed.unreadable)) == (1, 1)
    assert "--repair` mends it" in freed.unreadable[0]


def test_a_part_that_gave_way_goes_and_one_that_nothing_stands_in_for_stays(store: Store) -> None:
    """The rows of the one are answered anew; those of the other are shown nowhere, of another type as they are."""
    anew, other = chunk_id(0, 1, "anew"), chunk_id(0, 0, "other")
    log = PartLog(store)
    log.write("ocr", anew, rows(anew, [{"input_id": "00", "unit_index": 0, "generation": 1}]))
    log.write("ocr", other, rows(other, [{"input_id": "zz", "unit_index": 0}]))
    view = View(store)
    view.publish("ocr", 0)
    view.rebuild("ocr", 0, without=[other])
    there = view.read("ocr", 0)
    assert there is not None
    view._swap("ocr", 0, lambda *_: (there.rows, type(there.held)(there.held.chunks | {other: 0}, {})))
    assert compacted(store).kept == 1
    assert log.parts("ocr").keys() == {other}


def test_a_kill_between_the_note_and_the_deleting_costs_nothing(store: Store) -> None:
    before = texts(store)
    View(store).prune("ocr", 0, [FIRST])
    PartLog(store)._store.delete(PartName("ocr", FIRST, 0).key)
    assert verify(store).findings == []
    assert compacted(store).parts == 4
    assert texts(store) == before
    assert verify(store).findings == []


def test_parts_whose_code_is_not_checked_yet_stay() -> None:
    store = store_at(f"memory://{uuid.uuid4().hex}")
    plan(store)
    for chunk, check in zip(CHUNKS, (None, {"outcome": "read"}, None, None), strict=True):
        answer(store, chunk, task="code_drawio", verified={"ok": True, "faults": [], "code_check": check})
    View(store).publish_all(["code_drawio"], {})
    freed = compacted(store, "code_drawio")
    assert (freed.parts, freed.kept) == (1, 3)


def test_only_parts_that_are_old_enough_go(tmp_path: Path) -> None:
    store = finished(store_at(str(tmp_path)))
    assert compacted(store, older_than_s=3600).parts == 0
    assert compacted(store, older_than_s=1e-9).parts == 4


def test_the_command_says_what_it_freed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = finished(store_at(str(tmp_path)))
    assert main(["compact", str(tmp_path), "--older-than", "7d"]) == 0
    assert capsys.readouterr().out == "ocr: 0 parts deleted, 0.0 MB; 4 stay\n"
    assert main(["compact", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("ocr: 4 parts deleted, 0.1 MB")
    assert len(texts(store)) == 8


def test_ages() -> None:
    assert [age(text) for text in ("7d", "1.5h", "2m", "3s")] == [604800, 5400, 120, 3]
    for text in ("7", "d", "-1d", "7 d", "7w"):
        with pytest.raises(argparse.ArgumentTypeError, match="7d"):
            age(text)


# disks that take nothing more


def test_a_full_disk_is_one_sentence_and_with_room_it_goes_on(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = small_disk / "out"
    store = finished(store_at(str(output)))
    before = texts(store)
    store.delete(key_of("ocr", 0))
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 1024):
                pass
        except OSError:
            pass
    assert main(["verify", str(output)]) == 1
    capsys.readouterr()
    for command in (["verify", str(output), "--repair"], ["compact", str(output)]):
        assert main(command) == 1
        assert "No space left on device" in capsys.readouterr().err
    ballast.unlink()
    assert main(["verify", str(output), "--repair"]) == 0
    assert texts(store) == before
    assert main(["compact", str(output)]) == 0
    assert texts(store) == before


def test_a_disk_that_may_only_be_read_is_one_sentence(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = small_disk / "out"
    store = finished(store_at(str(output)))
    store.delete(key_of("ocr", 0))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert main(["verify", str(output)]) == 1
    assert f"{key_of('ocr', 0)}: it is not there" in capsys.readouterr().out
    for command in (["verify", str(output), "--repair"], ["compact", str(output)]):
        assert main(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "Read-only file system" in line
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert main(["verify", str(output), "--repair"]) == 0
    assert len(texts(store)) == 8
