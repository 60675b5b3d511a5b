"""`sightread reparse OUTPUT`: parsers and checks once more over the raw replies of a job. No engine, no inputs."""

from __future__ import annotations

from pathlib import Path

from jobs.load import load_stored
from pipelines.reparse import reparse


def reparse_output(output: Path) -> int:
    spec = load_stored(output / "_job" / "spec.yaml")
    for total in reparse(output, spec):
        kept = f"; {total.kept} were read line by line and stay as they are" if total.kept else ""
        print(
            f"{total.task}: {total.rows} rows, {total.changed} changed, "
            f"ok {total.ok_before} before, {total.ok_after} now{kept}"
        )
    return 0
