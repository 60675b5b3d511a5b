"""What was fetched, for all processes of this node: files under the hash of address and version, bounded bytes.

One download serves all that ask for the same: who finds no file takes the lock of its name and fetches it, the others
wait for the lock and find it. A file is whole as soon as it has its name. Locks are the kernel's, so a process that
is killed leaves none; its half of a file is removed by the next who looks. Files go in the order in which they were
last asked for; who has one open keeps it. While downloads alone would fill it, they go one at a time: for moments it
holds up to twice its size.

SIGHTREAD_CACHE names the folder, SIGHTREAD_CACHE_MB its size. A folder that takes nothing is StoreLost: no input is to
blame.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import random
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from schemas.errors import InputError, SpecError, StoreLost

SLOTS = 16
"""Downloads of a node at once. Each holds a piece in memory (operators/store/objects.py)."""
SHARE = 0.5
MOST_BYTES = 256 << 30
"""Without SIGHTREAD_CACHE_MB: that share of what is free on its disk, MOST_BYTES at most."""
PROGRESS_S = 10.0
"""Between two lines of the log about one download."""
OLD_S = 7 * 86_400.0
"""After which what an earlier boot of the machine left is removed."""
_WAIT_S = 0.05
_SWEEP_SHARE = 1 / 64
_SWEEP_FILES = 256
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_log = logging.getLogger(__name__)


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
            _remove_old(folder, boot)
        except OSError as error:
            raise SpecError(f"SIGHTREAD_CACHE: {folder} cannot be used: {error}") from error
        self._added_bytes = self.most_bytes  # the first who adds looks what is there
        self._added_files = 0

    def opened(self, name: str) -> int | None:
        """A descriptor to read what was fetched under this name; None where nothing was. Raises StoreLost."""
        path = self.folder / _hash(name)
        with self._disk():
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return fd

    def fetched(self, name: str, fetch: Callable[[], Iterator[bytes]], size_bytes: int | None = None) -> int:
        """A descriptor to read what `fetch` gives; it is called where no other did it before. name: the address is its
        first line. size_bytes: of it, where that is known.

        Raises InputError too_large for what the cache cannot hold, StoreLost where its disk takes nothing, and whatever
        `fetch` raises.
        """
        if (fd := self.opened(name)) is not None:
            return fd
        if size_bytes is not None:
            self._check_size(size_bytes)
        path = self.folder / _hash(name)
        with self._locked(path.with_suffix(".lock")):
            if (fd := self.opened(name)) is not None:
                return fd
            with self._slot():
                return self._download(path, name.partition("\n")[0].partition("?")[0], fetch())

    def copied(self, pieces: Iterable[bytes | memoryview]) -> int:
        """A descriptor to read what they hold: a file that is gone when it is closed. Raises StoreLost where the disk
        takes nothing, and what the pieces raise."""
        handle = self.temporary()
        try:
            for piece in pieces:
                self._write(handle, piece)
            with self._disk():
                return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(handle)

    def temporary(self) -> int:
        """A descriptor of a file without a name, to write and to read. Raises StoreLost."""
        with self._disk():
            try:
                return os.open(self.folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError:  # a file system that has no such files
                handle, path = tempfile.mkstemp(dir=self.folder)
                os.unlink(path)  # noqa: PTH108
                return handle

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self.most_bytes:
            limit = f"the cache of this node holds {self.most_bytes >> 20} MB (SIGHTREAD_CACHE_MB)"
            raise InputError("too_large", f"it is larger than that: {limit}")

    def _download(self, path: Path, address: str, pieces: Iterator[bytes]) -> int:
        part = path.with_suffix(".part")
        size, started_s = 0, time.monotonic()
        next_line_s = started_s + PROGRESS_S
        with contextlib.ExitStack() as until_done:
            handle = until_done.enter_context(self._held(part))
            is_alone = False
            try:
                with self._disk():
                    os.ftruncate(handle, 0)  # of one who was killed
                for piece in pieces:
                    size += len(piece)
                    self._check_size(size)
                    if self._is_full(len(piece)) and not is_alone:
                        until_done.enter_context(self._held(self.folder / "full.lock"))
                        is_alone = True
                    self._write(handle, piece)
                    if time.monotonic() > next_line_s:
                        next_line_s = time.monotonic() + PROGRESS_S
                        rate = size / (time.monotonic() - started_s) / 2**20
                        _log.info("%s: %d MB are fetched, %.1f MB/s", address, size >> 20, rate)
                with self._disk():
                    fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
                    part.replace(path)
                return fd
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def _write(self, handle: int, piece: bytes | memoryview) -> None:
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[os.write(handle, rest) :]
            except OSError as error:
                is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not is_full or not self._evict(0):
                    raise self._lost(error) from error

    def _is_full(self, more_bytes: int) -> bool:
        """Make room for more; whether there is none, since all that lies there is being written."""
        self._added_bytes += more_bytes
        self._added_files += 1
        if self._added_bytes < self.most_bytes * _SWEEP_SHARE and self._added_files < _SWEEP_FILES:
            return False
        self._added_bytes = self._added_files = 0
        room = int(self.most_bytes * (1 - 2 * _SWEEP_SHARE))
        self._evict(room)
        return sum(size for _, size, _ in self._files()) > room

    def _evict(self, room: int) -> int:
        """Remove what is abandoned, and the files that were not asked for the longest, until no more than `room` bytes
        are there. The bytes that went."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        removed = 0
        for _, size, path in files:
            with contextlib.suppress(FileNotFoundError):
                if path.suffix in (".part", ".lock"):
                    removed += size if _remove_abandoned(path) else 0
                elif not path.suffix and total - removed > room:
                    path.unlink()
                    removed += size
        return removed

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """(time of the last use, bytes, path) of all that lies there."""
        with self._disk():
            for path in self.folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    state = path.stat()
                    yield state.st_mtime, state.st_size, path

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """With a file of that name, which is gone after it."""
        with self._held(path):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _held(self, path: Path) -> Iterator[int]:
        """A descriptor of the file of that name, to write, which nobody else holds meanwhile."""
        while True:
            with self._disk():
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                with self._disk():
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if not _is_at(handle, path):  # who had it before has removed it
                    continue
                yield handle
                return
            finally:
                os.close(handle)

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """One of SLOTS, of all processes of the node."""
        while True:
            for number in random.sample(range(SLOTS), SLOTS):
                with self._disk():
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

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """What it says no to is no input's fault."""
        try:
            yield
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> StoreLost:
        return StoreLost(
            f"SIGHTREAD_CACHE: {self.folder.parent} takes nothing of what is fetched: {error.strerror}; make room "
            "there, or name another folder"
        )


def node_cache() -> Cache:
    """Of this user on this node. Raises StoreLost where it cannot be used."""
    try:
        return checked_cache()
    except SpecError as error:
        raise StoreLost(str(error)) from error


def checked_cache() -> Cache:
    """The same, before any work. Raises SpecError."""
    folder = os.environ.get("SIGHTREAD_CACHE") or f"{tempfile.gettempdir()}/sightread-cache-{os.geteuid()}"
    return _cache(folder, os.environ.get("SIGHTREAD_CACHE_MB", ""))


@lru_cache(maxsize=8)
def _cache(folder: str, size_mb: str) -> Cache:
    path = Path(folder).expanduser()
    try:
        most = int(size_mb) << 20 if size_mb else None
    except ValueError as error:
        raise SpecError(f"SIGHTREAD_CACHE_MB: {size_mb!r} is no number of megabytes") from error
    if most is not None and most <= 0:
        raise SpecError(f"SIGHTREAD_CACHE_MB: {size_mb}: a cache needs room")
    if most is None:
        place = path
        while not place.exists():
            place = place.parent
        disk = os.statvfs(place)
        most = min(MOST_BYTES, int(disk.f_bavail * disk.f_frsize * SHARE))
    return Cache(path, most)


def _hash(name: str) -> str:
    import hashlib  # OpenSSL: decoders come by here and have none of their memory to spare for it

    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _remove_abandoned(path: Path) -> bool:
    """A file that nobody holds any more; whether it was."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not _is_at(file.fileno(), path):
            return False
        path.unlink()  # who waits for it looks whether it is still there
        return True


def _remove_old(folder: Path, boot: str) -> None:
    for other in folder.iterdir():
        if _UUID.fullmatch(other.name) and other.name != boot and other.stat().st_mtime < time.time() - OLD_S:
            shutil.rmtree(other, ignore_errors=True)
