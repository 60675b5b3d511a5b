"""An input as its decoder gets it: an open file without a path. Knows no format.

The parent opens it, wherever it lies (operators/store/inputs/opened_input.py); the child that decodes has the file
descriptor alone, so it needs neither the path or address nor what else opens it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from operators.store.inputs.opened_input import check_is_file as check_is_file
from operators.store.inputs.opened_input import is_cell as is_cell
from operators.store.inputs.opened_input import of_os as of_os
from operators.store.inputs.opened_input import opened_input
from operators.store.inputs.opened_input import origin_of as origin_of
from operators.store.inputs.opened_input import retries_of as retries_of
from schemas.errors import InputError
from schemas.fetch import FetchSettings
from schemas.input_uri import uri_of


@dataclass(frozen=True)
class Source:
    """fd: of the file, read-only. address: its input_uri; its extension tells the format, and messages name it, but
    nothing is opened by it and no library is told it. version: of what was read, where it lies elsewhere."""

    fd: int
    address: str
    version: str | None = None

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
def opened_source(address: str, version: str | None = None, settings: FetchSettings | None = None) -> Iterator[Source]:
    """address: an input_uri. version: that it must have, None for any. Raises what `opened_input` does."""
    with opened_input(address, version, settings) as opened:
        yield Source(opened.fd, address, opened.version)


def opened_file(path: Path) -> contextlib.AbstractContextManager[Source]:
    """Raises InputError: unknown_type for what is no file, not_found, permission, malformed."""
    return opened_source(uri_of(str(path)))


def head_of(address: str | Path, size: int, settings: FetchSettings | None = None) -> bytes:
    """The first bytes of a file that is opened for nothing else; none of what cannot be, or is no file."""
    address = uri_of(str(address)) if isinstance(address, Path) else address
    with contextlib.suppress(InputError, OSError), opened_source(address, None, settings) as source:
        return source.head(size)
    return b""
