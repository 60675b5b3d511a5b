"""A part is written once, whole, whoever comes first; and what readers see are files of rows."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.load import parse
from operators.commit import Commit
from operators.store.addresses import store_at
from operators.store.part_log import PartLog, PartName
from operators.store.results import Results
from operators.store.store import Store
from operators.store.view import View
from pipelines.catalogue import find
from pipelines.folder import LAYOUT, JobFolder
from pipelines.growth import check_tasks
from pipelines.job import prepare
from pipelines.rounds import Round
from pipelines.summary.audit import audit
from schemas import tables
from schemas.errors import JobConflict, SpecError
from tests.support.faulty_proxy import FaultyProxy
from tests.support.parts import chunk
from tests.support.world import write_recording

SCHEMA = tables.results_schema(pa.struct([("text", pa.string())]), [pa.field("shelf", pa.int64())])
C = chunk("c")


def rows(*unit_indices: int, text: str = "a", input_id: str = "i", chunk_id: str = C) -> pa.Table:
    plain = {
        "input_id": input_id, "input_uri": "/i.pdf", "unit_count": 9, "unit_kind": "page", "request_index": 0,
        "shelf": 7, "status": "ok", "result": {"text": text}, "prompt_tokens": 1, "output_tokens": 2,
        "decode_s": 0.1, "infer_s": 0.2, "generation": 0, "attempt": 1, "chunk_id": chunk_id, "job": "j",
        "model": "m", "weights_sha256": "", "prompt_sha256": "", "spec_sha256": "", "version": "0",
    }  # fmt: skip
    return pa.Table.from_pylist([{**plain, "unit_index": index} for index in unit_indices], schema=SCHEMA)


def chunks(*unit_indices: int, generation: int = 0) -> pa.Table:
    units = [{"input_id": "i", "unit_index": index, "generation": generation, "attempt": 1} for index in unit_indices]
    return pa.Table.from_pylist([{"chunk_id": C, "tasks": ["ocr"], "units": units}], schema=tables.CHUNKS)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_at(str(tmp_path / "out") if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def log(store: Store) -> PartLog:
    return PartLog(store)


@pytest.fixture
def results(store: Store) -> Results:
    return Results(store)


def results_of(log: PartLog) -> list[Any]:
    """In the part of C."""
    values: list[Any] = log.read(log.last("ocr", C)).rows.column("result").to_pylist()
    return values


def write(log: PartLog, name: str, rows_of: pa.Table, slice_: int = 0) -> str:
    """The chunk_id of a part whose rows bear it."""
    chunk_id = chunk(name, slice_)
    place = rows_of.schema.get_field_index("chunk_id")
    named = rows_of.set_column(place, rows_of.schema.field(place), pa.array([chunk_id] * rows_of.num_rows))
    assert log.write("ocr", chunk_id, named) == "committed"
    return chunk_id


def test_files_elsewhere_are_read_several_at_once(proxy: FaultyProxy) -> None:
    store = store_at(f"{proxy.new_bucket()}/out")
    log, view = PartLog(store), View(store)
    names = [f"{number:02}" for number in range(12)]
    for number, name in enumerate(names):
        write(log, name, rows(0, 1, input_id=name), slice_=number)
        view.publish("ocr", number)
    proxy.faults(delay_s=0.05)
    proxy.counts(anew=True)
    wanted = [name for name in names for _ in range(2)]
    parts = log.read_all(list(log.parts("ocr").values()))
    assert [name for part in parts for name in part.rows.column("input_id").to_pylist()] == wanted
    assert proxy.counts().most_at_once > 4
    proxy.counts(anew=True)
    assert Results(store).rows("ocr", ("input_id",)).read_all().column(0).to_pylist() == wanted
    assert proxy.counts().most_at_once > 2


def test_the_first_writer_wins_and_the_second_drops_its_own(store: Store, log: PartLog) -> None:
    assert log.write("ocr", C, rows(0, 1, text="first")) == "committed"
    assert log.write("ocr", C, rows(0, 1, text="second")) == "duplicate"
    table = log.read(log.last("ocr", C)).rows
    assert table.schema.equals(SCHEMA)
    assert table.column("result").to_pylist() == [{"text": "first"}] * 2
    assert (log.tasks(), log.parts("ocr"), log.parts("caption")) == (["ocr"], {C: PartName("ocr", C)}, {})
    assert View(store).committed("ocr") == {C}
    with pytest.raises(JobConflict, match="has no part"):
        log.last("ocr", chunk("another"))


def test_the_results_are_a_file_for_every_reader_of_parquet(tmp_path: Path) -> None:
    store = store_at(str(tmp_path))
    results, view = Results(store), View(store)
    PartLog(store).write("ocr", C, rows(0, 1))
    assert results.tasks() == []  # not published yet
    assert view.publish("ocr", 0)
    assert not view.publish("ocr", 0)
    assert results.tasks() == ["ocr"]
    table = pq.read_table(tmp_path / "results" / "task=ocr" / "part-00000.parquet", partitioning=None)
    assert table.equals(rows(0, 1))
    assert results.pattern("ocr") == f"{tmp_path}/results/task=ocr/*.parquet"
    assert len(list(tmp_path.rglob("*.parquet"))) == 2  # of which one is in the log
    assert not list((tmp_path / "_job" / "tmp").iterdir())


def test_a_part_holds_nothing_that_serves_queries(tmp_path: Path) -> None:
    """It is read whole, and there is one for each chunk: what a file of the results has would be most of it."""
    store = store_at(str(tmp_path))
    PartLog(store).write("ocr", C, rows(0, 1))
    View(store).publish("ocr", 0)
    (result,), (part,) = (list((tmp_path / place).rglob("*.parquet")) for place in ("results", "_job/parts"))
    for path, serves in ((result, True), (part, False)):
        column = pq.ParquetFile(path).metadata.row_group(0).column(0)
        assert (column.is_stats_set, column.has_dictionary_page) == (serves, serves)
    assert part.stat().st_size < 0.9 * result.stat().st_size
    assert pq.read_table(part).equals(rows(0, 1))


def test_a_part_with_other_units_is_a_conflict_not_overwritten(store: Store, log: PartLog) -> None:
    log.write("ocr", C, rows(0, 1))
    with pytest.raises(JobConflict, match="other units"):
        log.write("ocr", C, rows(0, 2))
    with pytest.raises(JobConflict, match="other units"):
        log.revise(log.read(log.last("ocr", C)), rows(0, 2))
    store.put_if_absent(PartName("ocr", chunk("d")).key, b"not parquet")
    with pytest.raises(JobConflict, match="not a part that sightread wrote"):
        log.write("ocr", chunk("d"), rows(0))


def test_a_part_that_was_revised_meanwhile_is_not_revised_again(store: Store, log: PartLog) -> None:
    log.write("ocr", C, rows(0, text="a"))
    one, other = (log.read(log.last("ocr", C)) for _ in range(2))
    View(store).publish("ocr", 0)
    log.revise(one, rows(0, text="b"))
    with pytest.raises(JobConflict, match="replaced by someone else"):
        log.revise(other, rows(0, text="c"))
    assert results_of(log) == [{"text": "b"}]
    assert View(store).publish("ocr", 0)
    assert Results(store).rows("ocr").read_all().column("result").to_pylist() == [{"text": "b"}]


def test_of_many_writers_at_once_exactly_one_commits(log: PartLog) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        outcomes.append(log.write("ocr", C, rows(0, 1, text=str(number))))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["committed"] + ["duplicate"] * 7
    assert len(results_of(log)) == 2


def test_of_many_that_publish_at_once_no_row_is_lost_or_doubled(store: Store, log: PartLog) -> None:
    start = threading.Barrier(4)

    def write_and_publish(number: int) -> None:
        start.wait()
        for unit in range(5):
            write(log, f"{number}-{unit}", rows(unit, input_id=str(number)))
            View(store).publish("ocr", 0)

    threads = [threading.Thread(target=write_and_publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    there = Results(store).rows("ocr", ("input_id", "unit_index")).read_all().to_pylist()
    assert sorted((row["input_id"], row["unit_index"]) for row in there) == [
        (str(number), unit) for number in range(4) for unit in range(5)
    ]


def test_a_full_disk_is_a_receipt_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(rows(0))
    answered = pa.Table.from_pylist(
        [{"chunk_id": C, "task": "ocr", "rows": sink.getvalue().to_pybytes()}], schema=tables.ANSWERED
    )
    (receipt,) = Commit(str(tmp_path))(answered).to_pylist()
    assert receipt["outcome"] == "refused"
    assert "No space left" in receipt["message"]
    assert store_at(str(tmp_path)).list() == []
    assert not list((tmp_path / "_job" / "tmp").iterdir())


@pytest.mark.parametrize("slice_", [0, 1], ids=["in one file", "in two files"])
def test_parts_of_an_older_version_are_read_beside_new_ones(
    store: Store, log: PartLog, results: Results, slice_: int
) -> None:
    """Without a column, without a field of a struct, and with one that is gone."""
    write(log, "b", rows(0, text="new"))
    old = rows(1, text="old").drop_columns(["reasoning_tokens", "verified"])
    verified = pa.array([{"ok": True, "trial": "x", "faults": ["cut"]}])
    write(log, "a", old.append_column("verified", verified), slice_)
    assert View(store).publish_all(["ocr"], {}) == 1 + slice_
    wanted = ("unit_index", "reasoning_tokens", "verified", "shelf", "result")
    read = results.rows("ocr", wanted).read_all()
    assert read.schema.names == list(wanted)
    assert read.column("unit_index").to_pylist() == [0, 1]
    assert read.column("result").to_pylist() == [{"text": "new"}, {"text": "old"}]
    assert read.column("verified")[1].as_py()["faults"] == ["cut"]
    (row,) = results.where("ocr", ["verified.ok"], ["unit_index"], ("unit_index", "verified"))
    assert row == {"unit_index": 1}
    write(log, "c", rows(2).set_column(0, "input_id", pa.array([7])))
    with pytest.raises(JobConflict, match="do not fit together"):
        View(store).publish("ocr", 0)
    write(log, "d", rows(2).set_column(0, "input_id", pa.array([7])), 2)
    View(store).publish("ocr", 2)
    with pytest.raises(JobConflict, match="do not fit together"):
        results.rows("ocr")


def test_the_audit_sees_what_is_missing_duplicate_and_unexpected(store: Store, log: PartLog, results: Results) -> None:
    assert audit(results, find("ocr"), chunks(0, 1)).missing == 2  # nothing written at all
    log.write("ocr", C, rows(0, 1))
    assert audit(results, find("ocr"), chunks(0, 1)).missing == 2  # nothing that readers see
    View(store).publish("ocr", 0)
    sound = audit(results, find("ocr"), chunks(0, 1))
    assert sound.complete
    assert (sound.planned, sound.rows, sound.ok) == (2, 2, 2)
    assert audit(results, find("ocr"), chunks(0, 1, 2)).missing == 1
    write(log, "d", rows(1, 3), slice_=1)  # where it should never be
    View(store).publish("ocr", 1)
    broken = audit(results, find("ocr"), chunks(0, 1))
    assert (broken.missing, broken.duplicate, broken.unexpected) == (0, 0, 2)
    assert not broken.complete


def test_the_audit_takes_no_row_of_before_for_one_that_was_planned_anew(
    store: Store, log: PartLog, results: Results
) -> None:
    log.write("ocr", C, rows(0, 1, 2))
    View(store).publish("ocr", 0)
    anew = audit(results, find("ocr"), chunks(0, 1, generation=1))  # of the input, which has a page less by now
    assert (anew.planned, anew.rows, anew.missing, anew.unexpected) == (2, 3, 2, 0)


def first_round(spec: dict[str, Any], tasks: dict[str, dict[str, Any]]) -> Round:
    return Round(0, "first", (0,), tasks, "2026-01-01T00:00:00+00:00", "somebody", spec)


def test_a_folder_is_a_jobs_of_one_layout_whatever_a_kill_left_of_its_spec(store: Store) -> None:
    folder = JobFolder(store)
    assert not folder.check()
    folder.claim()
    assert folder.check()
    with pytest.raises(SpecError, match="holds no job"):
        folder.spec()
    folder.add_round(first_round({"name": "n"}, {}))
    folder.write_spec({"name": "n"})
    store.delete("_job/spec.yaml")
    folder.claim()
    assert folder.spec() == {"name": "n"}
    with pytest.raises(JobConflict, match="by somebody else"):
        folder.add_round(first_round({"name": "another"}, {}))
    assert folder.spec() == {"name": "n"}
    store.delete("_job/identity.json")
    store.put_if_absent("_job/identity.json", f'{{"layout": {LAYOUT - 1}}}'.encode())
    for refused in (folder.claim, folder.check, folder.open):
        with pytest.raises(JobConflict, match=rf"by another version of sightread \(layout {LAYOUT - 1}, .*output"):
            refused()


def test_a_job_of_another_spec_is_refused_by_what_differs(store: Store, log: PartLog, tmp_path: Path) -> None:
    spec = {
        "name": "n", "inputs": [str(tmp_path)], "output": str(tmp_path / "out"),
        "tasks": [{"name": "ocr", "prompt": "Read."}],
        "engine": {"kind": "scripted", "recording": str(write_recording(tmp_path / "r.jsonl", {"reply": "a"}))},
    }  # fmt: skip
    job = prepare(parse(spec, "test"))
    there = [first_round({}, job.definitions)]
    other = prepare(parse(spec | {"tasks": [{"name": "ocr", "prompt": "Read all."}]}, "test"))
    log.write("ocr", C, rows(0))
    assert check_tasks(job, there, View(store), ()) == []
    with pytest.raises(
        JobConflict, match=r'of another ocr: ocr.prompt: "Read\." there, "Read all\." now; .*--redo ocr$'
    ):
        check_tasks(other, there, View(store), ())
    assert check_tasks(other, there, View(store), ["ocr"]) == ["ocr"]
    log.delete(log.last("ocr", C))
    assert check_tasks(other, there, View(store), ()) == ["ocr"]  # nothing was answered


def test_an_output_that_cannot_be_written_is_a_fault_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"output: .*file/out cannot be written: .*Not a directory"):
        JobFolder(store_at(str(tmp_path / "file" / "out"))).claim()


def test_a_file_that_is_none_of_ours_is_named(store: Store, log: PartLog, results: Results) -> None:
    log.write("ocr", C, rows(0))
    View(store).publish("ocr", 0)
    store.put_if_absent("results/task=ocr/part-00001.parquet", b"half a file")
    with pytest.raises(JobConflict, match=r"part-00001.parquet is no file of results"):
        results.rows("ocr")
    for read in (
        lambda: list(results.batches("ocr", ("status",))),
        lambda: results.rows("ocr", ("status",)).read_all(),
        lambda: audit(results, find("ocr"), chunks(0)),
    ):
        with pytest.raises(
            JobConflict, match=r"00001.parquet is no file of results: .* --repair` mends what is broken$"
        ):
            read()
    with pytest.raises(JobConflict, match=r"part-00001.parquet is not as sightread wrote it.*verify .* --repair"):
        View(store).committed("ocr")
    store.put_if_absent(PartName("ocr", chunk("b")).key, b"half a file")
    with pytest.raises(JobConflict, match=rf"{chunk('b')}.parquet is not a part"):
        log.read(log.last("ocr", chunk("b")))
    with pytest.raises(JobConflict, match=rf"{chunk('b')}.parquet is not a part"):
        View(store).publish("ocr", 0)
