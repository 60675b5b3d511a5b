"""Whether PySpark reads what is there (scripts/check-spark): python -m tests.support.spark_check VERB FOLDER

VERB: write, read, compare. Two of them run in our environment, read in PySpark's, which has nothing of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OUTPUTS = ("half", "finished", "grown")
TASKS = ("look", "find", "never")


def write(folder: Path) -> None:
    from tests.support import some_results

    assert tuple(some_results.RESULTS) == TASKS
    some_results.half(folder / "half")
    some_results.finished(folder / "finished")
    some_results.grown(folder / "grown")


def read(folder: Path) -> None:
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")  # it warns of every glob
    print("PySpark", spark.version)
    for output in OUTPUTS:
        for task in TASKS:
            frame = spark.read.option("mergeSchema", "true").parquet(f"{folder}/{output}/results/task={task}/*.parquet")
            rows = [row.asDict(recursive=True) for row in frame.collect()]
            types = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
            (folder / f"{output}-{task}.json").write_text(json.dumps({"types": types, "rows": rows}))
        tasks = spark.read.parquet(f"{folder}/{output}/results").select("task").distinct().collect()
        assert {row["task"] for row in tasks} == set(TASKS), tasks
    spark.stop()


def compare(folder: Path) -> None:
    from tests.test_readers import by_pyarrow, plain, plain_rows

    for output in OUTPUTS:
        for task in TASKS:
            there = by_pyarrow(str(folder / output), task)
            by_spark: dict[str, Any] = json.loads((folder / f"{output}-{task}.json").read_text())
            assert plain_rows(by_spark["rows"]) == plain(there), (output, task)
            types = {field.name: _spark_type(field.type) for field in there.schema}
            different = {name: (by_spark["types"].get(name), types[name]) for name in types
                         if by_spark["types"].get(name) != types[name]}  # fmt: skip
            assert not different, (output, task, different)
            print(f"{output}, {task}: {there.num_rows} rows and {there.num_columns} columns alike")


def _spark_type(type_: Any) -> str:
    import pyarrow as pa

    # what is null throughout has a column of INT32 in the file, which Spark takes for just that
    names = {pa.string(): "string", pa.int32(): "int", pa.int64(): "bigint", pa.float64(): "double",
             pa.bool_(): "boolean", pa.null(): "int"}  # fmt: skip
    if pa.types.is_struct(type_):
        return "struct<" + ",".join(f"{field.name}:{_spark_type(field.type)}" for field in type_) + ">"
    return f"array<{_spark_type(type_.value_type)}>" if pa.types.is_list(type_) else names[type_]


if __name__ == "__main__":
    {"write": write, "read": read, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))
