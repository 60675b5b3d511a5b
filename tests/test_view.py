"""The files that readers see are what the log says, whatever order they were published in, and whoever else did."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.store import sealed
from operators.store import shown as shown_module
from operators.store.addresses import store_at
from operators.store.part_log import PartLog, PartName
from operators.store.publisher import Publisher
from operators.store.results import Results
from operators.store.shown import Piece, shown
from operators.store.store import Data, Store, read
from operators.store.view import Slice, View, key_of
from schemas.errors import JobConflict
from tests.support.object_server import S3Server
from tests.support.result_rows import OTHER, TEXT, chunk_id, rows

Key = tuple[str, int, int]
PASSTHROUGH = (pa.field("shelf", pa.int64()), pa.field("note", pa.string()))


# a plain model of the rule


@dataclass(frozen=True)
class Answers:
    """What a part says: of each unit its generation, attempt, whether it is an answer, and a text."""

    chunk: str
    units: dict[Key, tuple[int, int, bool, str]]
    other: bool = False
    columns: tuple[str, ...] = ()

    def table(self) -> pa.Table:
        plain = [
            {
                "input_id": input_id, "unit_index": unit, "request_index": request, "generation": generation,
                "unit_count": COUNTS[generation], "attempt": attempt, "status": "ok" if ok else "engine_failed",
                "text": text, "shelf": unit, "note": input_id,
            }
            for (input_id, unit, request), (generation, attempt, ok, text) in sorted(self.units.items())
        ]  # fmt: skip
        columns = [field for name in self.columns for field in PASSTHROUGH if field.name == name]
        names = {"shelf", "note"} - {*self.columns}
        plain = [{key: value for key, value in row.items() if key not in names} for row in plain]
        return rows(self.chunk, plain, OTHER if self.other else TEXT, columns)

    def only(self, keys: set[Key]) -> Answers:
        return Answers(self.chunk, {key: self.units[key] for key in self.units.keys() & keys}, self.other, self.columns)


def modeled(parts: list[Answers]) -> dict[Key, tuple[str, str]]:
    """(chunk, text) of every unit that is to be shown."""
    units = [(part, key, *answer) for part in parts for key, answer in part.units.items()]
    if not units:
        return {}
    _, other = max((generation, part.other) for part, _, generation, *_ in units)
    units = [unit for unit in units if unit[0].other == other]
    rank: dict[Key, tuple[Any, ...]] = {}
    for part, key, generation, attempt, ok, text in units:
        later = [(unit[1][1], unit[2]) for unit in units if unit[1][0] == key[0] and unit[2] > generation]
        if not any(unit == key[1] or COUNTS[of] <= key[1] for unit, of in later):
            rank[key] = max(rank.get(key, ()), (ok, attempt, part.chunk, text))
    return {key: (best[2], best[3]) for key, best in rank.items()}


def seen(view: View) -> dict[Key, tuple[str, str]]:
    there = view.read("ocr", 0)
    if there is None:
        return {}
    names = ("input_id", "unit_index", "request_index", "chunk_id", "text")
    plain = list(zip(*(there.rows.column(name).to_pylist() for name in names), strict=True))
    units = {(input_id, unit, request): (chunk, text) for input_id, unit, request, chunk, text in plain}
    assert len(units) == len(plain), "a unit is there twice"
    return units


# random histories

COUNTS = (3, 1, 3, 2)
"""Units of an input, by generation: its file changes."""
KEYS = [(input_id, unit, request) for input_id in "ab" for unit in range(3) for request in range(2)]


@st.composite
def answers(draw: st.DrawFn, turns: int) -> Answers:
    """turns: the round from which on answers are of another type. Changed inputs have other units from round to
    round, retries an earlier generation and a later attempt."""
    round_ = draw(st.integers(0, 3))
    asked = draw(st.integers(turns if round_ >= turns else 0, round_))
    there = [key for key in KEYS if key[1] < COUNTS[asked]]
    units = draw(st.lists(st.sampled_from(there), min_size=1, max_size=4, unique=True))
    attempt = 1 + round_ - asked
    chunk = chunk_id(0, round_, asked, sorted(units))
    columns = draw(st.sampled_from([(), ("shelf",), ("note",), ("shelf", "note"), ("note", "shelf")]))
    return Answers(
        chunk,
        {key: (asked, attempt, draw(st.booleans()), f"{draw(st.integers(0, 99))}") for key in units},
        asked >= turns,
        columns,
    )


class Interrupted:
    """A store in which something else happens just before a file of the view is put: once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.address = store.address
        self.meanwhile: Callable[[], None] | None = None

    def _happen(self, key: str) -> None:
        if key.startswith("results/") and self.meanwhile is not None:
            happen, self.meanwhile = self.meanwhile, None
            happen()

    def put_if_absent(self, key: str, data: Data) -> bool:
        self._happen(key)
        return self._store.put_if_absent(key, data)

    def replace_if_same(self, key: str, data: Data, version: str) -> bool:
        self._happen(key)
        return self._store.replace_if_same(key, data, version)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass
class History:
    """What was done to a store, and what the log and the view must hold by then."""

    store: Store
    logged: dict[str, list[Answers]] = field(default_factory=dict)  # by chunk, every revision
    pruned: dict[str, tuple[int, Answers]] = field(default_factory=dict)
    late: dict[str, Answers] = field(default_factory=dict)  # in the log again after they were pruned

    def __post_init__(self) -> None:
        self.racing = Interrupted(self.store)
        self.view, self.log = View(self.store), PartLog(self.store)

    def live(self) -> list[Answers]:
        return [*(part for _, part in self.pruned.values()), *(some[-1] for some in self.logged.values())]

    def write(self, part: Answers) -> None:
        self.log.write("ocr", part.chunk, part.table())
        if part.chunk not in self.pruned:
            self.logged.setdefault(part.chunk, [part])
        else:
            self.late.setdefault(part.chunk, part)  # the first writer wins

    def revise(self, number: int, texts: list[int]) -> None:
        if not self.logged:
            return
        chunk = sorted(self.logged)[number % len(self.logged)]
        before = self.logged[chunk][-1]
        units = {
            key: (*answer[:2], texts[place % len(texts)] % 2 == 0, f"r{texts[place % len(texts)]}")
            for place, (key, answer) in enumerate(before.units.items())
        }
        revised = Answers(chunk, units, before.other, before.columns)
        self.log.revise(self.log.read(self.log.parts("ocr")[chunk]), revised.table())
        self.logged[chunk].append(revised)

    def do(self, what: str, number: int) -> None:
        view = View(self.racing)
        chunks = sorted(self.logged)
        some = chunks[number % len(chunks) :][: 1 + number % 2] if chunks else []
        if what == "publish":
            view.publish("ocr", 0)
        elif what == "rebuild":
            view.rebuild("ocr", 0)
        elif what == "restore":
            view.restore("ocr", 0)
            # of what was pruned, a late writer may have brought an answer: better than none
            self.logged |= {chunk: [part] for chunk, part in self.late.items() if chunk in self.pruned}
            self.pruned.clear()
            self.late.clear()
        elif what == "take out":
            for chunk in some:
                self.log.delete(self.log.parts("ocr")[chunk])
                del self.logged[chunk]
            view.rebuild("ocr", 0, without=some)
        elif what == "compact":
            view.publish("ocr", 0)
            self._settle()
            there, held = self.log.parts("ocr"), view.held("ocr", 0)
            some = [chunk for chunk in some if held.has(there[chunk])]
            view.prune("ocr", 0, some)
            for chunk in some:
                self.log.delete(there[chunk])
                if len(self.logged[chunk]) == there[chunk].revision + 1:  # or somebody revised it meanwhile
                    self.pruned[chunk] = there[chunk].revision, self.logged.pop(chunk)[-1]
        self._settle()

    def _settle(self) -> None:
        """Of what was pruned, that is left which the file shows."""
        held = self.view.held("ocr", 0).chunks
        parts = [part for chunk, (_, part) in self.pruned.items() if chunk in held]
        parts += [
            self.logged[chunk][min(held[chunk], len(some) - 1)] for chunk, some in self.logged.items() if chunk in held
        ]
        kept = modeled(parts)
        assert seen(self.view) == kept
        for chunk, (revision, part) in self.pruned.items():
            self.pruned[chunk] = revision, part.only({key for key, (of, _) in kept.items() if of == chunk})


@contextmanager
def empty(kind: str) -> Iterator[Store]:
    if kind == "memory":
        yield store_at(f"memory://{uuid.uuid4().hex}")
        return
    folder = tempfile.mkdtemp()
    try:
        yield store_at(folder)
    finally:
        shutil.rmtree(folder)


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=[*HealthCheck])


def _happens(history: History, data: st.DataObject, turns: int) -> None:
    what = data.draw(st.sampled_from(["write", "revise", "publish", "rebuild"]))
    if what == "write":
        history.write(data.draw(answers(turns)))
    elif what == "revise":
        history.revise(data.draw(st.integers(0, 9)), data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=3)))
    else:
        getattr(View(history.store), what)("ocr", 0)


def _lives(store: Store, data: st.DataObject) -> None:
    history = History(store)
    turns = data.draw(st.integers(1, 4))
    for _ in range(data.draw(st.integers(1, 8))):
        if data.draw(st.integers(0, 2)):
            history.write(data.draw(answers(turns)))
        if data.draw(st.booleans()):
            history.revise(data.draw(st.integers(0, 9)), data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=3)))
        if data.draw(st.booleans()):
            history.racing.meanwhile = lambda: _happens(history, data, turns)
        what = data.draw(st.sampled_from(["publish", "publish", "rebuild", "restore", "take out", "compact"]))
        history.do(what, data.draw(st.integers(0, 9)))
        history.racing.meanwhile = None
    history.do("publish", 0)
    assert seen(history.view) == modeled(history.live())
    assert history.view.committed("ocr") == history.logged.keys() | history.pruned.keys()
    before = seen(history.view)
    assert not history.view.publish("ocr", 0)
    history.do("rebuild", 0)
    assert seen(history.view) == before


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_the_view_is_what_the_log_says_whatever_happens_meanwhile(kind: str, amount: Callable[[int, int], int]) -> None:
    @_settings(amount(15 if kind == "memory" else 4, 1000))
    @given(st.data())
    def lives(data: st.DataObject) -> None:
        with empty(kind) as store:
            _lives(store, data)

    lives()


def test_the_order_of_publishing_shows_nowhere(amount: Callable[[int, int], int]) -> None:
    @_settings(amount(15, 1000))
    @given(st.data())
    def ordered(data: st.DataObject) -> None:
        turns = data.draw(st.integers(1, 4))
        parts = data.draw(st.lists(answers(turns), min_size=1, max_size=6, unique_by=lambda part: part.chunk))
        one, other = (_published(data, order) for order in (parts, data.draw(st.permutations(parts))))
        assert one.rows.equals(other.rows)
        assert one.rows.schema.equals(other.rows.schema)
        assert one.held == other.held

    ordered()


def _published(data: st.DataObject, parts: list[Answers]) -> Slice:
    with empty("memory") as store:
        log, view = PartLog(store), View(store)
        for part in parts:
            log.write("ocr", part.chunk, part.table())
            if data.draw(st.booleans()):
                view.publish("ocr", 0)
        view.publish("ocr", 0)
        there = view.read("ocr", 0)
        assert there is not None
        return there


# one by one


@pytest.fixture
def store() -> Store:
    return store_at(f"memory://{uuid.uuid4().hex}")


def put(store: Store, *, round_: int = 0, units: tuple[int, ...] = (0, 1), **row: Any) -> str:
    """A part of one input; its chunk_id."""
    kind, columns = row.pop("kind", TEXT), row.pop("columns", ())
    chunk = chunk_id(0, round_, units, row)
    plain = [{"input_id": "a", "unit_index": unit, "text": "x", **row} for unit in units]
    PartLog(store).write("ocr", chunk, rows(chunk, plain, kind, columns))
    return chunk


def texts(store: Store) -> list[str]:
    there = View(store).read("ocr", 0)
    return there.rows.column("text").to_pylist() if there is not None else []


def flipped(store: Store, key: str, place: int) -> None:
    data = bytearray(read(store, key))
    data[place] ^= 4
    store.delete(key)
    store.put_if_absent(key, bytes(data))


def test_a_broken_file_is_one_sentence_and_never_written_anew(store: Store) -> None:
    put(store)
    view = View(store)
    view.publish("ocr", 0)
    flipped(store, key_of("ocr", 0), 600)
    put(store, units=(2,))
    for ask in (view.publish, view.rebuild, view.read):
        with pytest.raises(JobConflict, match=r"`sightread verify memory://\w+ --repair` mends it$"):
            ask("ocr", 0)
    with pytest.raises(JobConflict, match="--repair"):
        list(Results(store).batches("ocr"))
    publisher = Publisher(store)
    late = chunk_id(0, 0, "late")
    publisher.write("ocr", late, rows(late, [{"input_id": "a", "unit_index": 3, "text": "x"}]))
    publisher.publish_due()  # logs it, and leaves it to the end of the run
    flipped(store, key_of("ocr", 0), -2)
    with pytest.raises(JobConflict, match="mends it"):
        view.committed("ocr")
    view.restore("ocr", 0)
    assert texts(store) == ["x"] * 4


def test_a_broken_part_stops_a_publish_and_leaves_the_file(store: Store) -> None:
    put(store)
    View(store).publish("ocr", 0)
    chunk = put(store, units=(2,))
    flipped(store, PartName("ocr", chunk).key, 700)
    with pytest.raises(JobConflict, match="--repair"):
        View(store).publish("ocr", 0)
    assert texts(store) == ["x"] * 2


def test_a_part_that_is_taken_out_while_it_is_read_is_left_out(store: Store) -> None:
    first, second = put(store), put(store, units=(2,))
    view = View(store)
    opened = store.open

    def open_(key: str) -> Any:
        if second in key:
            PartLog(store).delete(PartName("ocr", second))
        return opened(key)

    view._log._store = type("Racing", (), {"open": staticmethod(open_), "__getattr__": lambda _, name: getattr(store, name)})()  # type: ignore[assignment]  # fmt: skip  # noqa: E501
    view.publish("ocr", 0)
    assert view.held("ocr", 0).chunks == {first: 0}


def test_rows_that_only_the_file_has_stay(store: Store) -> None:
    """A part that vanished, noted or not: nobody asks what can be read."""
    chunk = put(store)
    view = View(store)
    view.publish("ocr", 0)
    PartLog(store).delete(PartName("ocr", chunk))
    other = put(store, units=(2,))
    view.rebuild("ocr", 0)
    assert (texts(store), view.committed("ocr")) == (["x"] * 3, {chunk, other})
    assert [part.name.chunk_id for part in view.parts("ocr", 0)] == [chunk, other]


def test_a_late_writer_changes_nothing_that_was_pruned(store: Store) -> None:
    chunk = put(store, text="first")
    view, log = View(store), PartLog(store)
    view.publish("ocr", 0)
    view.prune("ocr", 0, [chunk])
    log.delete(PartName("ocr", chunk))
    late = rows(chunk, [{"input_id": "a", "unit_index": unit, "text": "late"} for unit in (0, 1)])
    assert log.write("ocr", chunk, late) == "committed"
    assert not view.publish("ocr", 0)
    view.rebuild("ocr", 0)
    assert texts(store) == ["first"] * 2
    assert [part.rows.column("text").to_pylist() for part in view.parts("ocr", 0)] == [["first"] * 2]


def test_an_answer_that_was_pruned_outlives_a_reparse_to_another_type_that_was_killed(store: Store) -> None:
    pruned, logged = put(store, text="pruned"), put(store, units=(2,), text="logged")
    view, log = View(store), PartLog(store)
    view.publish("ocr", 0)
    view.prune("ocr", 0, [pruned])
    log.delete(PartName("ocr", pruned))
    for chunk, expected in ((logged, ["pruned"] * 2), (pruned, ["new"] * 3)):
        part = next(part for part in view.parts("ocr", 0) if part.name.chunk_id == chunk)
        units = part.rows.column("unit_index").to_pylist()
        plain = [{"input_id": "a", "unit_index": unit, "text": "new"} for unit in units]
        log.revise(part, rows(chunk, plain, OTHER))
        view.publish("ocr", 0)
        assert texts(store) == expected


def test_a_file_without_rows_keeps_its_columns(store: Store) -> None:
    chunk = put(store, shelf=1, columns=PASSTHROUGH[:1])
    view = View(store)
    view.publish("ocr", 0)
    before = view.read("ocr", 0)
    PartLog(store).delete(PartName("ocr", chunk))
    view.rebuild("ocr", 0, without=[chunk])
    there = view.read("ocr", 0)
    assert before is not None
    assert there is not None
    assert (there.rows.num_rows, there.rows.schema, there.held.chunks) == (0, before.rows.schema, {})


def test_columns_that_parts_lack_are_null(store: Store) -> None:
    put(store, units=(0,), shelf=7, columns=PASSTHROUGH[:1])
    put(store, units=(1,), note="n", columns=PASSTHROUGH[1:])
    old = chunk_id(0, 0, "old")
    before = rows(old, [{"input_id": "a", "unit_index": 2}]).drop_columns(["job", "reasoning"])  # of an older version
    PartLog(store).write("ocr", old, before)
    View(store).publish("ocr", 0)
    there = View(store).read("ocr", 0)
    assert there is not None
    columns = {name: there.rows.column(name).to_pylist() for name in ("shelf", "note", "job")}
    assert columns == {"shelf": [7, None, None], "note": [None, "n", None], "job": ["j", "j", None]}


def test_columns_that_contradict_each_other_are_one_sentence(store: Store) -> None:
    put(store, units=(0,), shelf=7, columns=[pa.field("shelf", pa.int64())])
    put(store, units=(1,), shelf="n", columns=[pa.field("shelf", pa.string())])
    with pytest.raises(JobConflict, match="do not fit together"):
        View(store).publish("ocr", 0)


def test_many_rows_are_gathered_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def piece(part: int) -> Piece:
        units = range(300)
        plain = [{"input_id": f"{unit * 7 + part:04}", "unit_index": 0, "text": f"{unit}-{part}"} for unit in units]
        return Piece.of(rows(f"c{part}", plain), 0)

    pieces = [*map(piece, (3, 1, 2)), piece(10)]
    at_once = shown(pieces)
    monkeypatch.setattr(shown_module, "LARGE_BYTES", 0)
    monkeypatch.setattr(shown_module, "_BLOCK", 64)
    assert shown(pieces).equals(at_once)
    assert at_once.num_rows == 901  # one input more than 3 x 300 in the last


def test_row_groups_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows("c", [{"input_id": f"{unit:04}", "unit_index": 0, "text": "x" * 500} for unit in range(2000)])
    monkeypatch.setattr(sealed, "GROUP_BYTES", 512 << 10)
    file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(bytes(sealed.sealed(table, {"a": 1})))))
    assert 2 < file.num_row_groups < 10
    assert file.read().replace_schema_metadata(None).equals(table)


def test_a_seal_shows_every_flipped_bit(amount: Callable[[int, int], int]) -> None:
    data = bytes(sealed.sealed(rows("c", [{"input_id": "a", "unit_index": 0}]), {"a": 1}))
    sealed.check_seal(memoryview(data))
    places = range(0, len(data) * 8, 1 if amount(0, 1) else 97)
    for place in places:
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        with pytest.raises(sealed.Broken):
            sealed.check_seal(memoryview(broken))
    for other in (b"", data[:-1], data + b"\0", data + data, data[4:]):
        with pytest.raises(sealed.Broken):
            sealed.check_seal(memoryview(other))


def test_more_than_two_gigabytes_of_text(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """Arrow counts the bytes of one array of text in 31 bits."""
    if amount(0, 1) == 0:
        pytest.skip("takes 6 GB of memory: scripts/test --whole tests/test_view.py")
    store = store_at(str(tmp_path))
    text = "long " * 20_000
    for part in range(24):
        chunk = chunk_id(0, 0, part)
        plain = [{"input_id": f"{unit:04}", "unit_index": part, "text": text, "result": None} for unit in range(1000)]
        PartLog(store).write("ocr", chunk, rows(chunk, plain))
    View(store).publish("ocr", 0)
    batches = [batch.column(0) for batch in Results(store).rows("ocr", ["text"])]
    assert sum(map(len, batches)) == 24_000
    assert sum(batch.nbytes for batch in batches) > 2.3e9
    figure("a slice with 2.4 GB of text in a column is published and read")


def test_units_that_a_file_lost_for_a_while_stay_gone(store: Store) -> None:
    """A late answer about the first of three versions of a file, of which the second was shorter."""
    view = View(store)
    for round_, count in ((0, 3), (1, 1), (2, 3)):
        put(store, round_=round_, units=(0,), generation=round_, unit_count=count)
        view.publish("ocr", 0)
    put(store, units=(2,), unit_count=3)
    view.publish("ocr", 0)
    assert len(texts(store)) == 1
    view.rebuild("ocr", 0)
    assert len(texts(store)) == 1


def test_of_files_in_a_bucket_the_footer_alone_is_asked_for(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(f"{s3.new_bucket()}/out")
    chunk = put(store)
    View(store).publish("ocr", 0)
    monkeypatch.setattr(type(store), "open", lambda *_: pytest.fail("all of it was asked for"))
    assert View(store).committed("ocr") == {chunk}
