"""What libtiff says on the error stream while it decodes, and nowhere else: of a fax with bits that cannot be right it
returns all rows and no error. Pillow leaves its errors there, and silences its warnings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_STDERR = 2
_MOST_BYTES = 1 << 16


@contextlib.contextmanager
def errors_told() -> Iterator[list[str]]:
    """The lines, once the block has ended. For a process of one thread."""
    lines: list[str] = []
    before, memory = os.dup(_STDERR), os.memfd_create("errors")
    os.dup2(memory, _STDERR)
    try:
        yield lines
    finally:
        os.dup2(before, _STDERR)
        lines += os.pread(memory, _MOST_BYTES, 0).decode(errors="replace").splitlines()
        os.close(before)
        os.close(memory)
