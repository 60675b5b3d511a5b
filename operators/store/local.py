"""A store in a folder of this machine, or of a file system that several share. Knows nothing of what it holds.

A file is written under a temporary name, synced, and put in place by creating its name only if that is absent
(`os.link` fails when it is there), or by a rename while a lock is held. Temporaries of writers that were killed are
removed before the next writer's first file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from operators.store.store import Data, Stat
from schemas.errors import SpecError

TEMPORARIES = "_job/tmp"
"""Where files lie until they are whole: in the same file system, and never listed."""
LOCK_S = 30.0
"""How long another's replacement, some microseconds of work, is waited for."""


def path_of(address: str) -> Path:
    """The folder of a plain path or a file:// address. Raises SpecError for one of another machine."""
    if "\0" in address:
        raise SpecError(f"output: {address!r}: no path holds NUL")
    scheme, rest = address[: len("file:")], address[len("file:") :]
    if scheme.lower() != "file:" or not rest.startswith("/"):
        try:
            return Path(address).expanduser()
        except RuntimeError as error:
            raise SpecError(f"output: {address!r}: there is no such user's folder") from error
    if not rest.startswith("///"):
        raise SpecError(f"output: {address!r}: file:// and an absolute path, as file:///data/out")
    return Path(unquote(rest.removeprefix("//")))


def refusal(root: Path) -> str | None:
    """Why nothing can be written below a folder, which may not be there yet; None where nothing speaks against it.
    Writes nothing, so a disk that is full is not seen."""
    place = Path(os.path.abspath(root / TEMPORARIES))  # noqa: PTH100  not resolve(): links stay as given
    try:
        while not os.path.lexists(place):
            place = place.parent
        if not place.exists():
            return f"{place} is a link that leads nowhere"
        if not place.is_dir():
            return f"{place} is not a folder"
        if not os.access(place, os.W_OK | os.X_OK):
            return f"{place} cannot be written by this user"
        parts = [os.fsencode(part) for part in Path(os.path.abspath(root)).parts]  # noqa: PTH100
        for what, size, limit in (
            ("name", max(map(len, parts)), "PC_NAME_MAX"),
            ("path", sum(map(len, parts)) + len(parts), "PC_PATH_MAX"),
        ):
            if size > (most := os.pathconf(place, limit)):
                return f"a {what} of {size} bytes, where {most} are the most"
    except OSError as error:
        return str(error)
    return None


class LocalStore:
    def __init__(self, address: str) -> None:
        self._root = path_of(address)
        self._temporaries = self._root / TEMPORARIES
        self._swept = False

    @property
    def address(self) -> str:
        return str(self._root)

    def list(self, folder: str = "") -> list[str]:
        return sorted(
            str((Path(place) / name).relative_to(self._root))
            for place, _, names in os.walk(self._path(folder))
            if Path(place) != self._temporaries
            for name in names
        )

    def stat(self, key: str) -> Stat | None:
        path = self._path(key)
        try:
            there = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if path.is_symlink():  # a name that is taken, and that no first writer could ever have
                raise FileNotFoundError(errno.ENOENT, "a link that leads nowhere", str(path)) from None
            return None
        # every replacement is another inode, and one that is used again has another time
        version = f"{there.st_ino:x}-{there.st_mtime_ns:x}-{there.st_size:x}"
        return Stat(there.st_size, version, there.st_mtime)

    def open(self, key: str) -> IO[bytes]:
        path = self._path(key)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # or a pipe in a strange folder would keep us
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "not a file", str(path))
        return os.fdopen(handle, "rb")

    def put_if_absent(self, key: str, data: Data) -> bool:
        final = self._path(key)
        with self._temporary(data) as temporary:
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
            sync_folder(final.parent)
            return True

    def replace_if_same(self, key: str, data: Data, version: str) -> bool:
        final = self._path(key)
        with self._temporary(data) as temporary, self._locked():
            there = self.stat(key)
            if there is None or there.version != version:
                return False
            temporary.replace(final)
        sync_folder(final.parent)  # without the lock: it takes as long as the disk does
        return True

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        relative = Path(key)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{key!r} leads out of the store")
        return self._root / relative

    @contextlib.contextmanager
    def _temporary(self, data: Data) -> Iterator[Path]:
        """The data, synced, under a name that is gone afterwards."""
        self._temporaries.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._sweep()
        path = self._temporaries / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
        try:
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what writers of this machine left behind when they were killed. Temporaries of the living stay."""
        ours = re.compile(re.escape(socket.gethostname()) + r"-(\d+)-[^-]+\.tmp")  # not those of a host "<ours>-2"
        for path in self._temporaries.iterdir():
            if (name := ours.fullmatch(path.name)) and not Path(f"/proc/{name[1]}").exists():
                path.unlink(missing_ok=True)
        self._swept = True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One replacement at a time. A file system that has no locks for folders (NFS) is left with the check alone.
        Raises OSError where another has it for LOCK_S: a process that was stopped just here keeps it."""
        handle = os.open(self._temporaries, os.O_RDONLY)
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        until_s = time.monotonic() + LOCK_S
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until_s:
                    raise OSError(
                        errno.ETIMEDOUT, "another process keeps the lock; is one stopped?", str(self._temporaries)
                    ) from None
                time.sleep(0.005)
            except OSError:  # no locks here
                return None


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
