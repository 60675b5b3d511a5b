"""What a format's module keeps open of a file between two orders for it: a long document is opened once, not for every
order. Nothing of one file is there while another is looked at, nor while any is probed.

Outside of a decoder child, which tells what each order is for, nothing is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

File: TypeAlias = tuple[int, ...]


def file_of(fd: int) -> File:
    """Which one is open, as it is now."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class KeptOpen:
    """One thing at most. For one thread."""

    def __init__(self) -> None:
        self._file: File | None = None
        self._key: Hashable = None
        self._thing: Any = None
        self._close: Callable[[], object] | None = None

    def begin(self, file: File | None) -> None:
        """An order for it begins; None: one for which nothing is kept."""
        if file is None or file != self._file:
            self._drop()
        self._file = file

    def take(self, key: Hashable) -> Any:
        """What was kept of the file of this order under that key, no longer kept; else None."""
        if self._close is None or key != self._key:
            self._drop()
            return None
        thing, self._thing, self._close = self._thing, None, None
        return thing

    def keep(self, key: Hashable, thing: Any, close: Callable[[], object]) -> None:
        """For the next order, if that is for the same file; else it is closed."""
        self._drop()
        self._key, self._thing, self._close = key, thing, close
        if self._file is None:
            self._drop()

    def _drop(self) -> None:
        close, self._thing, self._close = self._close, None, None
        if close is not None:
            close()


kept_open = KeptOpen()
