"""A plan that streams: inputs come in pieces, chunks are handed on while the listing goes on, and what is kept of
inputs says the same as the inputs themselves. Without Ray."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.load import parse
from operators.store.addresses import store_at
from operators.store.part_log import PartLog
from operators.store.results import Results
from pipelines import listing, listing_ahead
from pipelines.entries import seen
from pipelines.entries.seen import Seen
from pipelines.entries.table_rows import table_parts
from pipelines.folder import JobFolder
from pipelines.generations import Generations, inputs_of
from pipelines.growth import Intake, grow
from pipelines.job import Job, prepare
from pipelines.known_inputs import KnownInputs
from pipelines.listing_ahead import ListingAhead
from pipelines.planner import Before
from pipelines.planning import list_job, lister_of
from pipelines.rounds import Round
from pipelines.run import run
from pipelines.source import Source
from schemas import tables
from schemas.errors import JobConflict, SpecError
from tests.support.in_process import InProcess, chunks_of
from tests.test_growth import SHOWS, rows_of

FEW = 40
"""Inputs of a first piece here."""


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("listing", "growth", "planning"):
        monkeypatch.setattr(f"pipelines.{module}.PIECE", FEW)
    for module in ("listing", "growth"):
        monkeypatch.setattr(f"pipelines.{module}.LARGEST_PIECE", 2 * FEW)


def pictures(folder: Path, *numbers: int) -> None:
    """As many inputs, one file."""
    folder.mkdir(exist_ok=True)
    one = folder.parent / "one.png"
    if not one.exists():
        Image.new("RGB", (64, 64), (200, 30, 30)).save(one)
    for number in numbers:
        os.link(one, folder / f"{number:05d}.png")


def job_of(folder: Path, **more: Any) -> Job:
    (folder / "r.jsonl").write_text('{"reply": "red"}\n')
    engine = {"kind": "scripted", "recording": str(folder / "r.jsonl")}
    spec = {"name": "n", "inputs": [str(folder / "in")], "tasks": ["caption"], "output": str(folder / "out")}
    return prepare(parse({**spec, "engine": engine, "decode": {"workers": 1}, **more}, "spec"))


# a run


def test_a_long_listing_comes_out_once_each_and_then_there_is_nothing_to_do(
    in_process: Path, monkeypatch: pytest.MonkeyPatch, small_pieces: None
) -> None:
    fed: list[object] = []

    class Told(InProcess):
        def execute(self, feed: pa.Table | Source, plan: Any) -> Iterator[pa.Table]:  # type: ignore[override]
            fed.append(type(feed))
            yield from super().execute(feed, plan)

    monkeypatch.setattr("pipelines.running.Cluster", Told)
    pictures(in_process / "in", *range(300))
    job = job_of(in_process)
    summary = run(job)
    assert (summary.exit_code, summary.inputs, summary.new_rows, summary.tasks["caption"].ok) == (0, 300, 300, 300)
    assert fed == [Source]
    folder = JobFolder(store_at(job.output))
    assert folder.pieces(0) > 3
    assert folder.planned(0) == {*range(folder.pieces(0))}
    assert run(job).new_rows == 0
    assert fed == [Source]  # it starts nothing
    pictures(in_process / "in", *range(300, 400))
    again = run(job)
    assert again.grown == {"new": 100, "changed": 0, "gone": 0}
    assert (again.new_rows, again.tasks["caption"].rows) == (100, 400)
    assert [round_.kind for round_ in folder.rounds()] == ["first", "inputs"]


def test_what_is_done_is_not_planned_once_more_by_who_goes_on(
    in_process: Path, monkeypatch: pytest.MonkeyPatch, small_pieces: None
) -> None:
    fed: list[Source] = []

    class Told(InProcess):
        def execute(self, feed: pa.Table | Source, plan: Any) -> Iterator[pa.Table]:  # type: ignore[override]
            assert isinstance(feed, Source)
            fed.append(feed)
            yield from super().execute(feed, plan)

    monkeypatch.setattr("pipelines.running.Cluster", Told)
    pictures(in_process / "in", *range(300))
    job = job_of(in_process)
    first = run(job, limit=250)
    assert 250 <= first.new_rows < 280
    again = run(job)
    assert [feed.done for feed in fed] == [frozenset(), frozenset({(0, 0), (0, 1), (0, 2)})]  # 40, 80 and 80 inputs
    assert again.new_rows == 300 - first.new_rows
    assert (again.exit_code, again.complete, again.tasks["caption"].ok) == (0, True, 300)


def test_what_a_killed_listing_did_not_bring_comes_as_a_round_of_its_own(in_process: Path, small_pieces: None) -> None:
    pictures(in_process / "in", *range(200))
    job = job_of(in_process)
    folder = JobFolder(store_at(job.output))
    folder.claim()
    lister = lister_of(job)
    intake = Intake(job, folder, [], changed=False)
    for piece, _ in zip(lister, range(2), strict=False):  # and there it was killed
        intake.take(piece)
    there = folder.read_inputs([0]).num_rows
    assert 0 < there < 200
    summary = run(job)
    assert (summary.exit_code, summary.inputs, summary.tasks["caption"].rows) == (0, 200, 200)
    assert [folder.read_inputs([round_.number]).num_rows for round_ in folder.rounds()] == [there, 200 - there]


def test_a_listing_that_fails_late_is_told_when_what_it_brought_is_done(in_process: Path, small_pieces: None) -> None:
    pictures(in_process / "in", *range(200))
    (in_process / "list.csv").write_text("nothing\n1\n")
    job = job_of(in_process, inputs=[str(in_process / "in"), str(in_process / "list.csv")])
    with pytest.raises(SpecError, match=r"list\.csv"):
        run(job)
    # what came before it is there, and the readers had all that
    assert 0 < Results(store_at(job.output)).count("caption") <= 200
    (in_process / "list.csv").unlink()
    summary = run(job_of(in_process))
    assert (summary.exit_code, summary.tasks["caption"].ok) == (0, 200)


def test_a_manifest_that_breaks_under_a_reader_is_one_sentence(in_process: Path, small_pieces: None) -> None:
    pictures(in_process / "in", *range(200))
    job = job_of(in_process)
    folder = JobFolder(store_at(job.output))
    folder.claim()
    grow(job, folder, None, [], [], list_job(job), changed=False)  # type: ignore[arg-type]
    broken = in_process / "out" / "_job" / "chunks" / "00000" / "part-00001.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no manifest")
    with pytest.raises(JobConflict, match=r"part-00001.parquet is not as a run left it"):
        run(job)


# a source


def test_chunks_come_while_the_listing_goes_on(in_process: Path, small_pieces: None) -> None:
    pictures(in_process / "in", *range(200))
    job = job_of(in_process)
    folder = JobFolder(store_at(job.output))
    folder.claim()
    lister, goes_on = lister_of(job), threading.Event()

    def pieces() -> Iterator[pa.Table]:
        for number, piece in enumerate(lister):
            if number == 2:
                assert goes_on.wait(60)
            yield piece

    intake = Intake(job, folder, [], changed=False)
    ahead = ListingAhead(folder, "me", lister, pieces(), intake)
    ahead.start()
    source = Source(job, (), Before(), "me")
    chunks = source.chunks(0)
    first = next(chunks)
    assert first.column("plan")[0].as_py()["inputs"] > 0
    assert not folder.is_listed("me")
    goes_on.set()
    units = sum(len(units) for chunk in [first, *chunks] for units in chunk.column("units"))
    ahead.check()
    assert units == 200


def test_a_long_listing_leaves_the_start_of_the_cluster_alone(
    in_process: Path, small_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(in_process / "in", *range(200))
    job = job_of(in_process)
    folder = JobFolder(store_at(job.output))
    folder.claim()
    monkeypatch.setattr(listing_ahead, "LEAD", 50)
    monkeypatch.setattr(listing_ahead, "HELD_BACK_S", 3600.0)
    lister = lister_of(job)
    ahead = ListingAhead(folder, "me", lister, iter(lister), Intake(job, folder, [], changed=False))
    ahead.start()
    deadline = time.monotonic() + 60
    while ahead.intake.asked <= 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert 50 < ahead.intake.asked < 200
    ahead.go_on()
    ahead.check()
    assert ahead.intake.asked == 200


def test_a_reader_that_is_started_again_gives_the_same_whatever_is_committed_by_then(
    in_process: Path, small_pieces: None
) -> None:
    pictures(in_process / "in", *range(200))
    job = job_of(in_process, limits={"chunk_units": 7})
    folder = JobFolder(store_at(job.output))
    folder.claim()
    rounds = grow(job, folder, None, [], [], list_job(job), changed=False)  # type: ignore[arg-type]
    source = Source(job, tuple(rounds), Before.of(job, folder, rounds))
    once = [chunk.column("chunk_id")[0].as_py() for chunk in chunks_of(source)]
    log = PartLog(folder.store)
    for chunk in chunks_of(source):
        (row,) = chunk.drop_columns(["plan"]).to_pylist()
        log.write("caption", row["chunk_id"], rows_of(job, "caption", row))
        if row["chunk_id"] == once[9]:
            break
    assert [chunk.column("chunk_id")[0].as_py() for chunk in chunks_of(source)] == once
    later = Source(job, tuple(rounds), Before.of(job, folder, rounds))  # of another run
    assert [chunk_id for chunk_id in map(_id, chunks_of(later)) if chunk_id] == once[10:]


def _id(chunk: pa.Table) -> str:
    chunk_id: str = chunk.column("chunk_id")[0].as_py()
    return chunk_id


# what is kept of inputs

State = st.none() | st.integers(0, 2)
Listed = st.dictionaries(
    st.integers(0, 9), st.tuples(State, st.sampled_from([None, "not_found", "format"]), State), max_size=8
)


def _table(inputs: dict[int, tuple[int | None, str | None, int | None]], *, shelf: bool) -> pa.Table:
    rows = [
        {
            "input_id": f"{number:016x}", "input_uri": f"/{number}", "size_bytes": size, "slice": 0,
            "error": None if kind is None else {"stage": "list", "kind": kind, "message": "", "attempts": 1},
        }
        for number, (size, kind, _) in inputs.items()
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=tables.INPUTS)
    values = pa.array([value for *_, value in inputs.values()], pa.int64())
    return table.append_column("shelf", values) if shelf else table


@settings(max_examples=200, deadline=None)
@given(before=st.lists(Listed, min_size=1, max_size=3), now=Listed, shelves=st.tuples(*[st.booleans()] * 4))
def test_inputs_are_compared_as_their_rows_would_be(
    before: list[dict[int, Any]], now: dict[int, Any], shelves: tuple[bool, ...]
) -> None:
    known = KnownInputs(_table(some, shelf=shelf) for some, shelf in zip(before, shelves, strict=False))
    compared = known.compare(_table(now, shelf=shelves[3]))
    last = {number: (*row, shelf) for some, shelf in zip(before, shelves, strict=False) for number, row in some.items()}
    new, changed, gone = [], [], 0
    for place, (number, (size, kind, value)) in enumerate(now.items()):
        if number not in last:
            new.append(place)
            continue
        size_before, kind_before, value_before, had_shelf = last[number]
        differs = size_before != size and None not in (size_before, size)
        differs |= had_shelf and shelves[3] and value_before != value
        if kind_before is not None and kind is None:
            new.append(place)
        elif kind_before is None and kind is not None:
            gone += kind == "not_found"
            changed += [place] * (kind != "not_found")
        elif differs:
            changed.append(place)
    assert (compared.new.tolist(), compared.changed.tolist(), compared.gone) == (new, changed, gone)
    assert known.unseen() == len(last.keys() - now.keys())


@settings(max_examples=100, deadline=None)
@given(names=st.lists(st.tuples(st.integers(0, 30).map(str), st.booleans()), max_size=80))
def test_a_name_that_came_up_is_known_again(names: list[tuple[str, bool]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "RECENT", 3)
        there, counted = Seen(), dict[str, int]()
        for name, only_new in names:
            if only_new:
                assert there.add_new(name) == (name not in counted)
                counted.setdefault(name, 1)
            else:
                assert there.add(name) == counted.get(name, 0)
                counted[name] = counted.get(name, 0) + 1


Asked = st.lists(st.tuples(st.sets(st.integers(0, 6), min_size=1), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(asked=Asked)
def test_the_last_generation_that_asks_for_an_input_counts(asked: list[tuple[set[int], bool]]) -> None:
    """Of rounds some of which are not planned yet."""
    folder = JobFolder(store_at(f"memory://{uuid.uuid4().hex}"))
    rounds = []
    for number, (inputs, is_planned) in enumerate(asked):
        folder.write_piece(number, 0, _table(dict.fromkeys(inputs, (1, None, 1)), shelf=False))
        rounds.append(Round(number, "inputs", (number,), {"ocr": {}}, "then", "me", {}))
        if is_planned:
            units = [{"input_id": f"{one:016x}", "unit_index": 0, "generation": number} for one in inputs]
            chunk = {"chunk_id": "x", "tasks": ["ocr"], "passthrough": b"", "units": units}
            folder.write_chunks(number, 0, pa.Table.from_pylist([chunk], schema=tables.CHUNKS))
    generations = Generations.of(folder, rounds, ["ocr"])
    for number, (inputs, _) in enumerate(asked):
        ids = sorted(inputs)
        units = pa.array(
            [{"input_id": f"{one:016x}", "generation": number} for one in ids],
            pa.struct([("input_id", pa.string()), ("generation", pa.int32())]),
        )
        later = {one for some, _ in asked[number + 1 :] for one in some}
        assert generations.current("ocr", units) == [one not in later for one in ids]


def test_of_an_input_that_several_manifests_have_the_last_row_is_asked_about() -> None:
    folder = JobFolder(store_at(f"memory://{uuid.uuid4().hex}"))
    for number, inputs in enumerate(({1: (1, None, 1), 2: (1, None, 1)}, {2: (2, None, 1), 3: (1, None, 1)})):
        folder.write_piece(number, 0, _table(inputs, shelf=False))
    redo = Round(2, "redo", (0, 1), {"ocr": {}}, "then", "me", {})
    rows = [inputs_of(folder, redo, index).select(["input_uri", "size_bytes"]).to_pylist() for index in range(2)]
    assert [[(row["input_uri"], row["size_bytes"]) for row in piece] for piece in rows] == [
        [("/1", 1)], [("/2", 2), ("/3", 1)],
    ]  # fmt: skip


def test_pieces_of_a_listing_grow_and_a_slow_one_is_given_away_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pieces: None
) -> None:
    pictures(tmp_path / "in", *range(300))
    job = job_of(tmp_path)
    sizes = [piece.num_rows for piece in lister_of(job)]
    assert (sizes[0], max(sizes), sum(sizes)) == (FEW, 2 * FEW, 300)
    monkeypatch.setattr(listing, "PATIENCE_S", -1.0)
    assert [piece.num_rows for piece in lister_of(job)] == [1] * 300


def test_no_piece_is_given_away_before_the_columns_of_a_prompt_came_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pieces: None
) -> None:
    pictures(tmp_path / "in", *range(100))
    (tmp_path / "list.csv").write_text(f"path,what\n{tmp_path}/in/00000.png,red\n")
    task = {"name": "asks", "prompt": "Is it {what}?", "output": SHOWS}
    inputs = [str(tmp_path / "in"), str(tmp_path / "list.csv")]
    asked: list[object] = []
    lister = lister_of(job_of(tmp_path, tasks=[task], inputs=inputs))
    monkeypatch.setattr(listing, "table_parts", lambda *parts: asked.append(1) or table_parts(*parts))
    first = next(iter(lister))
    assert (first.num_rows, asked) == (FEW, [1])
    with pytest.raises(SpecError, match="what"):
        list_job(job_of(tmp_path, tasks=[task]))
