"""docs/status.md names every key of `status --json` and of the progress, and every kind of event."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from operators.store.addresses import store_at
from operators.store.lease import LeaseGuard
from pipelines import journal, status
from pipelines.event_log import read_progress
from tests.support.world import ROOT

PAGE = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z_ ]+)`", PAGE))
KINDS = re.compile(r'_event\("([a-z ]+)"|_count\((?:"\w+"|\w+|\([^)]*\)), "([a-z ]+)"')


@pytest.mark.parametrize("name", ["Status", "TaskStatus", "RoundStatus", "Units", "Rows", "Files"])
def test_every_key_of_the_status_is_named(name: str) -> None:
    assert {field.name for field in fields(getattr(status, name))} - NAMED == set()


def test_every_key_of_the_progress_is_named(tmp_path: Path) -> None:
    store = store_at(f"{tmp_path}/out")
    with journal.Journal(store, LeaseGuard(store.address, ""), name="j", workers=1):
        pass
    progress = read_progress(store)
    assert progress is not None
    assert json.dumps(progress)
    assert {key.removesuffix("_run") for key in progress} - NAMED == set()


def test_every_kind_of_event_is_named() -> None:
    source = (ROOT / "pipelines" / "journal.py").read_text(encoding="utf-8")
    kinds = {event or counted for event, counted in KINDS.findall(source)}
    assert {"run began", "engine died", "rows failed", "store asked again"} <= kinds
    assert kinds - NAMED == set()
