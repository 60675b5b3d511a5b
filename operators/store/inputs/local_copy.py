"""Files of elsewhere that a library wants as paths of this machine: a recording, or a checkpoint's folder. Knows
nothing of engines.

They lie beside what the cache of the node holds (cache.py), do not count to its bytes and are never swept: an engine
may map them for days. A copy is there as a whole or not at all, under the hash of its address and version, so that one
download serves all processes of a node, and all runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operators.store.inputs.cache import node_cache
from operators.store.inputs.origin import Entry, origin_of
from operators.store.local import sync_folder
from schemas.errors import InputError, StoreLost
from schemas.fetch import FetchSettings

_AT_ONCE = 4
_FILE = "file"


@dataclass(frozen=True)
class LocalCopy:
    """entries: the files as they were when it was made, by name: those of a folder, or one of no name."""

    address: str
    entries: tuple[tuple[str, Entry], ...]
    settings: FetchSettings

    def path(self) -> Path:
        """Of the folder, or the one file, on this node; fetched where it is not there yet.

        Raises InputError for what cannot be read, or was changed; StoreLost.
        """
        try:
            copy = self._place
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            with _locked(copy.with_suffix(".lock")):
                if not copy.is_dir():
                    self._fetch(copy)
        except OSError as error:
            raise StoreLost(f"{self.address} cannot be copied to this node: {error}") from error
        return copy / _FILE if self.entries[0][0] == _FILE else copy

    def is_here(self) -> bool:
        """Whether this node has it."""
        return self._place.is_dir()

    @property
    def _place(self) -> Path:
        described = [self.address, *(f"{name}\n{entry.size_bytes}\n{entry.version}" for name, entry in self.entries)]
        return node_cache().folder.parent / "copies" / hashlib.sha256("\n\n".join(described).encode()).hexdigest()

    def _fetch(self, copy: Path) -> None:
        part = copy.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        part.mkdir(mode=0o700)
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for _ in pool.map(lambda named: self._fetch_file(named[1], part / named[0]), self.entries):
                    pass
            sync_folder(part)
            part.rename(copy)
            sync_folder(copy.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _fetch_file(self, entry: Entry, path: Path) -> None:
        with path.open("wb") as file:
            for piece in origin_of(self.address, self.settings).pieces(entry.address, entry.version):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())


def local_copy(address: str, suffixes: tuple[str, ...], settings: FetchSettings) -> LocalCopy:
    """Of what is there now; nothing is fetched yet. suffixes: of the files that are wanted, directly in a folder; none:
    the address is one file's. Raises InputError, SpecError and StoreLost."""
    origin = origin_of(address, settings)
    origin.check(address)
    if not suffixes:
        return LocalCopy(address, ((_FILE, origin.stat(address)),), settings)
    folder = f"{address.rstrip('/')}/"
    entries = sorted((entry.address.removeprefix(folder), entry) for entry in origin.list(folder))
    wanted = tuple((name, entry) for name, entry in entries if "/" not in name and name.endswith(suffixes))
    if not wanted:
        names = ", ".join(suffixes)
        raise InputError("not_found", f"{folder} is not there, or has none of the files that are wanted: {names}")
    return LocalCopy(address, wanted, settings)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """By one process of the node; the kernel lets go when it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
