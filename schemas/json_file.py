"""A JSON file that strangers wrote, such as a checkpoint's config.json: bounded, and refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.errors import SpecError

MOST_BYTES = 16 << 20
"""The longest that is in use, the index of a checkpoint of 235 billion weights in shards, has 5 MB."""


def read_object(path: Path) -> dict[str, Any]:
    """Raises SpecError for what is no file, longer than MOST_BYTES, nested too deep, no JSON or no object."""
    return parse_object(_read(path), str(path))


def read_text(path: Path) -> str:
    """A text beside such files. Raises SpecError."""
    try:
        return _read(path).decode()
    except ValueError as error:
        raise SpecError(f"{path} cannot be read: {error}") from error


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise SpecError(f"{path} is no file")
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > MOST_BYTES:
        raise SpecError(f"{path} cannot be read: it is longer than {MOST_BYTES >> 20} MB")
    return text


def parse_object(text: bytes, place: str) -> dict[str, Any]:
    """place: what messages call it. Raises SpecError."""
    try:
        data = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{place} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(data, dict):
        raise SpecError(f"{place} holds no JSON object")
    return data
