"""Two recordings compared, on Parquet of a few rows written here: what counts as the same, and what is printed."""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.checkout import ROOT

SCRIPT = ROOT / "scripts" / "same-answers"
compare = runpy.run_path(str(SCRIPT))["main"]
STATUS = {0: "ok", 1: "engine_failed"}


def row(unit: int, **other: Any) -> dict[str, Any]:
    return {
        "input_id": "a" * 16,
        "unit_index": unit,
        "request_index": 0,
        "status": STATUS.get(unit, "ok"),
        "error": {"stage": "ask", "kind": "engine_error"} if unit == 1 else None,
        "result": {"text": f"page {unit}", "score": float("nan")},
        "verified": {"ok": True, "trial": {"outcome": "shown"}},
        "infer_s": 0.5,
        "version": "0.1.0",
        "model": "scripted",
        **other,
    }


def write(folder: Path, *rows: dict[str, Any], task: str = "ocr", job: str = "job") -> Path:
    """A recording of one job, in parts of two rows."""
    place = folder / job / "results" / f"task={task}"
    place.mkdir(parents=True, exist_ok=True)
    whole = pa.Table.from_pylist(list(rows))
    for start in range(0, len(rows), 2):
        pq.write_table(whole.slice(start, 2), place / f"part-{start}.parquet")
    return folder


def same(*arguments: Path | str, code: int) -> list[str]:
    """Lines that the script prints. In this process: a start of its own costs a second each."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            ended = compare([str(argument) for argument in arguments])
        except SystemExit as error:
            ended = error.code
    assert ended == code, printed.getvalue()
    return printed.getvalue().splitlines()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write(tmp_path / "old", row(0), row(1), row(2))


def test_the_same_in_another_order_and_at_another_pace(old: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", row(2, infer_s=9.0, version="0.2.0"), row(0), row(1))
    assert same(old, new, code=0) == ["3 rows of 1 tasks equal, 0 differences"]
    assert same(old / "job", new / "job", code=0) == ["3 rows of 1 tasks equal, 0 differences"]


def test_the_id_of_a_chunk_says_more_by_now(tmp_path: Path) -> None:
    units, others = "9f86d081884c7d65", "0123456789abcdef"
    old = write(tmp_path / "old", row(0, chunk_id=units))
    new = write(tmp_path / "new", row(0, chunk_id=f"00000-0000-{units}", generation=0, attempt=1))
    assert same(old, new, code=0) == ["1 rows of 1 tasks equal, 0 differences"]
    for place, chunk_id in enumerate((f"00000-0000-{others}", others, f"00001-0000-{units}")):
        other = write(tmp_path / f"{place}", row(0, chunk_id=chunk_id, generation=0, attempt=1))
        same([old, new][place == 2], other, code=1)


def test_known_renames_and_additions(old: Path, tmp_path: Path) -> None:
    rows = [row(unit, verified={"ok": True, "code_check": {"outcome": "shown"}}, media="pdf") for unit in range(3)]
    rows[1]["error"]["stage"] = "infer"
    new = write(tmp_path / "new", *rows)
    assert same(old, new, code=0) == ["3 rows of 1 tasks equal, 0 differences"]
    rows[0]["verified"]["code_check"]["outcome"] = "timeout"
    new = write(tmp_path / "newer", *rows)
    line, _ = same(old, new, code=1)
    assert line.endswith("unit 0 request 0: verified.code_check.outcome: 'shown' against 'timeout'")
    # what was removed is not an addition
    assert "job/ocr: column media: only in OLD" in same(new, old, code=1)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"result": {"text": "page 9", "score": float("nan")}}, "result.text: 'page 0' against 'page 9'"),
        ({"result": None}, "result: {'text': 'page 0', 'score': nan} against None"),
        ({"status": "invalid_output"}, "status: 'ok' against 'invalid_output'"),
        ({"model": "other"}, "model: 'scripted' against 'other'"),
        ({"model": "scripted" * 90}, f"model: 'scripted' against 'scripted{('scripted' * 90)[8:119]} …"),
    ],
)
def test_a_changed_answer(old: Path, tmp_path: Path, changed: dict[str, Any], difference: str) -> None:
    new = write(tmp_path / "new", row(0, **changed), row(1), row(2))
    assert same(old, new, code=1) == [
        f"job/ocr: input {'a' * 16} unit 0 request 0: {difference}",
        "2 rows of 1 tasks equal, 1 differences",
    ]


def test_a_difference_far_down_a_long_answer_is_shown(tmp_path: Path) -> None:
    old, new = (write(tmp_path / end, row(0, text="." * 999 + end)) for end in ("old", "new"))
    line, _ = same(old, new, code=1)
    assert line.endswith(f"text: … {'.' * 40}old' against … {'.' * 40}new'")


def test_rows_tasks_and_jobs_that_are_missing_or_too_many(old: Path, tmp_path: Path) -> None:
    unexpected = row(3, error={"stage": "decode", "kind": "crashed"})
    new = write(tmp_path / "new", row(0), row(2), unexpected, unexpected)
    assert same(old, new, code=1) == [
        f"job/ocr: input {'a' * 16} unit 3 request 0: twice in NEW",
        f"job/ocr: input {'a' * 16} unit 1 request 0: only in OLD",
        f"job/ocr: input {'a' * 16} unit 3 request 0: only in NEW",
        "2 rows of 1 tasks equal, 3 differences",
    ]
    more = write(write(tmp_path / "more", row(0), row(1), row(2)), row(0), task="caption")
    assert same(old, more, code=1)[0] == "job/caption: only in NEW"
    assert same(more, old, code=1)[0] == "job/caption: only in OLD"
    assert same(old, write(tmp_path / "other", row(0), job="other"), code=1)[:2] == [
        "job/ocr: only in OLD",
        "other/ocr: only in NEW",
    ]


def test_a_column_of_another_type(old: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", *(row(unit, unit_index=unit, infer_s=1, model=b"scripted") for unit in range(3)))
    assert "job/ocr: column model: 'string' against 'binary'" in same(old, new, code=1)


def test_what_many_rows_have_alike_is_told_once(tmp_path: Path) -> None:
    old = write(tmp_path / "old", *(row(unit) for unit in range(30)))
    new = write(tmp_path / "new", *(row(unit, model="m") for unit in range(30)))
    assert same(old, new, code=1) == [
        f"job/ocr: input {'a' * 16} unit 0 request 0: model: 'scripted' against 'm' (and 29 more like it)",
        "0 rows of 1 tasks equal, 30 differences",
    ]
    other = write(tmp_path / "other", *(row(unit, model=f"m{unit}") for unit in range(30)))
    assert same(old, other, code=1)[20:] == [
        "and 10 more kinds of differences",
        "0 rows of 1 tasks equal, 30 differences",
    ]


def test_a_column_that_is_left_out_by_name(old: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new", *(row(unit, model="other", status=["ok"]) for unit in range(3)))
    assert same(old, new, "--except", "model", "--except", "status", code=0) == [
        "3 rows of 1 tasks equal, 0 differences"
    ]
    assert "model: 'scripted' against 'other'" in "".join(same(old, new, "--except", "status", code=1))
    new = write(tmp_path / "newer", *(row(unit, spec_sha256="0") for unit in range(3)))
    for pair in ((old, new), (new, old)):
        assert same(*pair, "--except", "spec_sha256", code=0) == ["3 rows of 1 tasks equal, 0 differences"]
    same(old, new, "--except", "unit_index", code=2)


def test_nothing_to_compare(old: Path, tmp_path: Path) -> None:
    same(old, code=2)
    same(old, tmp_path / "nowhere", code=2)


def test_the_script_itself(old: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), str(old), str(old)], capture_output=True, text=True, check=True)
    assert done.stdout == "3 rows of 1 tasks equal, 0 differences\n"
