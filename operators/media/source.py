"""An input as its decoder gets it: an open file without a path. Knows no format.

The parent opens it; the child that decodes has the file descriptor alone, so it needs neither the path nor what else
opens it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from schemas.errors import InputError


@dataclass(frozen=True)
class Source:
    """fd: of the file, read-only. address: where it came from; its extension tells the format, and messages name it, but
    nothing is opened by it and no decoder is told it."""

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

    def open(self) -> BinaryIO:
        """From its beginning; one at a time, since they share their place in the file."""
        file = os.fdopen(os.dup(self.fd), "rb")
        file.seek(0)
        return file


@contextlib.contextmanager
def opened_file(path: Path) -> Iterator[Source]:
    """Raises InputError: unknown_type for a folder, not_found, permission, malformed."""
    if path.is_dir():
        raise InputError("unknown_type", "this is a folder")
    try:
        # a pipe that nobody writes to would block
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise of_os(error) from error
    try:
        yield Source(fd, str(path))
    finally:
        os.close(fd)


def of_os(error: OSError) -> InputError:
    kinds = {errno.ENOENT: "not_found", errno.EACCES: "permission", errno.EPERM: "permission"}
    return InputError(kinds.get(error.errno or 0, "malformed"), error.strerror or str(error))
