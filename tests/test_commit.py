"""A part is written once, whole, whoever comes first."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.commit import Commit
from operators.store.addresses import store_at
from operators.store.results import Results
from operators.store.store import Store
from pipelines.catalogue import find
from pipelines.folder import JobFolder
from pipelines.summary.audit import audit
from schemas import tables
from schemas.errors import JobConflict, SpecError
from tests.support.faulty_proxy import FaultyProxy

SCHEMA = tables.results_schema(pa.struct([("text", pa.string())]), [pa.field("shelf", pa.int64())])


def rows(*unit_indices: int, text: str = "a", input_id: str = "i") -> pa.Table:
    plain = {
        "input_id": input_id, "input_uri": "/i.pdf", "unit_count": 9, "unit_kind": "page", "request_index": 0,
        "shelf": 7, "status": "ok", "result": {"text": text}, "prompt_tokens": 1, "output_tokens": 2,
        "decode_s": 0.1, "infer_s": 0.2, "chunk_id": "c", "job": "j", "model": "m", "weights_sha256": "",
        "prompt_sha256": "", "spec_sha256": "", "version": "0",
    }  # fmt: skip
    return pa.Table.from_pylist([{**plain, "unit_index": index} for index in unit_indices], schema=SCHEMA)


def chunks(*unit_indices: int) -> pa.Table:
    units = [{"input_id": "i", "unit_index": index} for index in unit_indices]
    return pa.Table.from_pylist([{"chunk_id": "c", "tasks": ["ocr"], "units": units}], schema=tables.CHUNKS)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_at(str(tmp_path / "out") if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def results(store: Store) -> Results:
    return Results(store)


def test_parts_elsewhere_are_read_several_at_once(proxy: FaultyProxy) -> None:
    results = Results.at(f"{proxy.new_bucket()}/out")
    names = [f"{number:02}" for number in range(20)]
    for name in names:
        results.write_part("ocr", name, rows(0, 1, input_id=name))
    proxy.faults(delay_s=0.05)
    proxy.counts(anew=True)
    assert results.rows("ocr", ("input_id",)).read_all().column(0).to_pylist() == [n for n in names for _ in range(2)]
    assert proxy.counts().most_at_once > 4


def test_the_first_writer_wins_and_the_second_drops_its_own(results: Results) -> None:
    assert results.write_part("ocr", "c", rows(0, 1, text="first")) == "committed"
    assert results.write_part("ocr", "c", rows(0, 1, text="second")) == "duplicate"
    table = results.read_part("ocr", "c").rows
    assert table.schema.equals(SCHEMA)
    assert table.column("result").to_pylist() == [{"text": "first"}] * 2
    assert (results.tasks(), results.parts("ocr"), results.parts("caption")) == (["ocr"], ["c"], [])


def test_a_part_is_a_file_for_every_reader_of_parquet(tmp_path: Path) -> None:
    results = Results(store_at(str(tmp_path)))
    results.write_part("ocr", "c", rows(0, 1))
    assert pq.read_table(tmp_path / "results" / "task=ocr" / "part-c.parquet", partitioning=None).num_rows == 2
    assert results.pattern("ocr") == f"{tmp_path}/results/task=ocr/*.parquet"
    assert not list((tmp_path / "_job" / "tmp").iterdir())


def test_a_part_with_other_units_is_a_conflict_not_overwritten(store: Store, results: Results) -> None:
    results.write_part("ocr", "c", rows(0, 1))
    with pytest.raises(JobConflict, match="other units"):
        results.write_part("ocr", "c", rows(0, 2))
    with pytest.raises(JobConflict, match="other units"):
        results.replace_part(results.read_part("ocr", "c"), rows(0, 2))
    store.put_if_absent("results/task=ocr/part-d.parquet", b"not parquet")
    with pytest.raises(JobConflict, match="not a part that sightread wrote"):
        results.write_part("ocr", "d", rows(0))


def test_a_part_that_was_replaced_meanwhile_is_not_replaced_again(results: Results) -> None:
    results.write_part("ocr", "c", rows(0, text="a"))
    one, other = results.read_part("ocr", "c"), results.read_part("ocr", "c")
    results.replace_part(one, rows(0, text="b"))
    with pytest.raises(JobConflict, match="replaced by someone else"):
        results.replace_part(other, rows(0, text="c"))
    assert results.read_part("ocr", "c").rows.column("result").to_pylist() == [{"text": "b"}]


def test_of_many_writers_at_once_exactly_one_commits(results: Results) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        outcomes.append(results.write_part("ocr", "c", rows(0, 1, text=str(number))))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["committed"] + ["duplicate"] * 7
    assert results.read_part("ocr", "c").rows.num_rows == 2


def test_a_full_disk_is_a_receipt_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(rows(0))
    answered = pa.Table.from_pylist(
        [{"chunk_id": "c", "task": "ocr", "rows": sink.getvalue().to_pybytes()}], schema=tables.ANSWERED
    )
    (receipt,) = Commit(str(tmp_path))(answered).to_pylist()
    assert receipt["outcome"] == "refused"
    assert "No space left" in receipt["message"]
    assert store_at(str(tmp_path)).list() == []
    assert not list((tmp_path / "_job" / "tmp").iterdir())


def test_parts_of_an_older_version_are_read_beside_new_ones(results: Results) -> None:
    """Without a column, without a field of a struct, and with one that is gone."""
    results.write_part("ocr", "b", rows(0, text="new"))
    old = rows(1, text="old").drop_columns(["reasoning_tokens", "verified"])
    verified = pa.array([{"ok": True, "trial": "x", "faults": ["cut"]}])
    results.write_part("ocr", "a", old.append_column("verified", verified))
    wanted = ("unit_index", "reasoning_tokens", "verified", "shelf", "result")
    read = results.rows("ocr", wanted).read_all()
    assert read.schema.names == list(wanted)
    assert read.column("unit_index").to_pylist() == [1, 0]
    assert read.column("result").to_pylist() == [{"text": "old"}, {"text": "new"}]
    assert read.column("verified")[0].as_py()["faults"] == ["cut"]
    (row,) = results.query(
        "ocr", "select max(unit_index) as n from results where verified.ok", ("unit_index", "verified")
    )
    assert row == {"n": 1}
    results.write_part("ocr", "c", rows(2).set_column(0, "input_id", pa.array([7])))
    with pytest.raises(JobConflict, match="do not fit together"):
        results.rows("ocr")


def test_the_audit_sees_what_is_missing_duplicate_and_unexpected(results: Results) -> None:
    assert audit(results, find("ocr"), chunks(0, 1)).missing == 2  # nothing written at all
    results.write_part("ocr", "c", rows(0, 1))
    sound = audit(results, find("ocr"), chunks(0, 1))
    assert sound.complete
    assert (sound.planned, sound.rows, sound.ok) == (2, 2, 2)
    assert audit(results, find("ocr"), chunks(0, 1, 2)).missing == 1
    results.write_part("ocr", "d", rows(1, 3))
    broken = audit(results, find("ocr"), chunks(0, 1))
    assert (broken.missing, broken.duplicate, broken.unexpected) == (0, 1, 1)
    assert not broken.complete


def test_a_folder_is_one_jobs_of_one_layout_whatever_a_kill_left_of_its_spec(store: Store) -> None:
    folder = JobFolder(store)
    folder.claim({"a": 1, "layout": 2}, {"name": "n"})
    store.delete("_job/spec.yaml")
    folder.claim({"a": 1, "layout": 2}, {"name": "n"})
    assert folder.spec() == {"name": "n"}
    with pytest.raises(JobConflict, match=r"of another spec[^$]*a: 1 there, 2 now"):
        folder.claim({"a": 2, "layout": 2}, {"name": "n"})
    with pytest.raises(JobConflict, match="by another version"):
        folder.claim({"a": 2, "layout": 3}, {"name": "n"})


def test_an_output_that_cannot_be_written_is_a_fault_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"output: .*file/out cannot be written: .*Not a directory"):
        JobFolder(store_at(str(tmp_path / "file" / "out"))).claim({}, {})


def test_a_file_that_is_no_part_is_named(store: Store, results: Results) -> None:
    results.write_part("ocr", "a", rows(0))
    store.put_if_absent("results/task=ocr/part-b.parquet", b"half a file")
    with pytest.raises(JobConflict, match=r"part-b.parquet is not a part"):
        results.rows("ocr")
    with pytest.raises(JobConflict, match=r"parts of ocr cannot be read: .*not a parquet file\.$"):
        list(results.query("ocr", "select * from results", ("status",)))
    with pytest.raises(JobConflict, match=r"parts of ocr cannot be read: .*not a parquet file\.$"):
        audit(results, find("ocr"), chunks(0))
