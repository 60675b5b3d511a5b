"""Replies are read again by several processes as by one, and nothing of them is left when that ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.load import parse_stored_all
from operators.store.addresses import store_at
from operators.store.part_log import PartLog
from operators.store.results import Results
from operators.store.store import Store
from pipelines import reparse_pool
from pipelines.folder import JobFolder
from pipelines.reparse import Reparsed, reparse
from schemas.checkout import ROOT
from schemas.errors import ChildDied, JobConflict
from tests.support import large_output
from tests.support.large_output import TASK


def again(store: Store, workers: int, progress: Callable[[int, int], None] = lambda done, total: None) -> Reparsed:
    (total,) = reparse(store, parse_stored_all(JobFolder(store).specs(), "test"), workers, progress)
    return total


def rows_of(store: Store) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Results(store).rows(TASK.name).read_all().to_pylist()
    return rows


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Of three slices, whose results are not those that the parser of today makes."""
    large_output.write(store_at(f"{tmp_path}/out"), 120, of_slice=40, characters=40, log=True)
    return tmp_path / "out"


def test_the_same_rows_come_of_any_number_of_workers(output: Path) -> None:
    before = rows_of(store_at(str(output)))
    totals, rows = [], []
    for workers in (1, 2):
        copy = output.with_name(f"by-{workers}")
        shutil.copytree(output, copy)
        shown: list[tuple[int, int]] = []
        totals.append(again(store_at(str(copy)), workers, lambda done, total, shown=shown: shown.append((done, total))))  # type: ignore[misc]
        assert shown == [(1, 3), (2, 3), (3, 3)]
        rows.append(rows_of(store_at(str(copy))))
    states = {"ok": 0, "unsure": 118, "doubtful": 0, "failed": 2}  # two, which the engine failed at
    assert totals[0] == totals[1] == Reparsed(TASK.name, 120, 118, 0, states, states)
    assert rows[0] == rows[1]
    assert len(rows[0]) == len(before)
    assert rows[0] != before


def test_what_a_worker_meets_is_told_as_by_one(output: Path) -> None:
    store = store_at(str(output))
    name = max(PartLog(store).parts(TASK.name).values(), key=lambda name: name.chunk_id)
    store.delete(name.key)
    store.put_if_absent(name.key, b"half a part")
    for workers in (1, 2):
        with pytest.raises(JobConflict, match=f"{name.chunk_id}.parquet is not a part that sightread wrote"):
            again(store, workers)
    assert not children()


def test_a_worker_that_dies_ends_it(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = reparse_pool.spawn

    def killed(*arguments: Any, **options: Any) -> Any:
        child = spawn(*arguments, **options)
        os.kill(child.pid, signal.SIGKILL)
        return child

    monkeypatch.setattr(reparse_pool, "spawn", killed)
    with pytest.raises(ChildDied, match=r"reparse [12] died by SIGKILL"):
        again(store_at(str(output)), 2)
    assert not children()


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_the_same_command_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "out"
    large_output.write(store_at(str(output)), 1600, of_slice=400, log=True)
    command = [sys.executable, "-m", "jobs.cli", "reparse", str(output), "--workers", "2"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not list((output / "_job/parts").rglob("*.r00001.parquet")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read().splitlines() == ["sightread: ended by SIGINT"]
    for _ in range(100):
        if not children():
            break
        time.sleep(0.05)
    assert not children()
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("parse_document: 1600 rows, ")
    assert again(store_at(str(output)), 1).changed == 0


def children() -> list[str]:
    """Command lines of workers."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "pipelines.reparse_child" in line:
            lines.append(line)
    return lines
