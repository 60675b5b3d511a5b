"""What a file takes of memory at most, in who plans and in who decodes, as JSON: a program of its own, since a peak is
that of a process's life. python -m tests.support.peak_memory FILE"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa

from operators.media.probe import Probe
from operators.media.sandbox import Sandbox
from pipelines.chunking import cut, with_full_inputs
from pipelines.listing import list_inputs
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.unit import Indexed
from tests.support.mutants import TASKS


def main() -> None:
    settings = DecodeSettings()
    probe = Probe(settings)
    planned = probe(list_inputs((sys.argv[1],), Path("/nowhere")).inputs).to_pylist()
    prober_mb = _peak_mb(probe._sandboxes[0].child_pid)
    probe.close()
    chunks = list(cut(with_full_inputs(planned, TASKS), TASKS, max_units=32, max_bytes=64 << 20))
    pa.Table.from_pylist([{"passthrough": b"", **chunk} for chunk in chunks], schema=tables.CHUNKS)
    planner_mb = _peak_mb("self")
    box = Sandbox(settings)
    units = errors = 0
    for chunk in chunks:
        parts = [unit for unit in chunk["units"] if unit["error"] is None and unit["unit_kind"] in ("page", "clip")]
        for batch in (
            box.decode(parts[0]["input_uri"], parts[0]["media"], list(map(Indexed.of, parts))) if parts else ()
        ):
            units += 1
            errors += batch.column("error")[0].is_valid
    decoder_mb = _peak_mb(box.child_pid)
    box.close()
    answer = {"planner_mb": planner_mb, "prober_mb": prober_mb, "decoder_mb": decoder_mb}
    print(json.dumps({**answer, "units": units, "errors": errors}))


def _peak_mb(pid: int | str | None) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
