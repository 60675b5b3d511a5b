"""A cell of a table of bytes comes as a file that holds nothing else, whatever the table is like."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.store.inputs import table_cells
from operators.store.inputs.bytes_column import column_of_bytes
from operators.store.inputs.opened_input import opened_input
from operators.store.inputs.parquet_footer import chunks_of, pages_of
from operators.store.inputs.table_cells import LARGE_BYTES, has_bytes, open_table
from pipelines.bytes_tables import read_bytes_table
from schemas.checkout import ROOT
from schemas.errors import InputError, SpecError
from tests.support.bytes_tables import LAYOUTS, table_of, write_table


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIGHTREAD_CACHE_MB", "1000")


def content(address: str, version: str | None = None) -> bytes:
    with opened_input(address, version) as opened:
        return os.pread(opened.fd, os.fstat(opened.fd).st_size + 1, 0)


def version(table: Path, row: int = 0) -> str:
    with opened_input(f"{table}#{row}") as opened:
        assert opened.version is not None
        return opened.version


def failure(address: str, version: str | None = None) -> InputError:
    with pytest.raises(InputError) as failed, opened_input(address, version):
        pass
    return failed.value


def some_files(count: int, seed: int = 0, most_bytes: int = 5000) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(1, most_bytes)) for _ in range(count)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_cell_in_any_order(tmp_path: Path, layout: str) -> None:
    files = [*some_files(60), b"", os.urandom(LARGE_BYTES + 1)]
    table = write_table(tmp_path / "a.parquet", table_of(files, layout), row_group_rows=17)
    rows = random.Random(1).sample(range(len(files)), len(files))
    assert {row: content(f"{table}#{row}") for row in rows} == dict(enumerate(files))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(content, [f"{table}#{row}" for row in range(len(files))])) == files


@pytest.mark.parametrize("size", [10, LARGE_BYTES])
def test_its_descriptor_is_of_the_cell_alone_and_only_to_read(tmp_path: Path, size: int) -> None:
    table = write_table(tmp_path / "a.parquet", table_of([b"a" * 50, b"x" * size, b"b" * 50]))
    with opened_input(f"{table}#1") as opened:
        assert os.fstat(opened.fd).st_size == size
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(opened.fd, b"y")


def test_rows_in_order_cost_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    values = table_cells.values
    monkeypatch.setattr(table_cells, "values", lambda *about: passes.append(about[1]) or values(*about))
    table = write_table(tmp_path / "a.parquet", table_of(some_files(300)), row_group_rows=100)
    for row in (row for chunk in range(0, 300, 64) for row in range(chunk, min(chunk + 32, 300))):
        content(f"{table}#{row}")
    assert passes == [0, 1, 2]
    with ThreadPoolExecutor(4) as pool:  # threads ask almost in order
        list(pool.map(content, [f"{table}#{row}" for row in range(300)]))
    assert len(passes) <= 9


def test_a_large_cell_is_read_once_for_all_processes_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_table(tmp_path / "a.parquet", table_of([os.urandom(LARGE_BYTES)] * 3))
    listed = version(table, 2)
    monkeypatch.setattr(table_cells, "values", lambda *_: pytest.fail("read again"))
    for _ in range(3):
        assert len(content(f"{table}#2", listed)) == LARGE_BYTES


def test_what_a_row_may_lack(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", table_of([b"1", None], paths=["1.png", None]))
    assert (failure(f"{table}#1").kind, str(failure(f"{table}#1"))) == (
        "not_found",
        "its row of the input table has neither bytes nor a path",
    )
    for row in ("2", "9" * 5000):
        assert failure(f"{table}#{row}").kind == "not_found"
    (tmp_path / "a.parquet#7").write_bytes(b"a file that is called so")
    assert content(f"{table}#7") == b"a file that is called so"


def test_a_table_that_changed_is_noticed_and_a_copy_is_the_same(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", table_of(some_files(20, seed=1)))
    listed = version(table)
    before = content(f"{table}#3", listed)
    os.utime(table, (1, 1))
    assert content(f"{table}#3", listed) == before
    shutil.copy(table, copy := tmp_path / "b.parquet")
    assert content(f"{copy}#3", listed) == before
    with table.open("r+b") as file:  # in place
        file.truncate()
        pq.write_table(table_of(some_files(20, seed=2)), file)
    assert failure(f"{table}#3", listed).kind == "changed"
    assert content(f"{table}#3") == some_files(20, seed=2)[3]


def test_a_damaged_page_costs_its_rows_and_those_behind_it_in_their_group(tmp_path: Path) -> None:
    files = some_files(60, most_bytes=3000)
    table = write_table(
        tmp_path / "a.parquet",
        table_of(files, "binary"),
        row_group_rows=20,
        use_dictionary=False,
        data_page_size=4000,
        write_batch_size=2,
        write_page_checksum=True,
        write_statistics=False,  # they repeat values
        compression="none",
    )
    data = bytearray(table.read_bytes())
    place = data.find(files[30]) + 1
    data[place] ^= 255
    table.write_bytes(data)
    read = []
    for row in range(60):
        with contextlib.suppress(InputError):
            assert content(f"{table}#{row}") == files[row]
            read.append(row)
    assert read[:20] == list(range(20))
    assert read[-20:] == list(range(40, 60))
    assert 20 <= read[-21] < 30
    assert failure(f"{table}#35").kind == "malformed"


def test_what_is_no_table(tmp_path: Path) -> None:
    place = tmp_path / "a.parquet"
    for data, kind in (
        (b"", "malformed"),
        (b"PAR1", "malformed"),
        (b"PARE" * 9, "encrypted"),
        (b"x" * 99, "malformed"),
    ):
        place.write_bytes(data)
        assert failure(f"{place}#0").kind == kind
    place.write_bytes(b"PAR1" + (1 << 31).to_bytes(4, "little") + b"PAR1")
    assert failure(f"{place}#0").kind == "malformed"
    with pa.OSFile(str(place), "wb") as file, pa.ipc.new_file(file, pa.schema([])):
        pass
    assert "Arrow file" in str(failure(f"{place}#0"))
    write_table(place, pa.table({"n": [1]}))
    assert "no column of bytes" in str(failure(f"{place}#0"))


def test_a_damaged_table_costs_rows_and_never_the_process(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """pyarrow ended the process on some of these, when it was asked for a column chunk."""
    rng = random.Random(7)
    files = [rng.randbytes(200) for _ in range(20)]
    good = write_table(tmp_path / "good.parquet", table_of(files, n=list(range(20))), row_group_rows=7).read_bytes()
    footer_bytes = int.from_bytes(good[-8:-4], "little")
    place, kinds = tmp_path / "a.parquet", list[str]()
    for case in range(amount(300, 20_000)):
        data = bytearray(good[: rng.randrange(len(good))] if case % 4 == 0 else good)
        for _ in range(rng.randrange(1, 4)) if case % 4 else ():
            data[rng.randrange(len(data) - 8 - footer_bytes if case % 4 == 1 else 0, len(data))] = rng.randrange(256)
        place.write_bytes(data)
        for row in (0, 13):
            try:
                kinds.append("read" if content(f"{place}#{row}") == files[row] else "other")
            except InputError as error:
                kinds.append(error.kind)
        try:
            with place.open("rb") as file:
                table = open_table(file.fileno())
                if (column := column_of_bytes(table.schema_arrow)) is not None:
                    read_bytes_table(table, file.fileno(), column, 1 << 20)
        except (InputError, SpecError, pa.ArrowException, OSError, ValueError):
            pass
    assert {"read", "malformed"} <= set(kinds) <= {"read", "other", "malformed", "not_found", "too_large", "encrypted"}
    figure(f"damaged tables of bytes: {len(kinds)} cells, of which {kinds.count('read')} are read")


@given(st.lists(st.sampled_from([b"a", None]), min_size=1, max_size=60), st.integers(1, 20), st.booleans())
@settings(max_examples=30, deadline=None)
def test_which_rows_have_bytes(files: list[bytes | None], group_rows: int, statistics: bool) -> None:
    table = table_of(files, paths=["x.png"] * len(files))
    path = Path(os.environ["SIGHTREAD_CACHE"]).parent / "nulls.parquet"
    write_table(path, table, row_group_rows=group_rows, write_statistics=statistics)
    column = column_of_bytes(table.schema)
    assert column is not None
    with path.open("rb") as file:
        opened = open_table(file.fileno())
        assert has_bytes(opened, column, file.fileno()) == [data is not None for data in files]
        groups = [opened.metadata.row_group(group) for group in range(opened.num_row_groups)]
        expected = [group.column(0).statistics.null_count if statistics else None for group in groups]
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, os.SEEK_END)
        assert [chunk.nulls for chunk in chunks_of(file.read(length), "image.bytes")] == expected


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_what_pages_unpack_to(tmp_path: Path, compression: str, dictionary: bool) -> None:
    files = [*some_files(500), bytes(300_000)]
    options = {"use_dictionary": dictionary, "data_page_size": 50_000, "write_batch_size": 7}
    table = write_table(tmp_path / "a.parquet", table_of(files), row_group_rows=200, compression=compression, **options)
    with table.open("rb") as file:
        metadata = open_table(file.fileno()).metadata
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, os.SEEK_END)
        for group, chunk in enumerate(chunks_of(file.read(length), "image.bytes")):
            pages = list(pages_of(file.fileno(), chunk))
            there = metadata.row_group(group).column(0)
            assert chunk.size_bytes == there.total_compressed_size
            assert sum(packed for packed, _ in pages) < there.total_compressed_size
            assert sum(unpacked for _, unpacked in pages) < there.total_uncompressed_size
            assert sum(unpacked for _, unpacked in pages) > 0.9 * there.total_uncompressed_size


def test_a_page_that_a_few_bytes_blow_up_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = table_of([b"a", bytes(40 << 20), b"c"], "binary")
    table = write_table(tmp_path / "a.parquet", bomb, row_group_rows=1, compression="zstd", use_dictionary=False)
    assert len(content(f"{table}#1")) == 40 << 20
    monkeypatch.setattr(table_cells, "BLOWN_UP_BYTES", 32 << 20)
    table = Path(shutil.copy(table, tmp_path / "b.parquet"))
    monkeypatch.setattr(table_cells, "values", lambda *_: pytest.fail("unpacked"))
    assert (failure(f"{table}#1").kind, "unpacks from" in str(failure(f"{table}#1"))) == ("too_large", True)


@given(st.binary(max_size=300))
def test_no_footer_at_all(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        chunks_of(data, "image.bytes")


def test_which_column_holds_the_files() -> None:
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def name(**columns: pa.DataType) -> str | None:
        column = column_of_bytes(pa.schema(list(columns.items())))
        return column and column.leaf

    assert name(image=struct, bytes=pa.binary(), video=struct) == "bytes"
    assert name(front_view=struct, n=pa.int64()) == "front_view.bytes"
    assert name(front_view=struct, sound=pa.binary(), audio=struct) == "front_view.bytes"
    assert name(thumbnail=pa.binary(), image=pa.string()) is None
    assert name(images=pa.list_(struct)) is None
    assert name(audio=struct) is None
    with pytest.raises(SpecError, match="columns 'left' and 'right' hold files"):
        name(left=struct, right=struct)


def test_what_it_takes_of_memory(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """Of a process that opens one cell after the other: a page and a cell, whatever the table holds."""
    group_rows, groups = 25, amount(4, 20)
    path = tmp_path / "a.parquet"
    rng = random.Random(0)
    schema = table_of([b""]).schema
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(groups):
            writer.write_table(table_of([rng.randbytes(1 << 20) for _ in range(group_rows)]))
    rows = group_rows * groups
    command = [sys.executable, "-m", "tests.support.cells_memory", str(path), str(rows)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before_mb, peak_mb = map(float, done.stdout.split())
    assert peak_mb - before_mb < 3 * group_rows + 40
    figure(f"{rows} cells of 1 MB, pages of {group_rows} MB: {peak_mb - before_mb:.0f} MB over {before_mb:.0f} MB")
