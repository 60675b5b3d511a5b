"""What docs/output.md says of an output is so: its examples run, its files have these names, footers and seals."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from operators.store.addresses import store_at
from operators.store.part_log import PartLog
from operators.store.store import Store
from operators.store.view import View
from pipelines.folder import LAYOUT, JobFolder
from pipelines.slices import MOST_UNITS
from schemas import tables
from tests.support.object_server import S3Server
from tests.support.world import ROOT

PAGE = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def rows(chunk_id: str, *units: int, input_id: str = "i", others: tuple[str, ...] = (), **of_all: Any) -> pa.Table:
    schema = tables.results_schema(pa.struct([("text", pa.string())]), [pa.field(name, pa.string()) for name in others])
    plain = {
        "input_id": input_id, "input_uri": f"/{input_id}.pdf", "unit_count": 9, "unit_kind": "page",
        "request_index": 0, "status": "ok", "result": {"text": "a"}, "prompt_tokens": 1, "output_tokens": 2,
        "decode_s": 0.1, "infer_s": 0.2, "generation": 0, "attempt": 1, "chunk_id": chunk_id, "job": "j",
        "model": "m", "weights_sha256": "", "prompt_sha256": "", "spec_sha256": "", "version": "0",
    }  # fmt: skip
    of_all |= dict.fromkeys(others, "other")
    return pa.Table.from_pylist([{**plain, "unit_index": unit, **of_all} for unit in units], schema=schema)


FIRST, SECOND = "00000-0000-9f86d081884c7d65", "00001-0002-9f86d081884c7d65"


def fill(store: Store) -> None:
    """Two slices, of which one has a column that the other lacks."""
    JobFolder(store).claim()
    log, view = PartLog(store), View(store)
    log.write("ocr", FIRST, rows(FIRST, 0, 1))
    log.write("ocr", SECOND, rows(SECOND, 0, input_id="k", others=("shelf",)))
    view.publish_all(["ocr"], {})


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fill(store_at("out/papers"))
    return Path("out/papers")


def of(library: str) -> list[str]:
    return [example for example in EXAMPLES if f"import {library}\n" in example or f"from {library}" in example]


@pytest.mark.parametrize("library", ["duckdb", "polars", "pandas", "pyspark"])
def test_examples_read_the_rows(library: str, output: Path) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    (example,) = (example for example in of(library) if "s3://" not in example)
    names: dict[str, Any] = {}
    exec(example, names)
    there = names["results"]
    columns = list(there.columns)
    assert ("shelf" in columns) == (library in ("duckdb", "pyspark"))
    count = there.count() if library == "pyspark" else len(there)
    assert count == 3


def test_a_bucket_is_read_as_the_page_says(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.new_bucket()
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    fill(store_at(f"{bucket}/scans"))
    (example,) = (example for example in EXAMPLES if "s3://" in example)
    names: dict[str, Any] = {}
    exec(example.replace("s3://my-results", bucket), names)
    assert sorted(names["rows"]) == [("/i.pdf", "ok"), ("/i.pdf", "ok"), ("/k.pdf", "ok")]


def test_one_flipped_bit_shows(output: Path) -> None:
    (example,) = of("hashlib")
    names: dict[str, Any] = {}
    exec(example, names)
    path = output / "results" / "task=ocr" / "part-00000.parquet"
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for place in (10, footer - 40, footer + 5):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert not names["is_whole"](str(path))


def test_footers_have_the_keys_of_the_page(output: Path) -> None:
    table = PAGE.partition("## Footers")[2].partition("##")[0]
    described = re.findall(r"^\| `(\w+)` \|(.*?)\|(.*?)\|$", table, re.MULTILINE)
    part = output / "_job" / "parts" / "task=ocr" / "00000" / f"{FIRST}.parquet"
    view = output / "results" / "task=ocr" / "part-00000.parquet"
    for path, keys in (
        (view, {key for key, of_view, _ in described if of_view.strip()}),
        (part, {key for key, _, of_part in described if of_part.strip()}),
    ):
        assert json.loads(pq.ParquetFile(path).schema_arrow.metadata[b"sightread"]).keys() == keys


def files_of_the_page() -> list[re.Pattern[str]]:
    """Of the table of files: a pattern for each name in it."""
    table = PAGE.partition("## Files")[2].partition("##")[0]
    names = (name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall("`(.*?)`", cell))
    patterns = []
    for name in names:
        pattern = re.sub(r"<(\w+)>", lambda part: r"[\w-]+" if part[1] in ("task", "chunk_id") else r"\d{5,}", name)
        patterns.append(re.compile(pattern.replace(".", r"\.") + ("" if not name.endswith("/") else ".*")))
    return patterns


def test_every_file_that_a_run_leaves_is_on_the_page(in_process: Path) -> None:
    (in_process / "rows.csv").write_text("question\nHow many?\nWhere?\n")
    reply = {"sample": "*", "task": "*", "reply": json.dumps({"n": "2"})}
    (in_process / "replies.jsonl").write_text(json.dumps(reply))
    answer = {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}
    for task in ("first", "again"):
        spec = {
            "name": "rows", "inputs": ["rows.csv"], "output": "out",
            "tasks": [{"name": task, "prompt": "{question}", "units": ["text"], "output": answer}],
            "engine": {"kind": "scripted", "recording": "replies.jsonl"},
        }  # fmt: skip
        (in_process / "spec.yaml").write_text(json.dumps(spec))
        assert main(["run", "spec.yaml"]) == 0
    keys = store_at("out").list()
    assert any(key.startswith("results/task=again/") for key in keys)
    assert [key for key in keys if not any(pattern.fullmatch(key) for pattern in files_of_the_page())] == []


def test_figures_of_the_page() -> None:
    assert f"This is layout {LAYOUT}:" in PAGE
    assert f'{{"layout": {LAYOUT}}}' in PAGE
    assert f"{MOST_UNITS:,} units" in PAGE
