"""`sightread markdown OUTPUT`: assemble each document's Markdown from the pages that parse_document read."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from schemas.errors import SpecError

_QUERY = """
select input_id, any_value(input_uri), string_agg(
    case when status = 'ok' then result.markdown
         else '<!-- page ' || coalesce(page, unit_index + 1) || ' could not be read: ' || error.kind || ' -->' end,
    chr(10) || chr(10) order by unit_index)
from read_parquet($parts, hive_partitioning = false) group by input_id order by 2
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, help="the folder of a job's output")


def run(options: argparse.Namespace) -> int:
    for path in write_documents(options.output):
        print(path)
    return 0


def write_documents(output: Path) -> Iterator[Path]:
    """Writes <output>/markdown/<name>-<input_id>.md, a page that could not be read as a comment; yields the paths.

    Raises SpecError when the job has no parsed pages.
    """
    parts = sorted(str(path) for path in (output / "results" / "task=parse_document").glob("part-*.parquet"))
    if not parts:
        raise SpecError(f"{output} holds no results of the task parse_document")
    folder = output / "markdown"
    folder.mkdir(exist_ok=True)
    with duckdb.connect() as db:
        documents = db.execute(_QUERY, {"parts": parts})
        while (row := documents.fetchone()) is not None:
            input_id, uri, text = row
            # a name from elsewhere: nothing in it may lead out of the folder or steer a terminal
            stem = re.sub(r"[^\w.-]+", "_", Path(uri).stem)[:80]
            path = folder / f"{stem}-{input_id}.md"
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(f"{text}\n", encoding="utf-8")
            temporary.replace(path)
            yield path
