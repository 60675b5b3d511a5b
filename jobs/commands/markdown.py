"""`sightread markdown OUTPUT`: assemble each document's Markdown from the pages that parse_document read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.echo import echo
from operators.store.addresses import absolute, opened
from operators.store.results import Results
from operators.store.store import overwrite
from pipelines.folder import JobFolder
from schemas.errors import JobConflict, SpecError

_COLUMNS = ("input_id", "input_uri", "unit_index", "page", "status", "error", "result")
_INNER = (("error", "kind"), ("result", "markdown"))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the address of a job's output")


def run(options: argparse.Namespace) -> int:
    for path in write_documents(options.output):
        echo(path)
    return 0


def write_documents(output: str) -> Iterator[str]:
    """output: an address. Writes <output>/markdown/<name>-<input_id>.md, a page that could not be read as a comment;
    yields where they are.

    Raises SpecError when the job has no parsed pages.
    """
    store = opened(absolute(output))
    JobFolder(store).check_readable()
    results = Results(store)
    if "parse_document" not in results.tasks():
        raise SpecError(f"{output} holds no results of the task parse_document")
    for (input_id, uri), pages in groupby(_pages(results), key=lambda page: page[:2]):
        # a name from elsewhere: nothing in it may lead out of the folder or steer a terminal
        stem = re.sub(r"[^\w.-]+", "_", Path(uri).stem)[:80]
        key = f"markdown/{stem}-{input_id}.md"
        overwrite(store, key, ("\n\n".join(text for *_, text in pages) + "\n").encode())
        yield f"{store.address}/{key}"


def _pages(results: Results) -> Iterator[tuple[str, str, str]]:
    """input_id, input_uri and text of all pages, those of a document beside each other in their order."""
    for batch in results.batches("parse_document", _COLUMNS):
        plain = (batch.column(name).to_pylist() for name in _COLUMNS[:5])
        try:
            inner = (pc.struct_field(batch.column(column), name) for column, name in _INNER)
            rows = zip(*plain, *(values.to_pylist() for values in inner), strict=True)
        except pa.ArrowException as error:
            raise JobConflict(f"{results.folder}: the results of parse_document hold no Markdown: {error}") from error
        for input_id, uri, unit, page, status, failure, markdown in rows:
            number = unit + 1 if page is None else page
            comment = f"<!-- page {number} could not be read: {failure} -->"
            yield input_id, uri, (markdown or "") if status == "ok" else comment
