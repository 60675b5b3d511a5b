"""Lines that other programs read: addresses of what was written. Knows nothing of commands."""

from __future__ import annotations

import os
import sys

from schemas.printable import one_line


def echo(text: str) -> None:
    """As it is into a file or pipe, so that it still names what it names; what could steer a terminal is escaped on
    one."""
    if sys.stdout.isatty():
        text = one_line(text)
    print(os.fsencode(text).decode("utf-8", "replace"))  # of a name that is no UTF-8, print takes nothing
