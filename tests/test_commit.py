"""A part is written once, whole, whoever comes first."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.commit import Commit, part_path, sweep_temporaries, write_part
from pipelines.audit import audit
from pipelines.catalogue import find
from schemas import tables
from schemas.errors import JobConflict

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


def test_the_first_writer_wins_and_the_second_drops_its_own(tmp_path: Path) -> None:
    assert write_part(tmp_path, "ocr", "c", rows(0, 1, text="first")) == "committed"
    assert write_part(tmp_path, "ocr", "c", rows(0, 1, text="second")) == "duplicate"
    table = pq.read_table(part_path(tmp_path, "ocr", "c"), partitioning=None)
    assert table.schema.equals(SCHEMA)
    assert table.column("result").to_pylist() == [{"text": "first"}] * 2
    assert not list((tmp_path / "_job" / "tmp").iterdir())


def test_a_part_with_other_units_is_a_conflict_not_overwritten(tmp_path: Path) -> None:
    write_part(tmp_path, "ocr", "c", rows(0, 1))
    with pytest.raises(JobConflict, match="other units"):
        write_part(tmp_path, "ocr", "c", rows(0, 2))
    part_path(tmp_path, "ocr", "d").write_bytes(b"not parquet")
    with pytest.raises(JobConflict, match="not a part that sightread wrote"):
        write_part(tmp_path, "ocr", "d", rows(0))


def test_of_many_writers_at_once_exactly_one_commits(tmp_path: Path) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        outcomes.append(write_part(tmp_path, "ocr", "c", rows(0, 1, text=str(number))))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["committed"] + ["duplicate"] * 7
    assert pq.read_table(part_path(tmp_path, "ocr", "c"), partitioning=None).num_rows == 2


def test_a_full_disk_is_a_receipt_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(rows(0))
    answered = pa.Table.from_pylist(
        [{"chunk_id": "c", "task": "ocr", "rows": sink.getvalue().to_pybytes()}], schema=tables.ANSWERED
    )
    (receipt,) = Commit(tmp_path)(answered).to_pylist()
    assert receipt["outcome"] == "failed"
    assert "No space left" in receipt["message"]
    assert not part_path(tmp_path, "ocr", "c").exists()


def test_drafts_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    import socket

    dead = tmp_path / f"{socket.gethostname()}-{gone.stdout.strip()}-x.tmp"
    living = tmp_path / f"{socket.gethostname()}-{os.getpid()}-x.tmp"
    for path in (dead, living):
        path.write_bytes(b"x")
    sweep_temporaries(tmp_path)
    assert not dead.exists()
    assert living.exists()


def test_the_audit_sees_what_is_lost_doubled_and_stray(tmp_path: Path) -> None:
    assert audit(tmp_path, find("ocr"), chunks(0, 1)).missing == 2  # nothing written at all
    write_part(tmp_path, "ocr", "c", rows(0, 1))
    sound = audit(tmp_path, find("ocr"), chunks(0, 1))
    assert sound.complete
    assert (sound.planned, sound.rows, sound.ok) == (2, 2, 2)
    assert audit(tmp_path, find("ocr"), chunks(0, 1, 2)).missing == 1
    write_part(tmp_path, "ocr", "d", rows(1, 3))
    broken = audit(tmp_path, find("ocr"), chunks(0, 1))
    assert (broken.missing, broken.duplicate, broken.unexpected) == (0, 1, 1)
    assert not broken.complete
