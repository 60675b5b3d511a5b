"""What listing works with: the files that entries name, the rows that they become, and what is counted on the way."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

import pyarrow as pa

from pipelines.entries.seen import Seen
from pipelines.progress import Progress
from schemas.errors import Failure, InputError
from schemas.fetch import FetchSettings

_TOLD_EVERY = 1000


@dataclass(frozen=True)
class Target:
    """A file, or a folder that is one input. address: its input_uri. media: what it seems to be. fault: why it cannot
    be read, as far as it shows."""

    address: str
    media: str | None
    size_bytes: int | None = None
    version: str | None = None
    modified_ns: int | None = None
    fault: InputError | None = None


@dataclass(frozen=True)
class Part:
    """Some inputs, in order. rows: of INPUTS. columns: those that come along, with as many rows; None where there are
    none."""

    rows: list[dict[str, Any]]
    columns: pa.Table | None = None

    def beside(self, row: pa.Table) -> Part:
        """With the columns of one row of a table before its own, the same for all."""
        repeated = row.take(pa.array([0] * len(self.rows), pa.int64())) if row.num_columns else row
        for name in self.columns.schema.names if self.columns is not None else ():
            assert self.columns is not None
            repeated = repeated.append_column(name, self.columns.column(name))
        return Part(self.rows, repeated)


@dataclass
class Scope:
    """Of one listing. output: the absolute address of the job's own folder, never taken for an input. types: what the
    cells of columns of a CSV are. texts: a table without a column of paths is as many inputs without a file.

    skipped: reason -> number of files. seen: addresses that are inputs. checked: buckets, by scheme and name,
    that were asked, and why nothing can be had there. files: number of those that were looked at."""

    output: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    texts: bool = False
    settings: FetchSettings = field(default_factory=FetchSettings)
    progress: Progress = field(default_factory=Progress)
    skipped: Counter[str] = field(default_factory=Counter)
    seen: Seen = field(default_factory=Seen)
    checked: dict[tuple[str, ...], InputError | None] = field(default_factory=dict)
    files: int = 0
    _lock: Lock = field(default_factory=Lock)

    def looked_at(self, files: int = 1) -> None:
        with self._lock:
            self.files += files
            if self.files // _TOLD_EVERY > (self.files - files) // _TOLD_EVERY:
                self.progress.listing(self.files)

    def named_twice(self, shard: str) -> bool:
        """Whether an entry has named this tar shard before, which is then counted."""
        if is_named := self.seen.add(f"{shard}#") > 0:
            self.skipped["named twice"] += 1
        return is_named

    def once(self, target: Target) -> list[dict[str, Any]]:
        """Its row; none where it is an input already."""
        if self.seen.add_new(target.address):
            return [row_of(target)]
        self.skipped["named twice"] += 1
        return []

    def again(self, target: Target) -> dict[str, Any]:
        """Its row, of an input of its own also where the same was an input before."""
        return row_of(target, self.seen.add(target.address))


def row_of(target: Target, occurrence: int = 0) -> dict[str, Any]:
    """occurrence: how many inputs before it are the same."""
    uri, fault = target.address, target.fault
    return {
        "input_id": short_hash(f"{uri}#{occurrence}" if occurrence else uri),
        "input_uri": uri,
        "media": target.media,
        "size_bytes": target.size_bytes,
        "version": target.version,
        "modified_ns": target.modified_ns,
        "error": fault and asdict(Failure("list", fault.kind, str(fault))),
    }


def short_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
