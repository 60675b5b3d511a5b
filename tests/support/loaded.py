"""A small Ray as a run starts it; one row, then two, through actors that say what is loaded beside them, and who lives
meanwhile.

python -m tests.support.loaded FOLDER: prints it as JSON; FOLDER is where modules of tasks are looked for.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines import ray_data, task_modules
from pipelines.plan import Stage


class Loaded:
    """Adds a line of JSON to what it gets: the modules of its process, and where it looks for more."""

    def __call__(self, told: pa.Table) -> pa.Table:
        told_now = json.dumps([sorted(name for name in sys.modules if "." not in name), sys.path])
        return pa.table({"told": [*told.column("told").to_pylist(), told_now]})


class LoadedToo(Loaded):
    """A pool of its own: Ray Data names actors by their class."""


def lives() -> list[str]:
    """What each process is that lives in the head's session."""
    head = ray_data._head
    assert head is not None
    names = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if session == head.process.pid:
                names.append(_name(line))
    return sorted(names)


def _name(line: str) -> str:
    if actor := re.match(r"ray::(\w+)(?:\(MapBatches\((\w+)\)\))?", line):
        return actor[2] or actor[1]
    known = re.search(r"/(gcs_server|raylet) |-m (pipelines\.\w+) |(signal\.pause)", line)
    return next(part for part in known.groups() if part) if known else line


def main() -> None:
    task_modules.look_in(Path(sys.argv[1]))
    ray_data.connect(1)
    plan = [Stage(kind.__name__, kind, (), actors=2, calls=1, cpus=0) for kind in (Loaded, LoadedToo)]
    result: dict[str, Any] = {}
    try:
        for rows in (1, 2):
            for table in ray_data.execute(pa.table({"told": ["[]"] * rows}), plan):
                told = [json.loads(line) for line in table.column("told").to_pylist()[-len(plan) :]]
                result[str(rows)] = {"lives": lives(), "told": told}
    finally:
        ray_data.disconnect()
    result["driver"] = sorted(name for name in sys.modules if "." not in name)
    result["variables"] = sorted(name for name in os.environ if "RAY_AUTH" in name)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
