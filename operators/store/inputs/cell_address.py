"""Which addresses with `#` and a number are cells of a table of bytes."""

from __future__ import annotations

from schemas.address import inner_of, is_remote
from schemas.input_uri import path_of

MARK = "cell of "
"""What the version of a cell begins with, before that of its table."""


def is_cell(address: str, version: str | None) -> bool:
    """Whether it is no file that is called so. version: None where it is not known."""
    table, row = inner_of(address)
    if row is None or table.lower().endswith(".tar"):
        return False
    if version is not None:
        return version.startswith(MARK)
    try:
        return is_remote(address) or not path_of(address).exists()
    except (OSError, ValueError):
        return False
