"""What reads the results reads the same of them: rows and types, of an output that a run is at and of a finished one.

PySpark too, by scripts/check-spark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import some_results
from tests.support.some_results import CHUNKS, RESULTS, SLICES, UNITS

OUTPUTS = {"half": some_results.half, "finished": some_results.finished, "grown": some_results.grown}


def by_duckdb(pattern: str) -> pa.Table:
    with duckdb.connect() as db:
        return db.sql(
            f"select * from read_parquet('{pattern}', hive_partitioning=false, union_by_name=true)"
        ).to_arrow_table()


def by_polars(pattern: str) -> pa.Table:
    rows = polars.scan_parquet(pattern, hive_partitioning=False, missing_columns="insert", extra_columns="ignore")
    return rows.collect().to_arrow()


def by_pandas(pattern: str) -> pa.Table:
    files = sorted(Path(pattern).parent.glob("*.parquet"))
    frame = pandas.concat(pandas.read_parquet(path, dtype_backend="pyarrow", partitioning=None) for path in files)
    return pa.Table.from_pandas(frame, preserve_index=False)


def by_pandas_folder(pattern: str) -> pa.Table:
    frame = pandas.read_parquet(Path(pattern).parent, dtype_backend="pyarrow", partitioning=None)
    return pa.Table.from_pandas(frame, preserve_index=False)


READERS = {"DuckDB": by_duckdb, "Polars": by_polars, "pandas": by_pandas, "pandas, a folder": by_pandas_folder}


def plain(table: pa.Table) -> list[str]:
    return plain_rows(table.to_pylist())


def plain_rows(rows: list[dict[str, Any]]) -> list[str]:
    """In an order of their own, as JSON: NaN and null are told apart, and so are 1 and 1.0."""
    rows = sorted(rows, key=lambda row: (row["input_id"], row["unit_index"], row["request_index"]))
    return [json.dumps(row, sort_keys=True) for row in rows]


def type_of(type_: pa.DataType) -> str:
    """One name for what readers have several of: strings of 32 and 64 bits, names of the items of a list."""
    if pa.types.is_struct(type_):
        return "{" + ", ".join(f"{field.name}: {type_of(field.type)}" for field in type_) + "}"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return f"[{type_of(type_.value_type)}]"
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "string"
    return str(type_)


def types(table: pa.Table) -> dict[str, str]:
    return {field.name: type_of(field.type) for field in table.schema}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in OUTPUTS.items()}


def by_pyarrow(output: str, task: str) -> pa.Table:
    """What is there: file by file, by the names of their columns."""
    files = sorted(Path(output, "results", f"task={task}").glob("*.parquet"))
    assert len(files) > 1
    tables = [pq.ParquetFile(path).read().replace_schema_metadata(None) for path in files]
    return pa.concat_tables(tables, promote_options="default")


@pytest.mark.parametrize("task", RESULTS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("reader", READERS)
def test_readers_read_alike(outputs: dict[str, str], reader: str, output: str, task: str) -> None:
    there = by_pyarrow(outputs[output], task)
    read = READERS[reader](f"{outputs[output]}/results/task={task}/*.parquet")
    if output == "grown" and reader in ("Polars", "pandas, a folder"):  # the columns of the first file
        there = there.drop_columns(["aisle"])
    assert plain(read) == plain(there)
    assert types(read) == types(there)


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_they_read_is_a_row_for_each_unit(outputs: dict[str, str], output: str) -> None:
    for task in RESULTS:
        table = by_pyarrow(outputs[output], task)
        units = list(zip(*(table.column(name).to_pylist() for name in ("input_id", "unit_index")), strict=True))
        assert len(units) == len(set(units))
        if output != "half":
            assert len(units) == SLICES * CHUNKS * UNITS
        if output == "finished":
            assert set(table.column("generation").to_pylist()) == {0, 1}
            assert set(table.column("attempt").to_pylist()) == {1, 2}
        if output == "half":
            assert 0 < len(units) < SLICES * CHUNKS * UNITS
        results = [row["result"] for row in table.to_pylist()]
        assert (results.count(None) == len(results)) == (task == "never")


def test_all_tasks_are_read_at_once(outputs: dict[str, str]) -> None:
    """By the columns that all of them have; the task is a column then."""
    pattern = f"{outputs['finished']}/results/task=*/*.parquet"
    with duckdb.connect() as db:
        counts = db.sql(f"select task, status, count(*) from '{pattern}' group by all order by all").fetchall()
    table = pa.concat_tables([by_pyarrow(outputs["finished"], task).select(["status"]) for task in sorted(RESULTS)])
    assert sum(count for *_, count in counts) == table.num_rows == len(RESULTS) * SLICES * CHUNKS * UNITS
    assert {task for task, *_ in counts} == set(RESULTS)
    frame = polars.scan_parquet(pattern, hive_partitioning=True).select("task", "status").collect()
    assert frame.group_by("task", "status").len().sort("task", "status").rows() == counts
