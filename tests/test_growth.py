"""What a further run of a job takes in: inputs that are new, changed or gone, tasks that are further or done anew; and
that the same command goes on wherever the one before was killed. Parts are put without an engine."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.load import parse
from operators.store.addresses import store_at
from operators.store.chunk_id import ChunkId
from operators.store.part_log import PartLog
from operators.store.store import Data, Store
from operators.store.view import View
from pipelines import slices
from pipelines.folder import JobFolder
from pipelines.growth import check_tasks, grow, slices_after
from pipelines.job import Job, prepare
from pipelines.planner import Work, plan_work
from pipelines.planning import list_job
from pipelines.progress import Progress
from pipelines.rounds import Round, floors, manifests_of
from pipelines.slices import Slices
from schemas import tables
from schemas.errors import JobConflict, SpecError
from tests.support.world import write_pdf

SHOWS = {"type": "object", "properties": {"shows": {"type": "string"}}, "required": ["shows"]}
LOOK = {"name": "look", "prompt": "What does it show?", "output": SHOWS}
ASK = {"name": "ask", "prompt": "{question}", "output": SHOWS, "units": ["text"]}
AGAIN = ASK | {"name": "again", "prompt": "{question}, please"}
ITEM = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@dataclass
class Dying:
    """A store that is there for so many writes more."""

    inner: Store
    writes: int

    @property
    def address(self) -> str:
        return self.inner.address

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.inner, verb)

    def put_if_absent(self, key: str, data: Data) -> bool:
        return self._written(lambda: self.inner.put_if_absent(key, data))

    def replace_if_same(self, key: str, data: Data, version: str) -> bool:
        return self._written(lambda: self.inner.replace_if_same(key, data, version))

    def delete(self, key: str) -> None:
        self._written(lambda: self.inner.delete(key))

    def _written(self, write: Callable[[], Any]) -> Any:
        if self.writes <= 0:
            raise Killed
        self.writes -= 1
        return write()


class Output:
    """A job of a folder, and its output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = folder / "in"
        self.inputs.mkdir(parents=True, exist_ok=True)
        (folder / "r.jsonl").write_text('{"reply": "x"}\n')
        self.store = store_at(str(folder / "out"))
        self.view = View(self.store)
        self.spec: dict[str, Any] = {
            "name": "n",
            "inputs": [str(self.inputs)],
            "tasks": [LOOK],
            "output": str(folder / "out"),
            "engine": {"kind": "scripted", "recording": str(folder / "r.jsonl")},
            "decode": {"workers": 1},
            "limits": {"chunk_units": 2},
        }

    def draw(self, *numbers: int, width: int = 8) -> None:
        for number in numbers:
            Image.new("RGB", (width, 8), (number, 0, 0)).save(self.inputs / f"{number}.png")

    def ask(self, *questions: str, **columns: Sequence[Any]) -> None:
        """As many inputs without a file."""
        table = self.folder / "t.csv"
        names = ["question", *columns]
        lines = [",".join(names), *(",".join(map(str, row)) for row in zip(questions, *columns.values(), strict=True))]
        table.write_text("\n".join(lines) + "\n")
        self.spec |= {"inputs": [str(table)]}
        if self.spec["tasks"] == [LOOK]:
            self.spec["tasks"] = [ASK]

    @property
    def rounds(self) -> list[Round]:
        return JobFolder(self.store).rounds()

    @property
    def listed(self) -> dict[str, int]:
        listing = JobFolder(self.store).read_listing()
        return {key: listing[key] for key in ("new", "changed", "gone") if listing[key]}

    def plan(
        self, *tasks: dict[str, Any], new: bool = True, changed: bool = False, redo: Sequence[str] = (), **limits: int
    ) -> Work:
        """As `sightread run` does it. limits: writes: after which it is killed."""
        self.spec["tasks"] = list(tasks) or self.spec["tasks"]
        job = prepare(parse(self.spec, "spec"))
        store: Any = Dying(self.store, limits["writes"]) if limits else self.store
        folder, view = JobFolder(store), View(store)
        folder.claim()
        rounds = folder.rounds()
        anew = check_tasks(job, rounds, view, redo)
        listing = list_job(job) if new or not rounds else None
        rounds = grow(job, folder, view, rounds, anew, listing, changed=changed)
        return plan_work(job, folder, rounds, None, Progress())

    def run(self, *tasks: dict[str, Any], parts: int | None = None, **how: Any) -> dict[str, list[str]]:
        """Plans, and puts the parts, or the first of them: what was asked, by task."""
        work = self.plan(*tasks, **how)
        job = prepare(parse(self.spec, "spec"))
        self.commit(job, work, parts)
        return asked(work)

    def commit(self, job: Job, work: Work, parts: int | None = None) -> None:
        log = PartLog(self.store)
        pending = [(task, chunk) for chunk in work.pending.to_pylist() for task in chunk["tasks"]]
        for task, chunk in pending[:parts]:
            log.write(task, chunk["chunk_id"], rows_of(job, task, chunk))
        self.view.publish_all([task.name for task in job.tasks], floors(self.rounds))

    def shown(self, task: str) -> list[tuple[str, int, int]]:
        """(input, unit, generation) of every row that readers see."""
        rows = []
        for slice_ in self.view.slices(task):
            there = self.view.read(task, slice_)
            assert there is not None
            rows += there.rows.select(["input_uri", "unit_index", "generation"]).to_pylist()
        return sorted((name(row["input_uri"]), row["unit_index"], row["generation"]) for row in rows)


def rows_of(job: Job, task: str, chunk: dict[str, Any]) -> pa.Table:
    (bound,) = (bound for bound in job.tasks if bound.name == task)
    passthrough = pa.ipc.open_stream(chunk["passthrough"]).read_all()
    schema = tables.results_schema(bound.output.arrow_type, list(passthrough.schema))
    others = passthrough.to_pylist() if passthrough.num_columns else [{} for _ in chunk["units"]]
    empty = {field.name: "" if field.type == pa.string() else 0 for field in schema if not field.nullable}
    rows = [
        {**empty, **{key: value for key, value in unit.items() if key in schema.names and value is not None}, **columns,
         "status": "ok", "chunk_id": chunk["chunk_id"]}
        for unit, columns in zip(chunk["units"], others, strict=True)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema)


def name(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition("#")[2].removesuffix(".png")


def asked(work: Work) -> dict[str, list[str]]:
    """Inputs of the units that are pending, by task."""
    inputs: dict[str, list[str]] = {}
    for row in work.pending.to_pylist():
        for task in row["tasks"]:
            inputs.setdefault(task, []).extend(name(unit["input_uri"]) for unit in row["units"])
    return {task: sorted(names) for task, names in inputs.items()}


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


def names(*numbers: int) -> list[str]:
    return sorted(map(str, numbers))


# inputs


def test_further_changed_and_gone_files(output: Output) -> None:
    output.draw(*range(10))
    assert output.run() == {"look": names(*range(10))}
    assert output.run() == {}
    output.draw(*range(100, 140))
    output.draw(0, 1, 2, width=9)
    for number in (8, 9):
        (output.inputs / f"{number}.png").unlink()
    assert output.run() == {"look": names(*range(100, 140))}
    assert output.listed == {"new": 40, "changed": 3, "gone": 2}
    assert output.run() == {}
    assert output.listed == {"changed": 3, "gone": 2}
    output.draw(200)
    assert output.run(new=False) == {}
    assert output.run(changed=True) == {"look": names(0, 1, 2, 200)}
    assert output.run(changed=True) == {}
    assert output.listed == {"gone": 2}
    generations = {name: generation for name, _, generation in output.shown("look")}
    assert [generations[key] for key in ("0", "3", "8", "100", "200")] == [2, 0, 0, 1, 2]
    assert len(output.shown("look")) == 51


def test_forty_further_and_three_changed_at_once(output: Output) -> None:
    output.draw(*range(5))
    output.run()
    output.draw(*range(100, 140))
    output.draw(0, 1, 2, width=9)
    assert output.run(changed=True) == {"look": names(0, 1, 2, *range(100, 140))}
    assert output.listed == {"new": 40, "changed": 3}
    assert [round_.kind for round_ in output.rounds] == ["first", "inputs"]


def test_a_changed_input_with_fewer_pages_has_fewer_rows(output: Output) -> None:
    write_pdf(output.inputs / "a.pdf", pages=5)
    assert output.run() == {"look": ["a.pdf"] * 5}
    write_pdf(output.inputs / "a.pdf", pages=2)
    work = output.plan(changed=True)
    figures = work.figures
    assert (figures.planned_rows, figures.committed_rows, figures.pending_rows) == (2, 0, 2)
    output.commit(prepare(parse(output.spec, "spec")), work)
    assert output.shown("look") == [("a.pdf", 0, 1), ("a.pdf", 1, 1)]
    assert output.run(changed=True) == {}


def test_an_input_that_was_missing_and_is_there_now_is_new(output: Output) -> None:
    output.draw(1)
    table = output.folder / "list.csv"
    table.write_text(f"path\n{output.inputs}/1.png\n{output.inputs}/2.png\n")
    output.spec["inputs"] = [str(table)]
    assert output.run() == {"look": ["1", "2"]}
    output.draw(2)
    (output.inputs / "1.png").unlink()
    assert output.run(changed=True) == {"look": ["2"]}
    assert output.listed == {"new": 1, "gone": 1}
    assert output.shown("look") == [("1", 0, 0), ("2", 0, 1)]


def test_columns_that_come_along(output: Output) -> None:
    output.ask("why", "how", shelf=["a", ""])
    assert output.run() == {"ask": ["0", "1"]}
    output.ask("why", "who", "when", shelf=["a", "b", "c"])
    assert output.run() == {"ask": ["2"]}
    assert output.listed == {"new": 1, "changed": 1}
    assert output.run(changed=True) == {"ask": ["1"]}
    # a column that is new says nothing of what was asked before
    output.ask("why", "who", "when", "where", shelf=["a", "b", "c", "d"], room=["1", "2", "3", "4"])
    assert output.run() == {"ask": ["3"]}
    assert output.listed == {"new": 1}
    assert output.run() == {}
    assert output.listed == {}
    output.ask("why", "who", "when", "where", shelf=["a", "b", "c", "d"], room=["1", "2", "3", "5"])
    assert output.run() == {}
    assert output.listed == {"changed": 1}


def test_a_column_of_another_type_is_refused(output: Output) -> None:
    output.ask("why", shelf=["1"])
    output.run()
    output.spec["types"] = {"shelf": "int"}
    with pytest.raises(SpecError, match=r"^inputs: the column 'shelf' is int64 now and was string .*`types`"):
        output.run()
    assert len(output.rounds) == 1


def test_a_spec_that_was_killed_before_its_first_round_lists_also_without_new_inputs(output: Output) -> None:
    output.ask("why")
    with pytest.raises(Killed):
        output.plan(writes=1)
    assert output.run(new=False) == {"ask": ["0"]}


# tasks


def test_a_further_task_is_asked_about_all_inputs_for_itself_alone(output: Output) -> None:
    output.ask("why", "how", "who")
    output.run()
    output.ask("why", "how", "who", "when")
    assert output.run(ASK, AGAIN) == {"ask": ["3"], "again": ["0", "1", "2", "3"]}
    assert output.run(ASK, AGAIN) == {}
    assert [round_.kind for round_ in output.rounds] == ["first", "task", "inputs"]


def test_a_task_that_is_left_out_stays_and_takes_in_new_inputs_when_it_is_named_again(output: Output) -> None:
    output.ask("why", "how")
    output.run(ASK, AGAIN)
    output.ask("why", "who", "when")
    before = output.shown("ask")
    assert output.run(AGAIN, changed=True) == {"again": ["1", "2"]}
    assert output.shown("ask") == before
    assert output.run(ASK, AGAIN) == {"ask": ["1", "2"]}
    assert output.run(ASK, AGAIN) == {}
    assert output.shown("ask") == [("0", 0, 0), ("1", 0, 2), ("2", 0, 2)]


def test_a_changed_task_is_refused_with_the_difference_or_done_anew(output: Output) -> None:
    output.ask("why", "how")
    output.run(ASK, AGAIN)
    other = ASK | {"max_tokens": 7}
    with pytest.raises(JobConflict, match=r"another ask: ask.sampling.max_tokens: \d+ there, 7 now; .* --redo ask$"):
        output.run(other, AGAIN)
    assert output.run(other, AGAIN, redo=["ask"]) == {"ask": ["0", "1"]}
    assert output.run(other, AGAIN) == {}
    assert output.shown("ask") == [("0", 0, 1), ("1", 0, 1)]
    with pytest.raises(JobConflict, match="--redo ask"):
        output.run(ASK)
    for redo, sentence in ((["asks"], "'asks' is no task of this spec"), (["new"], "'new' was not asked for yet")):
        with pytest.raises(SpecError, match=sentence):
            output.run(other, ASK | {"name": "new"}, redo=redo)


def test_a_task_that_changed_before_anything_was_answered_is_done_as_it_is_now(output: Output) -> None:
    output.ask("why", "how")
    output.plan()
    other = ASK | {"max_tokens": 7}
    assert output.run(other) == {"ask": ["0", "1"]}
    assert output.run(other) == {}


def test_another_type_of_results_takes_the_old_ones_away(output: Output) -> None:
    output.ask("why", "how", "who", "when")
    output.run(ASK, AGAIN)
    other = ASK | {"output": ITEM}
    output.plan(other, AGAIN, redo=["ask"])
    assert output.shown("ask") == []
    assert len(output.shown("again")) == 4
    output.run(other, AGAIN, parts=1)
    there = output.view.read("ask", 0)
    assert there is not None
    assert there.rows.schema.field("result").type.field(0).name == "item"
    assert output.shown("ask") == [("0", 0, 1), ("1", 0, 1)]


def test_the_same_command_goes_on_with_what_is_done_anew_and_then_begins_once_more(output: Output) -> None:
    output.ask("why", "how", "who", "when")
    output.run()
    output.run(redo=["ask"], parts=1)
    assert output.run(redo=["ask"]) == {"ask": ["2", "3"]}
    assert output.run(redo=["ask"]) == {"ask": ["0", "1", "2", "3"]}
    # what changed since is another round's to ask
    output.run(redo=["ask"], parts=1)
    output.ask("why", "how", "whom", "where")
    assert output.run(changed=True, new=True) == {"ask": ["2", "3"]}
    assert output.run(redo=["ask"]) == {"ask": ["0", "1", "2", "3"]}


def test_whole_documents_and_pages_of_one_input(output: Output) -> None:
    write_pdf(output.inputs / "a.pdf", pages=3)
    whole = LOOK | {"name": "sum_up", "units": ["document"]}
    assert output.run() == {"look": ["a.pdf"] * 3}
    assert output.run(LOOK, whole) == {"sum_up": ["a.pdf"]}
    write_pdf(output.inputs / "a.pdf", pages=4)
    assert output.run(LOOK, whole, changed=True) == {"look": ["a.pdf"] * 4, "sum_up": ["a.pdf"]}
    assert output.shown("sum_up") == [("a.pdf", 0, 2)]


def test_what_one_spec_left_half_planned_another_goes_on_with(output: Output) -> None:
    output.ask("why", "how")
    with pytest.raises(Killed):
        output.plan(ASK, AGAIN, writes=4)
    assert [{*round_.tasks} for round_ in output.rounds] == [{"ask", "again"}]
    assert not JobFolder(output.store).planned(0)
    assert output.run(AGAIN) == {"again": ["0", "1"]}
    assert output.run(ASK) == {"ask": ["0", "1"]}
    assert output.run(ASK, AGAIN) == {}


def test_a_spec_that_is_no_more_leaves_one_sentence(output: Output) -> None:
    output.ask("why", "how")
    output.spec["engine"] = output.spec["engine"] | {"recording": str(output.folder / "gone.jsonl")}
    (output.folder / "gone.jsonl").write_text('{"reply": "x"}\n')
    with pytest.raises(Killed):
        output.plan(ASK, AGAIN, writes=4)
    (output.folder / "gone.jsonl").unlink()
    output.spec["engine"] = output.spec["engine"] | {"recording": str(output.folder / "r.jsonl")}
    with pytest.raises(SpecError, match=r"stopped while it planned again, ask, .*gone.jsonl.*; run its spec first$"):
        output.run(ASK)


# kills


def _history(folder: Path, kills: list[int]) -> tuple[Any, ...]:
    """A job that grows in all ways, each command killed after so many writes and given again: what it came to."""
    output, left = Output(folder), list(kills)

    def run(*tasks: dict[str, Any], **how: Any) -> dict[str, list[str]]:
        if left:
            with suppress(Killed):
                output.plan(*tasks, **how, writes=left.pop(0))
        return output.run(*tasks, **how)

    output.ask("why", "how", "who")
    steps = [run()]
    output.ask("why", "what", "who", "when", "where")
    steps += [run(ASK, AGAIN, changed=True)]
    output.ask("why", "what", "who", "when")
    steps += [run(ASK | {"output": ITEM}, AGAIN, redo=["ask"])]
    output.ask("why", "what", "who", "when", "where", "whence")
    steps += [run(AGAIN), run(ASK | {"output": ITEM}, AGAIN, redo=["again"])]
    folder_ = JobFolder(output.store)
    chunks = [folder_.read_chunks(round_.number, 0).to_pylist() for round_ in output.rounds]
    rounds = [(round_.kind, round_.manifests, round_.tasks, round_.counts) for round_ in output.rounds]
    inputs = folder_.read_inputs(manifests_of(output.rounds)).drop_columns(["input_uri", "input_id"]).to_pylist()
    return steps, rounds, [len(of_round) for of_round in chunks], inputs, output.shown("ask"), output.shown("again")


def test_wherever_a_run_is_killed_the_same_command_plans_the_same(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    undisturbed = steps, rounds, *_ = _history(tmp_path / "undisturbed", [])
    chance = random.Random(18)
    histories = amount(8, 200)
    for number in range(histories):
        kills = [chance.randrange(10) for _ in range(5)]
        assert _history(tmp_path / f"{number}", kills) == undisturbed, kills
    figure(f"{histories} histories of 5 commands, each killed at a write and started again: one plan")
    # and there was something to be killed
    assert [step.keys() for step in steps] == [{"ask"}, {"ask", "again"}, {"ask"}, {"again"}, {"again", "ask"}]
    assert {round_[0] for round_ in rounds} == {"first", "inputs", "task", "redo"}


# slices

MEDIA = ("document", "image", "video", None)
Listed = st.lists(st.tuples(st.sampled_from(MEDIA), st.none() | st.integers(0, 3_000_000)), max_size=9)


@settings(max_examples=60, deadline=None)
@given(before=Listed, after=Listed)
def test_slices_go_on_where_the_manifests_left_them(
    before: list[tuple[str | None, int | None]], after: list[tuple[str | None, int | None]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "MOST_UNITS", 20)
        folder, planned = JobFolder(store_at(f"memory://{uuid.uuid4().hex}")), Slices()
        places = [planned.of(*listed) for listed in before]
        rows = [
            {"input_id": f"{row}", "input_uri": f"/{row}", "media": media, "size_bytes": size, "slice": place}
            for row, ((media, size), place) in enumerate(zip(before, places, strict=True))
        ]
        for piece, start in enumerate(range(0, max(1, len(rows)), 4)):
            folder.write_piece(0, piece, pa.Table.from_pylist(rows[start : start + 4], schema=tables.INPUTS))
        learned = slices_after(folder, [(0, piece) for piece in range(folder.pieces(0))])
        assert [learned.of(*listed) for listed in after] == [planned.of(*listed) for listed in after]


def test_slices_of_a_job_that_grows_are_those_of_its_manifests(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST_UNITS", 3)
    monkeypatch.setattr("pipelines.growth.LARGEST_PIECE", 4)
    output.ask(*(f"why {number}" for number in range(10)))
    with pytest.raises(Killed):
        output.plan(writes=6)
    output.run()
    output.ask(*(f"why {number}" for number in range(14)))
    output.run(ASK, AGAIN)
    places: dict[str, set[int]] = {}
    for round_ in output.rounds:
        for index in range(4):
            if index in JobFolder(output.store).planned(round_.number):
                for row in JobFolder(output.store).read_chunks(round_.number, index).to_pylist():
                    for unit in row["units"]:
                        places.setdefault(name(unit["input_uri"]), set()).add(ChunkId.of(row["chunk_id"]).slice)
    assert places == {f"{number}": {number // 3} for number in range(14)}
    assert output.view.slices("ask") == [0, 1, 2, 3, 4]
