"""`sightread reparse OUTPUT`: parsers and checks once more over the raw replies of a job. No engine, no inputs."""

from __future__ import annotations

from jobs.load import parse_stored
from operators.store.addresses import store_at
from pipelines.folder import JobFolder
from pipelines.reparse import reparse


def reparse_output(output: str) -> int:
    store = store_at(output)
    spec = parse_stored(JobFolder(store).spec(), f"the spec of {output}")
    for total in reparse(store, spec):
        kept = f"; {total.kept} were read line by line and stay as they are" if total.kept else ""
        print(
            f"{total.task}: {total.rows} rows, {total.changed} changed, "
            f"ok {total.ok_before} before, {total.ok_after} now{kept}"
        )
    return 0
