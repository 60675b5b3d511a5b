"""What `sightread plan` says of an output that is there: what a run would do, without doing any of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.load import parse
from operators.media.probe import Probe
from operators.store.memory import MemoryStore
from operators.store.overlay import Overlay
from operators.store.store import Store
from pipelines.job import Job, prepare
from pipelines.outlook import outlook
from tests.test_growth import AGAIN, ASK, LOOK, Output, asked, names


def ahead(output: Output, *tasks: dict[str, Any]) -> tuple[dict[str, list[str]], dict[str, int]]:
    job: Job = prepare(parse(output.spec | {"tasks": list(tasks) or output.spec["tasks"]}, "spec"))
    there = outlook(job)
    return asked(there.work), {key: number for key, number in there.grown.items() if number}


def test_what_a_run_would_do_is_told_and_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(tmp_path)
    output.draw(*range(5))
    assert ahead(output) == ({"look": names(*range(5))}, {})
    assert not (tmp_path / "out" / "_job").exists()
    output.run(parts=1)
    output.draw(7)
    output.draw(0, width=9)
    (output.inputs / "1.png").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    probed: list[str] = []
    probe = Probe.__call__

    def counted(self: Probe, inputs: Any) -> Any:
        probed.extend(inputs.column("input_uri").to_pylist())
        return probe(self, inputs)

    monkeypatch.setattr(Probe, "__call__", counted)
    assert ahead(output) == ({"look": names(2, 3, 4, 7)}, {"new": 1, "changed": 1, "gone": 1})
    assert [os.path.basename(uri) for uri in probed] == ["7.png"]  # noqa: PTH119
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert output.run() == {"look": names(2, 3, 4, 7)}


def test_a_further_task_is_told(tmp_path: Path) -> None:
    output = Output(tmp_path)
    output.ask("why", "how")
    output.run()
    assert ahead(output, ASK, AGAIN) == ({"again": ["0", "1"]}, {})
    assert LOOK["name"] not in ahead(output, ASK)[0]


Keys = st.sampled_from(["a", "b/c", "b/d"])
Step = st.tuples(st.sampled_from(["put", "replace", "stale", "delete"]), Keys, st.binary(max_size=3))


@settings(max_examples=100, deadline=None)
@given(under=st.dictionaries(Keys, st.binary(max_size=3)), steps=st.lists(Step, max_size=8))
def test_an_overlay_is_as_the_store_would_be(under: dict[str, bytes], steps: list[Any]) -> None:
    below, plain = (MemoryStore(f"memory://{id(under)}-{name}") for name in ("below", "plain"))
    for store in (below, plain):
        for key in store.list():
            store.delete(key)
        for key, data in under.items():
            store.put_if_absent(key, data)
    overlay = Overlay(below)
    for verb, key, data in steps:
        told = [_done(store, verb, key, data) for store in (overlay, plain)]
        assert told[0] == told[1]
        assert _all(overlay) == _all(plain)
    assert _all(below) == under


def _done(store: Store, verb: str, key: str, data: bytes) -> bool | None:
    there = store.stat(key)
    verbs: dict[str, Callable[[], bool | None]] = {
        "put": lambda: store.put_if_absent(key, data),
        "replace": lambda: there is not None and store.replace_if_same(key, data, there.version),
        "stale": lambda: store.replace_if_same(key, data, "of before"),
        "delete": lambda: store.delete(key),
    }
    return verbs[verb]()


def _all(store: Store) -> dict[str, bytes]:
    return {key: store.open(key).read() for key in store.list()}
