"""What was fetched, for all processes of this node: files under the hash of address and version, bounded bytes.

One download serves all that ask for the same: who finds no file takes the lock of its name and fetches it, the others
wait for the lock and find it. A file is whole as soon as it has its name. Locks are the kernel's, so a process that
is killed leaves none; its half of a file is removed by the next who looks. Files go in the order in which they were
last asked for; who has one open keeps it.

SIGHTREAD_CACHE names the folder, SIGHTREAD_CACHE_MB its size.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from schemas.errors import InputError, SpecError

SLOTS = 16
"""Downloads of a node at once. Each holds a piece in memory (operators/store/objects.py)."""
SHARE = 0.5
MOST_BYTES = 256 << 30
"""Without SIGHTREAD_CACHE_MB: that share of what is free on its disk, MOST_BYTES at most."""
_WAIT_S = 0.05
_SWEEP_SHARE = 1 / 64
_SWEEP_FILES = 256


class Cache:
    def __init__(self, folder: Path, most_bytes: int) -> None:
        """most_bytes: of all that it holds. Raises SpecError for a folder that is not this user's alone."""
        self.most_bytes = most_bytes
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = folder.lstat()
            if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o022:
                raise SpecError(f"SIGHTREAD_CACHE: {folder} is not a folder that this user alone writes to")
            # what a machine that went down left may be half written
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            self.folder = folder / boot
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SpecError(f"SIGHTREAD_CACHE: {folder} cannot be used: {error}") from error
        self._added_bytes = self.most_bytes  # the first who adds looks what is there
        self._added_files = 0

    def opened(self, name: str) -> int | None:
        """A descriptor to read what was fetched under this name; None where nothing was."""
        path = self.folder / _hash(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return fd

    def fetched(self, name: str, fetch: Callable[[], Iterator[bytes]]) -> int:
        """A descriptor to read what `fetch` gives; it is called where no other did it before. Raises InputError
        too_large for what the cache cannot hold, and whatever `fetch` raises."""
        if (fd := self.opened(name)) is not None:
            return fd
        path = self.folder / _hash(name)
        with self._locked(path.with_suffix(".lock")):
            if (fd := self.opened(name)) is None:
                with self._slot():
                    self._download(path, fetch())
                fd = self.opened(name)
        # another process may already have made room of it; it cannot while it is asked for in a row
        return fd if fd is not None else self.fetched(name, fetch)

    def temporary(self) -> int:
        """A descriptor of a file without a name, to write and to read."""
        try:
            return os.open(self.folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:  # a file system that has no such files
            fd, path = tempfile.mkstemp(dir=self.folder)
            os.unlink(path)  # noqa: PTH108
            return fd

    def _download(self, path: Path, pieces: Iterator[bytes]) -> None:
        part = path.with_suffix(".part")
        size = 0
        try:
            with part.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                for piece in pieces:
                    size += len(piece)
                    if size > self.most_bytes:
                        limit = f"the cache of this node holds {self.most_bytes >> 20} MB (SIGHTREAD_CACHE_MB)"
                        raise InputError("too_large", f"it is larger than that: {limit}")
                    self._make_room(len(piece))
                    file.write(piece)
                file.flush()
                part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _make_room(self, more_bytes: int) -> None:
        self._added_bytes += more_bytes
        self._added_files += 1
        if self._added_bytes < self.most_bytes * _SWEEP_SHARE and self._added_files < _SWEEP_FILES:
            return
        self._added_bytes = self._added_files = 0
        files: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                if path.suffix == ".part" and _is_abandoned(path):
                    path.unlink()
                else:
                    files.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in files)
        room = self.most_bytes * (1 - 2 * _SWEEP_SHARE)
        for _, size, path in sorted(files):
            if total <= room:
                break
            if not path.suffix:
                path.unlink(missing_ok=True)
                total -= size

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if not _is_at(handle, path):  # who had it before has removed it
                    continue
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
            finally:
                os.close(handle)

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """One of SLOTS, of all processes of the node."""
        while True:
            for number in random.sample(range(SLOTS), SLOTS):
                handle = os.open(self.folder / f"{number}.slot", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    try:
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    yield
                    return
                finally:
                    os.close(handle)
            time.sleep(_WAIT_S)


def node_cache() -> Cache:
    """Of this user on this node. Raises SpecError."""
    folder = os.environ.get("SIGHTREAD_CACHE") or f"{tempfile.gettempdir()}/sightread-cache-{os.geteuid()}"
    return _cache(folder, os.environ.get("SIGHTREAD_CACHE_MB", ""))


@lru_cache(maxsize=8)
def _cache(folder: str, size_mb: str) -> Cache:
    path = Path(folder).expanduser()
    try:
        most = int(size_mb) << 20 if size_mb else None
    except ValueError as error:
        raise SpecError(f"SIGHTREAD_CACHE_MB: {size_mb!r} is no number of megabytes") from error
    if most is None:
        place = path
        while not place.exists():
            place = place.parent
        disk = os.statvfs(place)
        most = min(MOST_BYTES, int(disk.f_bavail * disk.f_frsize * SHARE))
    return Cache(path, most)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _is_abandoned(part: Path) -> bool:
    """Whether nobody writes it any more."""
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
