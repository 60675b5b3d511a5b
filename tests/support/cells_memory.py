"""Open every cell of a table of bytes; print the peak of memory before and after, in MB: a program of its own, since a
peak is that of a process's life. python -m tests.support.cells_memory TABLE ROWS"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow.parquet  # noqa: F401  it counts before

from operators.store.inputs.opened_input import opened_input


def main() -> None:
    table, rows = sys.argv[1], int(sys.argv[2])
    before_mb, version = _peak_mb(), None
    for row in range(rows):
        with opened_input(f"{table}#{row}", version) as opened:
            version = opened.version
            assert os.fstat(opened.fd).st_size
    print(before_mb, _peak_mb())


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
