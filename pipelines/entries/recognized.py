"""What a file that nobody named seems to be: of folders and globs, here and elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from operators.media.formats import (
    is_source_text,
    may_be_source_text,
    media_of_head,
    media_of_name,
    names_no_format,
)
from pipelines.input_tables import SUFFIXES
from schemas.input_uri import text_of

DEEPEST = 200
"""Folders within folders that are entered: what lies deeper was hardly put there to be read."""
TOO_DEEP = f"folder more than {DEEPEST} deep"


def names_table(name: str) -> bool:
    return _suffix(name) in SUFFIXES


def names_shard(name: str) -> bool:
    return _suffix(name) == ".tar"


def names_many(name: str) -> bool:
    """Whether a file of that name is many inputs: a table or a tar shard. A glob that ends so means such files."""
    return names_table(name) or names_shard(name)


def tells_nothing(name: str) -> bool:
    """Whether the first bytes must be seen."""
    return names_no_format(name) or may_be_source_text(name)


def recognized(name: str, head: Callable[[], bytes]) -> tuple[str | None, str]:
    """Its media; None for what no decoder knows, and then why it is left out. head: gives the first HEAD_BYTES; asked
    only where the name tells nothing, or is a program's too."""
    media = media_of_name(name)
    if media is not None and not may_be_source_text(name):
        return media, ""
    suffix = _suffix(name)
    if names_shard(name):
        return None, "tar shard in a folder (those that are named are read: *.tar)"
    if names_table(name):
        return None, f"table in a folder (those that are named are read: *{suffix})"
    if names_no_format(name):
        media = media_of_head(head())
    elif media is not None and is_source_text(name, head()):
        return None, f"text and no video {suffix}"
    return media, "" if media is not None else f"unknown type {text_of(suffix or name)}"


def _suffix(name: str) -> str:
    """Of a path in lower case, as a PurePath has it, which takes ten times as long: it is asked for every file."""
    if "/" in name:
        return PurePosixPath(name).suffix.lower()
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""
