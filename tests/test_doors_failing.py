"""Failure is loud and costs little: a store that takes nothing more, and an engine that always fails, end a run early
with one line; the same command goes on."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.cli import main
from operators.commit import count, error_of
from operators.store.memory import MemoryStore
from operators.store.part_log import PartLog
from operators.store.results import Results
from operators.store.view import View
from pipelines.first_rows import ENOUGH, FirstRows, take_out
from schemas import tables
from schemas.errors import AllFailed
from tests.support.parts import chunk
from tests.support.world import World, write_recording

SCHEMA = tables.results_schema(pa.struct([("text", pa.string())]), [])


def rows(name: str, *outcomes: tuple[str, str, str]) -> pa.Table:
    """outcomes: status, kind and message of each row."""
    plain = {
        "input_uri": "/i.pdf", "unit_count": 9, "unit_kind": "page", "request_index": 0,
        "prompt_tokens": 1, "output_tokens": 2, "decode_s": 0.1, "infer_s": 0.2, "generation": 0, "attempt": 1,
        "chunk_id": chunk(name), "job": "j", "model": "m", "weights_sha256": "", "prompt_sha256": "",
        "spec_sha256": "", "version": "0",
    }  # fmt: skip
    values = [
        {
            **plain,
            "input_id": name,
            "unit_index": index,
            "status": status,
            "error": {"stage": "infer", "kind": kind, "message": message, "attempts": 1} if kind else None,
        }
        for index, (status, kind, message) in enumerate(outcomes)
    ]
    return pa.Table.from_pylist(values, schema=SCHEMA)


OK = ("ok", "", "")
GONE = ("unreadable_input", "not_found", "there is no such file")
DEAD = ("engine_failed", "crashed", "the engine ended with signal 11 (pid 4711) over 'a.pdf'")
DEAD_TOO = ("engine_failed", "crashed", "the engine ended with signal 11 (pid 12) over 'it is b.pdf'")
CUT = ("invalid_output", "unparsable", "$.a: 'x' is not of type 'integer'")


def receipt(*outcomes: tuple[str, str, str]) -> dict[str, Any]:
    return {"outcome": "committed", **count(rows("c", *outcomes))}


@pytest.mark.parametrize(
    ("receipts", "stops"),
    [
        ([[DEAD] * 50], True),
        ([[DEAD] * 49], False),
        ([[DEAD] * 32, [DEAD_TOO] * 18], True),  # names and numbers make no other error
        ([[CUT] * 32, [CUT] * 32], True),
        ([[DEAD] * 32, [CUT], [DEAD] * 32], False),
        ([[DEAD] * 32, [OK], [DEAD] * 99], False),
        ([[OK], [DEAD] * 99, [DEAD] * 99], False),
        ([[GONE] * 99, [GONE] * 99], False),  # nobody was asked
        ([[GONE] * 49 + [DEAD]], False),
        ([[GONE, DEAD] * 25, [GONE, DEAD] * 25], True),
        ([[DEAD] * 32, [], [GONE], [DEAD] * 32], True),
    ],
)
def test_only_rows_that_were_asked_and_all_failed_with_one_error_end_a_run(
    receipts: list[list[tuple[str, str, str]]], stops: bool
) -> None:
    first = FirstRows()
    *before, last = receipts
    for outcomes in before:
        first.receipt(receipt(*outcomes))
    with pytest.raises(AllFailed, match=r"signal 11|is not of type") if stops else nullcontext():
        first.receipt(receipt(*last))


def test_what_ray_did_twice_counts_once() -> None:
    first = FirstRows()
    for outcome in ("committed", "duplicate", "duplicate"):
        first.receipt({**receipt(*[DEAD] * 32), "outcome": outcome})
    with pytest.raises(AllFailed):
        first.receipt(receipt(*[DEAD] * 18))


@pytest.mark.parametrize("published", [True, False])
def test_what_is_taken_out_again_are_parts_of_that_error_alone(published: bool) -> None:
    store = MemoryStore(f"memory://taken-out-{published}")
    log, view = PartLog(store), View(store)
    parts = {
        "all": [DEAD] * 3,
        "others": [DEAD_TOO, GONE],
        "mixed": [DEAD, OK],
        "another": [CUT, CUT],
        "unread": [GONE],
        "before": [DEAD],
    }
    for name, outcomes in parts.items():
        log.write("ocr", chunk(name), rows(name, *outcomes))
    if published:
        view.publish("ocr", 0)
    status, kind, message = DEAD
    pending = [("ocr", chunk(name)) for name in (*(parts.keys() - {"before"}), "not committed")]
    assert take_out(log, view, pending, error_of(status, "infer", kind, message)) == 2
    left = {"mixed", "another", "unread", "before"}
    assert set(log.parts("ocr")) == view.committed("ocr") == set(map(chunk, left))
    view.publish("ocr", 0)
    assert set(Results(store).rows("ocr", ["input_id"]).read_all().column(0).to_pylist()) == left


# whole runs, without Ray


def write_spec(folder: Path, texts: int, output: Path, **changes: Any) -> str:
    """Of a job about as many texts, two to a chunk. The recording answers, and keeps a list of what was asked."""
    (folder / "t.csv").write_text("question\n" + "".join(f"why {number}\n" for number in range(texts)))
    asked = {"asked_log": str(folder / "asked")}
    lines = [{"reply": "because", **asked}]
    # until somebody makes the folder that the link leads into, a fault is what is answered
    (folder / "well").symlink_to(folder / "made" / "well")
    lines += [{"sample": "*", "reply": "", "fault": "error", "once": str(folder / "well"), **asked}]
    write_recording(folder / "broken.jsonl", *lines)
    write_recording(folder / "r.jsonl", *lines[:1])
    spec = {
        "name": "n", "inputs": [str(folder / "t.csv")], "tasks": [{"name": "text", "prompt": "{question}"}],
        "output": str(output), "engine": {"kind": "scripted", "recording": str(folder / "r.jsonl")},
        "limits": {"chunk_units": 2},
    } | changes  # fmt: skip
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def parts_of(output: Path) -> list[Path]:
    return list((output / "_job/parts").rglob("*.parquet"))


def nothing_is_kept(output: Path) -> bool:
    """No part, and no row that readers see."""
    rows = [pq.read_metadata(path).num_rows for path in (output / "results").rglob("*.parquet")]
    return not parts_of(output) and not sum(rows)


def asked(folder: Path) -> int:
    return (folder / "asked").read_text().count("\n") if (folder / "asked").exists() else 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_the_first_refusal_of_the_store_ends_the_run(
    in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    spec = write_spec(in_process, 40, in_process / "out")
    real = os.fsync

    def refused(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().suffix == ".tmp" and len(parts_of(in_process / "out")) >= 3:
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", refused)
    assert main(["run", spec]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert os.strerror(number) in printed.err
    assert "6 of 40 rows are committed, and the same command again goes on" in printed.err
    assert asked(in_process) == 8  # and not 40
    assert not list((in_process / "out/_job/tmp").iterdir())
    assert len(parts_of(in_process / "out")) == 3
    monkeypatch.setattr(os, "fsync", real)
    assert main(["run", spec]) == 0
    assert asked(in_process) == 8 + 34


def test_rows_that_all_fail_alike_end_the_run_and_are_asked_again(
    in_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(
        *(in_process, 120, in_process / "out"),
        engine={"kind": "scripted", "recording": str(in_process / "broken.jsonl")},
    )
    assert main(["run", spec]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert f"all of the first {ENOUGH} rows that were asked failed with one error" in printed.err
    assert "(engine_failed: internal: FileNotFoundError" in printed.err
    assert "the same command asks again" in printed.err
    assert asked(in_process) == ENOUGH
    assert nothing_is_kept(in_process / "out")
    (in_process / "made").mkdir()
    (in_process / "well").touch()
    assert main(["run", spec]) == 0
    assert asked(in_process) == ENOUGH + 120


@pytest.mark.parametrize(("number", "limit"), [(ENOUGH - 2, None), (120, 10)])
def test_a_smaller_job_runs_to_its_end_and_exits_3(
    in_process: Path, capsys: pytest.CaptureFixture[str], number: int, limit: int | None
) -> None:
    spec = write_spec(
        *(in_process, number, in_process / "out"),
        engine={"kind": "scripted", "recording": str(in_process / "broken.jsonl")},
    )
    assert main(["run", spec, *(["--limit", str(limit)] if limit else [])]) == 3
    assert (
        "100.0% of the rows failed and 0.0% are doubtful: more than limits.max_failed_fraction"
        in capsys.readouterr().out
    )
    assert asked(in_process) == limit or number


def test_who_lets_all_rows_fail_is_not_stopped(in_process: Path) -> None:
    spec = write_spec(
        *(in_process, 120, in_process / "out"),
        engine={"kind": "scripted", "recording": str(in_process / "broken.jsonl")},
        limits={"max_failed_fraction": 1},
    )
    assert main(["run", spec]) == 0
    assert asked(in_process) == 120


def test_a_limit_beyond_the_first_rows_stops_at_them(in_process: Path) -> None:
    spec = write_spec(
        *(in_process, 120, in_process / "out"),
        engine={"kind": "scripted", "recording": str(in_process / "broken.jsonl")},
    )
    assert main(["run", spec, "--limit", "100"]) == 1
    assert asked(in_process) == ENOUGH


def test_replies_of_no_use_end_the_run_too(in_process: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    task = {"name": "mine", "prompt": "{question}", "units": ["text"], "output": schema}
    spec = write_spec(in_process, 120, in_process / "out", tasks=[task])
    assert main(["run", spec]) == 1
    assert "invalid_output: unparsable: " in capsys.readouterr().err
    assert asked(in_process) == ENOUGH
    assert nothing_is_kept(in_process / "out")


def test_half_of_the_rows_may_fail_unless_a_spec_says_otherwise(
    in_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(in_process, 2, in_process / "out", inputs=[str(in_process / "t.csv"), str(in_process / "gone")])
    write_recording(in_process / "r.jsonl", {"reply": "because"})
    assert main(["run", spec]) == 0  # a file that is gone is no text
    loud = yaml.safe_load(Path(spec).read_text())
    loud |= {"output": "loud", "tasks": ["ocr"], "inputs": ["gone.png", "gone too.png"]}
    Path(spec).write_text(yaml.safe_dump(loud))
    assert main(["run", spec]) == 3
    loud["limits"] = {"max_failed_fraction": 1}
    Path(spec).write_text(yaml.safe_dump(loud | {"output": "quiet"}))
    assert main(["run", spec]) == 0


def test_a_summary_that_cannot_be_written_is_told(
    in_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipelines.folder.JobFolder.write_summary", full)
    assert main(["run", write_spec(in_process, 2, in_process / "out")]) == 1
    assert "not committed: the summary: [Errno 28] No space left on device" in capsys.readouterr().out


# with Ray


@pytest.mark.slow
def test_a_disk_that_fills_up_is_asked_no_more(
    world: World, small_disk: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    inputs = amount(200, 2000)
    spec = write_spec(world.folder, inputs, small_disk / "out")
    write_recording(
        world.folder / "r.jsonl", {"reply": "because", "delay_s": 0.2, "asked_log": str(world.folder / "asked")}
    )
    printed = world.run("run", spec, code=1)
    assert "Traceback" not in printed
    assert "No space left on device" in printed.splitlines()[-1]
    assert "the same command again goes on" in printed.splitlines()[-1]
    world.nothing_left()
    before = asked(world.folder)
    assert before < inputs
    assert not list((small_disk / "out/_job/tmp").iterdir())
    figure(f"a full disk: {before} of {inputs} requests were asked")
    if inputs < 2000:
        return  # going on is tried above, without Ray
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert f"{inputs} of {inputs}" in world.run("run", spec)
    assert asked(world.folder) <= before + inputs


@pytest.mark.slow
def test_an_engine_that_always_fails_ends_a_run_on_ray(
    world: World, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    inputs = amount(600, 3000)
    spec = write_spec(
        *(world.folder, inputs, world.output),
        engine={"kind": "scripted", "recording": str(world.folder / "broken.jsonl")},
    )
    printed = world.run("run", spec, code=1)
    assert "Traceback" not in printed
    assert "rows that were asked failed with one error" in printed.splitlines()[-1]
    before = asked(world.folder)
    assert before < inputs
    assert nothing_is_kept(world.output)
    figure(f"an engine that always fails: {before} of {inputs} requests were asked")
    if inputs < 3000:
        return
    (world.folder / "made").mkdir()
    (world.folder / "well").touch()
    assert f"{inputs} of {inputs}" in world.run("run", spec)
