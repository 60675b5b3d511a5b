"""Of a large file in a bucket its readers fetch what they want, all of one version."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.commands import show
from operators.store import file_columns, sealed
from operators.store.memory import MemoryStore
from operators.store.ranges import HOLE_BYTES, RangeFile
from operators.store.results import Results
from operators.store.store import Replaced, Store
from operators.store.view import View, key_of
from schemas.errors import JobConflict
from tests.support.object_server import S3Server
from tests.support.result_rows import chunk_id, rows

WIDE = 4000
"""Characters of a reply, which compresses badly."""


class RangeStore(MemoryStore):
    """A store in memory that is read by ranges, and counts them. between: is called before each."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.fetched: list[tuple[str, int]] = []
        self.between: Callable[[str, int], None] = lambda key, number: None

    def open(self, key: str) -> IO[bytes]:
        data = super().open(key)
        if key.startswith("results/"):
            pytest.fail(f"all of {key} was asked for")
        return data

    def by_ranges(self, key: str) -> RangeFile:
        there = self.stat(key)
        if there is None:
            raise FileNotFoundError(key)

        def fetch(start: int, end: int) -> bytes:
            self.between(key, len(self.fetched))
            now = self.stat(key)
            if now is None or now.version != there.version:
                raise Replaced(key)
            self.fetched.append((key, end - start))
            with MemoryStore.open(self, key) as file:
                file.seek(start)
                return file.read(end - start)

        return RangeFile(there.size_bytes, fetch)

    @property
    def bytes_fetched(self) -> int:
        return sum(size for _, size in self.fetched)


def replies(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [rng.randbytes(WIDE // 2).hex() for _ in range(count)]


def put_slice(store: Store, slice_: int, texts: list[str], version: int = 0) -> None:
    chunk = chunk_id(slice_, version, slice_)
    plain = [
        {"input_id": f"{slice_}", "unit_index": unit, "text": text, "generation": version}
        for unit, text in enumerate(texts)
    ]
    file = sealed.sealed(rows(chunk, plain), {"task": "ocr", "slice": slice_, "rows": len(plain), "chunks": {chunk: 0}})
    store.delete(key_of("ocr", slice_))
    assert store.put_if_absent(key_of("ocr", slice_), file)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeStore]:
    monkeypatch.setattr(sealed, "GROUP_BYTES", 512 * 2 * WIDE)
    store = RangeStore(f"memory://{uuid.uuid4().hex}")
    yield store
    MemoryStore._stores.pop(store.address)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3 * HOLE_BYTES), st.integers(0, HOLE_BYTES)), max_size=6), st.data())
def test_a_file_by_ranges_reads_as_the_file_does(wanted: list[tuple[int, int]], data: st.DataObject) -> None:
    content = random.Random(7).randbytes(3 * HOLE_BYTES)
    asked: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(content)
        asked.append((start, end))
        return content[start:end]

    file = RangeFile(len(content), fetch)
    file.want([(start, start + length) for start, length in wanted])
    some, requests = [(start, length) for start, length in wanted if start < len(content)], len(asked)
    for start, length in some:
        file.seek(start)
        assert file.read(length) == content[start : start + length]
    assert len(asked) == requests  # what was wanted is there
    start, length = data.draw(st.integers(0, len(content))), data.draw(st.integers(-1, 1000))
    file.seek(start - len(content), 2)
    assert file.read(length) == content[start : None if length < 0 else start + length]


def test_columns_that_nobody_wants_are_not_fetched(store: RangeStore) -> None:
    for slice_ in range(3):
        put_slice(store, slice_, replies(600, slice_))
    all_bytes = sum(len(read_all(store, slice_)) for slice_ in range(3))
    results = Results(store)
    assert results.rows("ocr", ["input_id", "unit_index", "status"]).read_all().num_rows == 1800
    assert store.bytes_fetched < all_bytes / 5  # of each file the end of END_BYTES
    assert len(store.fetched) <= 3 * 4
    store.fetched.clear()
    assert View(store).held("ocr", 0).chunks
    assert [key for key, _ in store.fetched] == [key_of("ocr", 0)]
    store.fetched.clear()
    assert results.count("ocr") == 1800
    assert store.bytes_fetched <= 3 * file_columns.END_BYTES
    store.fetched.clear()
    assert results.slice("ocr", 1, ["input_id", "error"]).column("input_id").to_pylist() == ["1"] * 600
    assert {key for key, _ in store.fetched} == {key_of("ocr", 1)}
    store.fetched.clear()
    texts = [text for batch in results.batches("ocr", ["text"]) for text in batch.column("text").to_pylist()]
    assert texts == [text for slice_ in range(3) for text in replies(600, slice_)]


def test_the_first_rows_are_of_the_first_row_group(
    store: RangeStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "opened", lambda output: store)
    for slice_ in range(2):
        put_slice(store, slice_, replies(1500, slice_))
    file = len(read_all(store, 0))
    show.show_rows(store.address, rows=3)
    assert "and 2997 more" in capsys.readouterr().out
    assert store.bytes_fetched < file * 0.6  # three row groups, of result alone; and twice the footers
    store.fetched.clear()
    first = [batch.num_rows for batch in Results(store).batches("ocr", ["text"], first=1700)]
    assert sum(first) == 1700
    assert {key for key, _ in store.fetched} == {key_of("ocr", 0), key_of("ocr", 1)}


def test_batches_are_small_whatever_a_file_holds(store: RangeStore) -> None:
    put_slice(store, 0, ["x"] * 10_000)
    assert max(batch.num_rows for batch in Results(store).rows("ocr", ["text"])) <= 4096
    put_slice(store, 0, replies(1500))
    assert max(batch.nbytes for batch in Results(store).rows("ocr", ["text", "result"])) < 1.5 * sealed.GROUP_BYTES


@pytest.mark.parametrize("fetch", range(4))
def test_a_file_that_is_replaced_between_two_ranges_is_read_anew(store: RangeStore, fetch: int) -> None:
    put_slice(store, 0, replies(600))
    later = replies(500, seed=1)

    def replace_once(key: str, number: int) -> None:
        if number == fetch:
            store.between = lambda key, number: None
            put_slice(store, 0, later, version=1)

    store.between = replace_once
    table = Results(store).rows("ocr", ["text", "generation"]).read_all()
    before = fetch >= len(store.fetched)  # all of it was there by then
    assert table.column("text").to_pylist() == (replies(600) if before else later)
    assert set(table.column("generation").to_pylist()) == ({0} if before else {1})


def test_one_that_is_replaced_again_and_again_is_given_up(store: RangeStore) -> None:
    put_slice(store, 0, replies(10))
    version = iter(range(1, 100))
    store.between = lambda key, number: put_slice(store, 0, replies(10), next(version))
    with pytest.raises(JobConflict, match="the files of ocr cannot be read"):
        list(Results(store).batches("ocr", ["text"]))
    assert next(version) == 6


def read_all(store: Store, slice_: int) -> bytes:
    with MemoryStore(store.address).open(key_of("ocr", slice_)) as file:
        return file.read()


def test_a_bucket_gives_ranges_of_one_version(s3: S3Server) -> None:
    from operators.store.bucket import BucketStore

    store = BucketStore(f"{s3.new_bucket()}/out")
    assert store.put_if_absent("a", b"0123456789" * 10)
    file = store.by_ranges("a")
    file.want([(0, 4)])
    assert file.read(4) == b"0123"
    there = store.stat("a")
    assert there is not None
    assert store.replace_if_same("a", b"x" * 100, there.version)
    with pytest.raises(Replaced, match="was changed"):
        file.want([(50, 60)])
    with store.by_ranges("a") as again:
        assert again.read() == b"x" * 100
    with pytest.raises(FileNotFoundError):
        store.by_ranges("b")
    put_slice(store, 0, replies(40))
    assert Results(store).rows("ocr", ["unit_index"]).read_all().column(0).to_pylist() == [*range(40)]
