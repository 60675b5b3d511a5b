"""`sightread markdown OUTPUT`: assemble each document's Markdown from the pages that parse_document read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from jobs.echo import echo
from operators.store.addresses import opened
from operators.store.results import Results
from operators.store.store import overwrite
from pipelines.folder import JobFolder
from schemas.errors import SpecError

_COLUMNS = ("input_id", "input_uri", "unit_index", "page", "status", "error", "result")
_QUERY = """
select input_id, any_value(input_uri) as uri, string_agg(
    case when status = 'ok' then result.markdown
         else '<!-- page ' || coalesce(page, unit_index + 1) || ' could not be read: ' || error.kind || ' -->' end,
    chr(10) || chr(10) order by unit_index) as text
from results group by input_id order by 2
"""


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
    store = opened(output)
    JobFolder(store).check_readable()
    results = Results(store)
    if "parse_document" not in results.tasks():
        raise SpecError(f"{output} holds no results of the task parse_document")
    for document in results.query("parse_document", _QUERY, _COLUMNS):
        # a name from elsewhere: nothing in it may lead out of the folder or steer a terminal
        stem = re.sub(r"[^\w.-]+", "_", Path(document["uri"]).stem)[:80]
        key = f"markdown/{stem}-{document['input_id']}.md"
        overwrite(store, key, f"{document['text']}\n".encode())
        yield f"{store.address}/{key}"
