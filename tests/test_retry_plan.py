"""What a retry asks for is what was chosen: each row once, beside the rows of its input, one attempt more."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.load import parse
from operators.store.addresses import store_at
from operators.store.chunk_id import ChunkId
from operators.store.view import View
from pipelines.folder import JobFolder
from pipelines.job import Job, prepare
from pipelines.manifests import Manifests
from pipelines.planner import plan_work
from pipelines.planning import cut_table
from pipelines.progress import Progress
from pipelines.retry_plan import Rows, add_rounds, plan_again
from pipelines.rounds import Round
from schemas import tables
from tests.support.world import write_recording

NAMES = ("shows", "names")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("job")
    recording = write_recording(folder / "replies.jsonl", {"reply": "yes"})
    output = {"type": "object", "properties": {"text": {"type": "string"}}}
    tasks = [{"name": name, "units": ["page"], "prompt": "What?", "output": output} for name in NAMES]
    engine = {"kind": "scripted", "recording": str(recording)}
    spec = {"name": "test", "inputs": ["in"], "tasks": tasks, "engine": engine, "output": "/nowhere"}
    return prepare(parse({**spec, "limits": {"chunk_units": 3}}, "the spec"))


class Planned:
    """An output of which everything was planned: so many pages of each input, each input with a shelf of its own."""

    def __init__(self, job: Job, pages: list[int]) -> None:
        self.job, self.folder = job, JobFolder(store_at(f"memory://{uuid.uuid4().hex}"))
        same = {"input_uri": "/a.pdf", "media": "document"}
        inputs = pa.Table.from_pylist(
            [{**same, "input_id": f"{row}", "slice": row // 2} for row in range(len(pages))], schema=tables.INPUTS
        )
        inputs = inputs.append_column("shelf", pa.array(range(len(pages)), pa.int64()))
        units = [
            {
                **same, "input_id": f"{row}", "unit_index": page, "unit_count": count, "unit_kind": "page",
                "page": page + 1, "decoded_bytes": 1, "generation": 0, "attempt": 1,
            }
            for row, count in enumerate(pages)
            for page in range(count)
        ]  # fmt: skip
        self.units = [(unit["input_id"], unit["unit_index"]) for unit in units]
        self.folder.claim()
        self.folder.write_piece(0, 0, inputs)
        self.folder.write_chunks(0, 0, cut_table(units, inputs, job, job.tasks, 0))
        spec = job.spec.model_dump(mode="json")
        self.rounds = [Round(0, "first", (0,), job.definitions, "then", "somebody", spec)]
        self.folder.add_round(self.rounds[0])

    def manifests(self, *, without: int | None = None) -> Manifests:
        """All is committed. without: what this round asks for is not."""
        view = View(store_at("memory://empty"))
        there = Manifests.read(self.folder, view, self.rounds, NAMES)
        ids = there.chunks.column("chunk_id").to_pylist()
        committed = {(name, one) for name in NAMES for one in ids if ChunkId.of(one).round != without}
        return Manifests(there.chunks, there.generations, committed)

    def chunks(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.manifests().chunks.to_pylist()
        return rows


Choices = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 30)), max_size=20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pages=st.lists(st.integers(1, 5), min_size=1, max_size=6), choices=st.lists(Choices, min_size=1, max_size=3))
def test_each_row_that_was_chosen_is_asked_for_once(
    job: Job, monkeypatch: pytest.MonkeyPatch, pages: list[int], choices: list[list[tuple[str, int]]]
) -> None:
    output = Planned(job, pages)
    first = {
        unit["input_id"]: ChunkId.of(chunk["chunk_id"]).slice for chunk in output.chunks() for unit in chunk["units"]
    }
    attempts: Counter[tuple[str, str, int]] = Counter()
    for choice in choices:
        before = len(output.rounds)
        wanted = {(name, *output.units[number % len(output.units)]) for name, number in choice}
        attempts.update(wanted)
        chosen: dict[str, Rows] = {name: {} for name in NAMES}
        for name, *unit in sorted(wanted):
            chosen[name][unit[0], unit[1]] = {0: 0}

        plan = plan_again(output.manifests(), chosen)
        output.rounds = add_rounds(job, output.folder, output.rounds, output.manifests(), plan)

        asked = []
        for chunk in output.chunks():
            place = ChunkId.of(chunk["chunk_id"])
            if place.round < before:
                continue
            shelves = pa.ipc.open_stream(chunk["passthrough"]).read_all().column("shelf").to_pylist()
            for unit, shelf in zip(chunk["units"], shelves, strict=True):
                assert (first[unit["input_id"]], int(unit["input_id"])) == (place.slice, shelf)
                assert (unit["generation"], unit["requests"]) == (0, [0])
                for name in chunk["tasks"]:
                    asked.append((name, unit["input_id"], unit["unit_index"]))
                    assert unit["attempt"] == 1 + attempts[asked[-1]]
        assert Counter(asked) == Counter(wanted)
        assert plan.rows == len(wanted)
        for number in range(before, len(output.rounds)):  # until they are answered
            again = plan_again(output.manifests(without=number), chosen)
            assert again.under_way == output.rounds[number].counts["rows"]
            assert again.rows == len(wanted) - again.under_way
    ids = [chunk["chunk_id"] for chunk in output.chunks()]
    assert len(ids) == len({*ids})


def test_the_first_rows_alone(job: Job) -> None:
    output = Planned(job, [2, 3])
    chosen: dict[str, Rows] = {name: {unit: {0: 0} for unit in output.units} for name in NAMES}
    plan = plan_again(output.manifests(), chosen, limit=7)
    assert plan.rows == 7
    assert sorted((len(names), len(units)) for names, units in plan.units.items()) == [(1, 3), (2, 2)]


def test_a_unit_that_a_later_round_asks_for_is_left_out_of_the_chunk(job: Job) -> None:
    output = Planned(job, [1, 1])
    chosen: dict[str, Rows] = {"shows": {unit: {0: 0} for unit in output.units}}
    output.rounds = add_rounds(
        job, output.folder, output.rounds, output.manifests(), plan_again(output.manifests(), chosen)
    )
    inputs = output.folder.read_inputs((0,)).slice(0, 1)
    unit = {**output.chunks()[0]["units"][0], "generation": 2}
    output.folder.write_piece(2, 0, inputs)
    output.folder.write_chunks(2, 0, cut_table([unit], inputs, job, job.tasks, 2))
    output.rounds.append(Round(2, "inputs", (2,), job.definitions, "then", "somebody", output.rounds[0].spec))
    output.folder.add_round(output.rounds[2])

    work = plan_work(job, output.folder, output.rounds, None, Progress(), [1])

    (chunk,) = work.pending.to_pylist()
    assert [unit["input_id"] for unit in chunk["units"]] == ["1"]
    assert pa.ipc.open_stream(chunk["passthrough"]).read_all().column("shelf").to_pylist() == [1]
    figures = work.figures
    assert (figures.pending_rows, figures.again_rows, figures.planned_rows) == (1, 1, 4)
