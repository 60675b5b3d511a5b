"""An input as its decoder gets it: an open file without a path. Knows no format.

The parent opens it; the child that decodes has the file descriptor alone, so it needs neither the path nor what else
opens it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from schemas.errors import InputError
from schemas.input_uri import uri_of


@dataclass(frozen=True)
class Source:
    """fd: of the file, read-only. address: its input_uri; its extension tells the format, and messages name it, but
    nothing is opened by it and no library is told it."""

    fd: int
    address: str

    @property
    def size_bytes(self) -> int:
        return os.fstat(self.fd).st_size

    @property
    def link(self) -> str:
        """Opens the file once more, for a library that takes nothing but names."""
        return f"/proc/self/fd/{self.fd}"

    def head(self, size: int) -> bytes:
        return os.pread(self.fd, size, 0)

    def tail(self, size: int) -> bytes:
        return os.pread(self.fd, size, max(0, self.size_bytes - size))

    def open(self) -> BinaryIO:
        """From its beginning; one at a time, since they share their place in the file."""
        file = os.fdopen(os.dup(self.fd), "rb")
        file.seek(0)
        return file


@contextlib.contextmanager
def opened_file(path: Path) -> Iterator[Source]:
    """Raises InputError: unknown_type for what is no file, not_found, permission, malformed."""
    try:
        check_is_file(path.stat().st_mode)  # opening a device may already do something
        # what was put in its place meanwhile may be a pipe that nobody writes to
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise of_os(error) from error
    except ValueError as error:  # a NUL, a lone surrogate
        raise InputError("not_found", f"no file has such a name: {error}") from error
    try:
        check_is_file(os.fstat(fd).st_mode)
        yield Source(fd, uri_of(str(path)))
    finally:
        os.close(fd)


def head_of(path: Path, size: int) -> bytes:
    """The first bytes of a file that is opened for nothing else; none of what cannot be, or is no file."""
    with contextlib.suppress(InputError, OSError), opened_file(path) as source:
        return source.head(size)
    return b""


def check_is_file(mode: int) -> None:
    """mode: st_mode. Raises InputError for what is read otherwise than a file, or never ends."""
    kind = next((name for is_kind, name in _NO_FILES.items() if is_kind(mode)), None)
    if kind is not None:
        raise InputError("unknown_type", f"this is a {kind}")


_NO_FILES = {
    stat.S_ISDIR: "folder",
    stat.S_ISFIFO: "pipe",
    stat.S_ISSOCK: "socket",
    stat.S_ISCHR: "device",
    stat.S_ISBLK: "device",
}


def of_os(error: OSError) -> InputError:
    return InputError(_KINDS.get(error.errno or 0, "malformed"), error.strerror or str(error))


_KINDS = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP), "not_found"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "permission"),
}
