"""What `sightread verify` names, and what --repair makes of it: nothing that log or results hold is asked again."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from jobs.load import parse
from operators.store.addresses import store_at
from operators.store.part_log import PartLog, PartName
from operators.store.store import Store, read
from operators.store.view import View, key_of
from pipelines.compact import compact
from pipelines.folder import JobFolder
from pipelines.repair import repair
from pipelines.rounds import Round
from pipelines.verify import Verified, verify
from tests.support.object_server import S3Server
from tests.support.outputs import CHUNKS, FIRST, answer, change, files, finished, flip, revise, texts
from tests.support.result_rows import OTHER, chunk_id, rows
from tests.support.world import World, write_image, write_recording

FILE = key_of("ocr", 0)
SPEC = {"name": "t", "inputs": ["in"], "output": "out", "engine": {"kind": "scripted", "recording": "x"}}


@pytest.fixture
def store() -> Store:
    return finished(store_at(f"memory://{uuid.uuid4().hex}"))


def faults(store: Store) -> dict[str, str]:
    return {finding.key: finding.text for finding in verify(store).findings if not finding.is_note}


def repaired(store: Store, *, open_units: int = 0) -> Verified:
    list(repair(store, verify(store)))
    after = verify(store)
    assert after.faulty == []
    assert sum(after.open_units.values()) == open_units
    assert list(repair(store, after)) == []
    return after


def test_a_sound_output_is_sound(store: Store) -> None:
    verified = verify(store)
    assert (verified.findings, verified.files, verified.rows, verified.open_units) == ([], 7, 8, {})


def test_one_flipped_bit_anywhere_is_named_and_fixed(
    store: Store, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    before, numbers = texts(store), random.Random(18)
    contents = {key: read(store, key) for key in files(store)}
    flips, repairs = amount(40, 2000 * len(contents)), 0
    for number in range(flips):
        key = numbers.choice(sorted(contents))
        flip(store, key, numbers.randrange(len(contents[key]) * 8))
        assert faults(store).keys() == {key}, key
        if number % 4 == 0:
            repaired(store)
            repairs += 1
            assert texts(store) == before, key
        for name in {*files(store), *contents}:
            store.delete(name)
        for name, data in contents.items():
            store.put_if_absent(name, data)
    figure(f"{flips} flipped bits are named; {repairs} repairs leave none, and no row is changed or asked again")


@pytest.mark.parametrize("damage", ["deleted", "truncated", "emptied", "doubled", "longer"])
@pytest.mark.parametrize("which", ["part", "older revision", "revision", "results"])
def test_damage_to_one_file_is_named_and_fixed(store: Store, damage: str, which: str) -> None:
    other = [*CHUNKS][1]
    key = {
        "part": PartName("ocr", other).key, "older revision": PartName("ocr", FIRST).key,
        "revision": PartName("ocr", FIRST, 1).key, "results": FILE,
    }[which]  # fmt: skip
    before, data = texts(store), read(store, key)
    if damage == "deleted":
        store.delete(key)
    else:
        broken = {"truncated": data[:-100], "emptied": b"", "doubled": data * 2, "longer": data + b"PAR1"}
        change(store, key, broken[damage])
    expected = set() if (damage, which) == ("deleted", "older revision") else {key}  # which nobody needs
    assert faults(store).keys() == expected
    repaired(store)
    assert texts(store) == before


def test_copies_are_removed_and_what_is_not_ours_is_named_and_stays(store: Store) -> None:
    part = PartName("ocr", FIRST).key
    strange = part.replace(".parquet", ".txt")
    copies = [f"{part.removesuffix('.parquet')} (1).parquet", FILE.replace("00000", "00009"), f"{FILE}.bak"]
    for copy, original in zip(copies, (part, FILE, FILE), strict=True):
        store.put_if_absent(copy, read(store, original))
    store.put_if_absent(strange, b"mine")
    store.put_if_absent("results/task=ocr/notes.parquet", b"mine too")
    assert faults(store).keys() == {*copies, strange, "results/task=ocr/notes.parquet"}
    list(repair(store, verify(store)))
    assert faults(store).keys() == {strange, "results/task=ocr/notes.parquet"}
    assert len(texts(store) if not store.delete("results/task=ocr/notes.parquet") else []) == 8


def test_a_copy_from_another_output_is_named_and_stays(store: Store) -> None:
    strange = chunk_id(0, 0, "of another")
    other = store_at(f"memory://{uuid.uuid4().hex}")
    PartLog(other).write("ocr", strange, rows(strange, [{"input_id": "z", "unit_index": 0}]))
    store.put_if_absent("results/copy.parquet", read(other, PartName("ocr", strange).key))
    list(repair(store, verify(store)))
    assert faults(store).keys() == {"results/copy.parquet"}


def test_a_file_under_another_name_goes_back(store: Store) -> None:
    before = texts(store)
    for original, other in (
        (PartName("ocr", FIRST, 1).key, PartName("ocr", chunk_id(0, 0, "other")).key),
        (FILE, "results/part-0.parquet"),
    ):
        data = read(store, original)
        store.delete(original)
        store.put_if_absent(other, data)
        assert other in faults(store)
        repaired(store)
        assert read(store, original) == data
        assert texts(store) == before
    assert not verify(store).findings


def test_what_neither_has_is_open_again_and_nothing_else(store: Store) -> None:
    flip(store, PartName("ocr", [*CHUNKS][1]).key, 5000)
    store.delete(FILE)
    repaired(store, open_units=2)
    assert View(store).committed("ocr") == CHUNKS.keys() - {[*CHUNKS][1]}
    assert faults(store).keys() == {"results/task=ocr"}  # until they are asked again: the last run had them
    answer(store, [*CHUNKS][1])
    View(store).publish("ocr", 0)
    assert faults(store) == {}


def test_what_was_pruned_is_open_again_where_its_file_broke(store: Store) -> None:
    View(store).prune("ocr", 0, [FIRST])
    PartLog(store).delete(PartName("ocr", FIRST, 1))
    assert faults(store) == {}
    flip(store, FILE, 9000)
    repaired(store, open_units=2)
    assert View(store).committed("ocr") == CHUNKS.keys() - {FIRST}


def test_rows_that_are_not_the_logs_are_seen(store: Store) -> None:
    """Each file intact: one is older than the other says, or says other things."""
    before, data = texts(store), read(store, FILE)
    log = PartLog(store)
    name = log.parts("ocr")[FIRST]
    for key in (PartName("ocr", FIRST, 0).key, name.key):
        store.delete(key)
    answer(store, FIRST, "other")
    revise(store, FIRST, "another")
    assert faults(store)[FILE] == "its column result is not what the log says"
    repaired(store)
    assert texts(store) == [(*key, "another" if key[0] == "00" else text) for *key, text in before]
    change(store, FILE, data)
    assert FILE in faults(store)


def test_a_log_that_is_ahead_is_no_fault(store: Store) -> None:
    revise(store, [*CHUNKS][1])
    findings = verify(store).findings
    assert [(finding.key, finding.is_note) for finding in findings] == [(FILE, True)]
    assert repaired(store).findings == []


def test_what_nobody_planned_is_named(store: Store) -> None:
    strange = chunk_id(0, 0, "nobody")
    PartLog(store).write("ocr", strange, rows(strange, [{"input_id": "z", "unit_index": 0}]))
    assert strange in faults(store)[FILE]


def test_manifests_and_rounds_that_cannot_be_read_are_named(store: Store) -> None:
    for key in (
        "_job/chunks/00000/part-00000.parquet",
        "_job/inputs/00000/part-00000.parquet",
        "_job/rounds/00000.json",
    ):
        data = read(store, key)
        change(store, key, data[:-9])
        assert [text for text in faults(store).values() if key in text]
        change(store, key, data)
    assert faults(store) == {}


def test_results_of_a_type_that_is_done_anew_are_not_missed() -> None:
    store = finished(store_at(f"memory://{uuid.uuid4().hex}"))
    folder = JobFolder(store)
    folder.add_round(Round(1, "redo", (0,), {"ocr": {}}, "then", "somebody", {}, {"retired ocr": 1}))
    View(store).retire("ocr", 1)
    assert faults(store) == {}
    chunk = chunk_id(0, 1, "redo")
    PartLog(store).write("ocr", chunk, rows(chunk, [{"input_id": "00", "unit_index": 0, "generation": 1}], OTHER))
    View(store).publish("ocr", 0)
    assert key_of("ocr", 1) not in faults(store)


def test_the_command_says_what_it_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = finished(store_at(str(tmp_path)))
    assert main(["verify", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "7 files, 8 rows: all is sound\n"
    flip(store, FILE, 4000)
    store.put_if_absent("results/a\x1b[2Jb", b"")
    assert main(["verify", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("results/a\\x1b[2Jb: no file of ours")
    assert lines[1] == f"{FILE}: its bytes are not those that were written"
    assert lines[-1] == "8 files, 2 rows: 2 things are wrong"
    assert main(["verify", str(tmp_path), "--repair"]) == 1  # a stranger's file stays
    assert capsys.readouterr().out.splitlines()[-1] == "8 files, 8 rows: 1 thing is wrong"
    (tmp_path / "results" / "a\x1b[2Jb").unlink()
    assert main(["verify", str(tmp_path)]) == 0


class Dying:
    """A store whose writer is killed after so many changes."""

    def __init__(self, store: Store, changes: int) -> None:
        self._store, self._left = store, changes
        self.address = store.address

    def __getattr__(self, name: str) -> Any:
        if name in ("put_if_absent", "replace_if_same", "delete"):
            if not self._left:
                raise InterruptedError
            self._left -= 1
        return getattr(self._store, name)


@pytest.mark.parametrize("what", ["repair", "compact"])
def test_a_kill_between_any_two_steps_costs_nothing(what: str) -> None:
    spec = parse({**SPEC, "tasks": ["ocr"]}, "test")
    for changes in range(20):
        store = finished(store_at(f"memory://{uuid.uuid4().hex}"))
        before = texts(store)
        if what == "repair":
            flip(store, PartName("ocr", FIRST, 1).key, 5000)
            store.delete(PartName("ocr", [*CHUNKS][1]).key)
            store.put_if_absent(f"{FILE}.bak", read(store, FILE))
            flip(store, key_of("ocr", 1), 5000)
        dying = Dying(store, changes)
        try:
            done = list(repair(dying, verify(dying)) if what == "repair" else compact(dying, {"ocr": spec}))
        except InterruptedError:
            done = []
        repaired(store)
        list(compact(store, {"ocr": spec}))
        assert verify(store).findings == []
        assert texts(store) == before
        if done:
            return
    pytest.fail("it never ended")


def test_what_cannot_be_asked_from_here_is_left_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = finished(store_at(str(tmp_path)))
    store.delete(FILE)
    store.delete(PartName("ocr", [*CHUNKS][1]).key)
    assert main(["verify", str(tmp_path), "--repair"]) == 1
    assert "2 units are open, and cannot be asked from here" in capsys.readouterr().out


def test_an_output_in_a_bucket(s3: S3Server) -> None:
    store = finished(store_at(f"{s3.new_bucket()}/out"))
    assert verify(store).findings == []
    before = texts(store)
    flip(store, FILE, 7000)
    flip(store, PartName("ocr", [*CHUNKS][3]).key, 7000)
    assert len(faults(store)) == 2
    repaired(store)
    assert texts(store) == before


@pytest.mark.slow
def test_a_whole_job_is_asked_only_for_what_is_lost(world: World) -> None:
    for number in range(6):
        write_image(world.inputs / f"{number}.png", str(number))
    write_recording(world.recording, {"reply": "A sign."})
    world.spec |= {"tasks": ["caption"], "limits": {"chunk_units": 2}}
    world.run()
    before = world.rows("caption")
    (file,) = (world.output / "results").rglob("*.parquet")
    parts = sorted((world.output / "_job" / "parts").rglob("*.parquet"))
    data = bytearray(parts[0].read_bytes())
    data[len(data) // 2] ^= 1
    parts[0].write_bytes(data)
    parts[1].unlink()
    assert "2 things are wrong" in world.run("verify", str(world.output), code=1)
    assert "rows to have" not in world.run(
        "verify", str(world.output), "--repair"
    )  # nothing is asked: the results have all
    assert world.rows("caption") == before
    file.unlink()
    text = world.run("verify", str(world.output), "--repair")
    assert "4 new rows" in text
    assert text.splitlines()[-1].endswith("6 rows: all is sound")
    kept = [row for row in before if row["chunk_id"] in parts[2].name]
    assert [row for row in world.rows("caption") if row["chunk_id"] in parts[2].name] == kept
    assert len(world.rows("caption")) == 6
