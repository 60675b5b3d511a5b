"""Adding a task as docs/extending-task.md tells it: its file and its spec are all there is to write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import pipelines.tasks
from jobs.load import parse
from pipelines.catalogue import names
from pipelines.job import prepare
from pipelines.local import answer
from tests.support.checkout import Checkout
from tests.support.world import ROOT, write_image, write_recording

PAGE = (ROOT / "docs" / "extending-task.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file as if it lay in pipelines/tasks/."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "season.py").write_text(FILES["pipelines/tasks/season.py"], encoding="utf-8")
    monkeypatch.setattr(pipelines.tasks, "__path__", [*pipelines.tasks.__path__, str(folder)])


def rows(folder: Path, reply: str) -> list[dict[str, Any]]:
    spec = yaml.safe_load(FILES["jobs/specs/season.yaml"])
    recording = write_recording(folder / "replies.jsonl", {"sample": "*", "task": "season", "reply": reply})
    spec |= {
        "inputs": [str(write_image(folder / "a.png"))],
        "engine": {"kind": "scripted", "recording": str(recording)},
    }
    return list(answer(prepare(parse(spec, "test"))))


@pytest.mark.usefixtures("shipped")
def test_the_file_and_the_spec_are_enough(tmp_path: Path) -> None:
    assert sorted(FILES) == ["jobs/specs/season.yaml", "pipelines/tasks/season.py"]
    assert not [name for name in FILES if (ROOT / name).exists()]
    assert "season" in names()
    (row,) = rows(tmp_path, "It was taken in Winter, or in spring.")
    assert (row["status"], row["result"]) == ("ok", {"season": "winter"})


@pytest.mark.usefixtures("shipped")
def test_a_reply_that_it_cannot_read_is_a_row(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "At night.")
    assert (row["status"], row["error"]["message"]) == ("invalid_output", "the reply names no season")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy with the two new files, its spec with a scripted engine and a picture of its own."""
    checkout = Checkout(tmp_path / "checkout")
    for name, content in FILES.items():
        checkout.add(name, content)
    assert checkout.touched() == []
    folder = checkout.folder
    (folder / "photos").mkdir()
    write_image(folder / "photos" / "a.png")
    recording = write_recording(folder / "replies.jsonl", {"sample": "*", "task": "season", "reply": "Autumn."})
    spec = yaml.safe_load(FILES["jobs/specs/season.yaml"])
    spec |= {"engine": {"kind": "scripted", "recording": recording.name}}
    checkout.add("season.yaml", yaml.safe_dump(spec))
    return checkout


def test_a_checkout_with_both_files_lists_and_plans_it(checkout: Checkout) -> None:
    assert re.search(r"^season .*the season in which a picture was taken", checkout.sightread("tasks"), re.MULTILINE)
    assert "season" in checkout.sightread("plan", "season.yaml")


@pytest.mark.slow
def test_a_checkout_with_both_files_runs_it(checkout: Checkout) -> None:
    checkout.sightread("run", "season.yaml")
    (part,) = (checkout.folder / "out" / "season" / "results" / "task=season").glob("part-*.parquet")
    (row,) = pq.read_table(part, partitioning=None).to_pylist()
    assert (row["status"], row["result"]) == ("ok", {"season": "autumn"})
