"""A reader that asks for the results of a job over and over, with none of our code:

    python -m tests.support.polling_reader ADDRESS

Once SIGTERM comes it prints what it met, a line of JSON: Met. A local folder is read by DuckDB, by the glob that users
write, and file by file; a bucket through obstore's fsspec file system by DuckDB and pyarrow. A read that fails is
repeated at once.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PAUSE_S = 0.1
REPEATS = 4
KEY = ("task", "input_id", "unit_index", "request_index")


@dataclass
class Met:
    """repeated: reads that failed and then succeeded, by what was said; failed: those that never did. unreadable: files
    that could not be read, each opened once. doubled: units that had two rows. went_back: units that an earlier
    generation was shown of after a later one. vanished: units of which no row was shown any more. rows: at last."""

    reads: int = 0
    files: int = 0
    repeated: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    went_back: list[str] = field(default_factory=list)
    vanished: int = 0
    rows: int = 0
    longest_s: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.reads} reads ({sum(self.repeated.values())} repeated), {self.files} files, {len(self.failed)} "
            f"failed, {len(self.unreadable)} unreadable, {len(self.doubled)} doubled, {len(self.went_back)} went back, "
            f"{self.vanished} vanished"
        )


@contextmanager
def polled(address: str) -> Iterator[Met]:
    """What a reader met is complete at the end of the block."""
    met = Met()
    command = [sys.executable, "-m", "tests.support.polling_reader", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield met
        finally:
            process.terminate()
            text = process.communicate(timeout=120)[0]
    for name, value in json.loads(text).items():
        setattr(met, name, value)


class Reader:
    def __init__(self, address: str) -> None:
        self._address = address
        self._shown: dict[tuple[Any, ...], int] = {}
        self._generations: dict[tuple[Any, ...], int] = {}
        self._reads: Counter[str] = Counter()
        self._repeated: Counter[str] = Counter()
        self.met = Met()

    def poll(self) -> None:
        raise NotImplementedError

    def read(self, what: str, read: Any) -> pa.Table | None:
        """Again while it fails; None where it always did."""
        self.met.reads += 1
        for repeat in range(REPEATS):
            started = time.monotonic()
            try:
                table: pa.Table = read()
            except Exception as error:  # noqa: BLE001  whatever a library says
                if repeat == REPEATS - 1:
                    self.met.failed.append(f"{what}: {type(error).__name__}: {error!s:.300}")
                else:
                    self._repeated[f"{what}: {type(error).__name__}: {error!s:.60}"] += 1
                time.sleep(0.01)
                continue
            self.met.longest_s = max(self.met.longest_s, time.monotonic() - started)
            self.met.repeated = dict(self._repeated)
            return table
        return None

    def check(self, task: str, table: pa.Table) -> None:
        """All rows of a task, with its generations."""
        names = (*KEY[1:], "generation")
        columns = (table.column(name).to_pylist() for name in names)
        shown: Counter[tuple[Any, ...]] = Counter()
        for *unit, generation in zip(*columns, strict=True):
            key = (task, *unit)
            shown[key] += 1
            if generation < self._generations.get(key, -1):
                self.met.went_back.append(f"{key}: {generation} after {self._generations[key]}")
            self._generations[key] = generation
        self.met.doubled += [str(key) for key, rows in shown.items() if rows > 1]
        before = {key for key in self._shown if key[0] == task}
        self.met.vanished += len(before - shown.keys())
        self._shown = {key: rows for key, rows in self._shown.items() if key[0] != task} | dict(shown)
        self.met.rows = len(self._shown)

    def no_doubles(self, groups: pa.Table) -> None:
        self.met.doubled += [str(row) for row in groups.to_pylist()]


class OfFolder(Reader):
    def __init__(self, address: str) -> None:
        super().__init__(address)
        import duckdb

        self._duckdb = duckdb
        self._kept = duckdb.connect()

    def poll(self) -> None:
        results = Path(self._address) / "results"
        for folder in sorted(results.glob("task=*")):
            if not any(folder.glob("*.parquet")):
                continue
            task = folder.name.removeprefix("task=")
            table = self.read("DuckDB, all columns", lambda: self._all(f"{folder}/*.parquet"))  # noqa: B023
            if table is not None:
                self.check(task, table)
            for path in sorted(folder.glob("*.parquet")):
                self._file(path)
        if any(results.glob("task=*/*.parquet")):
            groups = self.read("DuckDB, groups", lambda: self._groups(f"{results}/task=*/*.parquet"))
            if groups is not None:
                self.no_doubles(groups)

    def _all(self, pattern: str) -> pa.Table:
        """By a connection of its own every other time: what one kept open remembers may be of a file that is gone."""
        if self.met.reads % 2:
            return self._kept.sql(f"select * from '{pattern}'").to_arrow_table()
        with self._duckdb.connect() as db:
            return db.sql(f"select * from '{pattern}'").to_arrow_table()

    def _groups(self, pattern: str) -> pa.Table:
        keys = ", ".join(KEY)
        return self._kept.sql(
            f"select {keys}, count(*) as rows from '{pattern}' group by {keys} having count(*) > 1"
        ).to_arrow_table()

    def _file(self, path: Path) -> None:
        """Opened once, as it is at that moment, and read to its last byte."""
        self.met.files += 1
        try:
            with path.open("rb") as file:
                pq.ParquetFile(file, page_checksum_verification=True).read()
        except Exception as error:  # noqa: BLE001
            self.met.unreadable.append(f"{path}: {error!r:.300}")


class OfBucket(Reader):
    def __init__(self, address: str) -> None:
        super().__init__(address)
        import os

        import duckdb
        from obstore.fsspec import FsspecStore

        scheme = address.partition(":")[0]
        self._files = FsspecStore(
            scheme, skip_instance_cache=True, client_options={"allow_http": True},
            endpoint=os.environ["AWS_ENDPOINT_URL"], region=os.environ["AWS_REGION"],
        )  # fmt: skip
        self._db = duckdb.connect()
        self._db.register_filesystem(self._files)

    def poll(self) -> None:
        results = f"{self._address}/results"
        keys = [key for key in self._files.find(results.partition("://")[2]) if key.endswith(".parquet")]
        tasks: dict[str, list[str]] = {}
        for key in keys:
            tasks.setdefault(key.rpartition("/")[0].rpartition("task=")[2], []).append(key)
        for task, files in sorted(tasks.items()):
            ways = {"DuckDB": self._by_duckdb, "pyarrow": self._by_pyarrow}
            for name, way in ways.items():
                table = self.read(name, lambda: way(task, files))  # noqa: B023
                if table is not None:
                    self.check(task, table)

    def _by_duckdb(self, _: str, files: list[str]) -> pa.Table:
        """File by file: obstore finds nothing by a pattern with s3:// before it, which is how DuckDB asks."""
        scheme = self._address.partition(":")[0]
        return self._db.sql(f"select * from read_parquet({[f'{scheme}://{key}' for key in files]})").to_arrow_table()

    def _by_pyarrow(self, _: str, files: list[str]) -> pa.Table:
        tables = []
        for key in files:
            self.met.files += 1
            with self._files.open(key) as file:
                tables.append(pq.ParquetFile(file).read())
        return pa.concat_tables(tables, promote_options="permissive")


def main(address: str) -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    reader: Reader = OfBucket(address) if "://" in address else OfFolder(address)
    while not ended:
        with contextlib.suppress(FileNotFoundError):  # nothing is there yet
            reader.poll()
        time.sleep(max(PAUSE_S, reader.met.longest_s))
    reader.poll()
    print(json.dumps(asdict(reader.met)))


if __name__ == "__main__":
    main(sys.argv[1])
