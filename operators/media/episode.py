"""A recorded episode: a folder of screens, in the order of their names. Each is a picture like any other. Opens none.

`2.png` comes before `10.png`. What no decoder of pictures knows is not a screen; folders inside are not entered. What
is called like a picture is opened as one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from operators.media.formats import HEAD_BYTES, media_of_head, media_of_name, names_no_format
from operators.media.source import head_of, of_os, origin_of
from schemas.address import is_remote, name_of
from schemas.errors import InputError, SpecError
from schemas.fetch import FetchSettings
from schemas.input_uri import path_of, uri_of

SCREEN = "image"
"""What each of its files is opened as, whatever it is called."""
MOST_SCREENS = 300
"""They lie in memory together while the episode is replayed."""
MOST_FILES = 100_000
"""Below the folder of an episode in a bucket, which are listed with its screens."""


def screens(folder: str, settings: FetchSettings | None = None) -> list[tuple[str, str | None]]:
    """(input_uri, version) of each. folder: its address.

    Raises InputError: not_found, no_frames, too_large, permission; StoreLost.
    """
    settings = settings or FetchSettings()
    files = _in_origin(folder, settings) if is_remote(folder) else _in_folder(path_of(folder))
    pictures = [
        (address, version)
        for address, version in files
        if not name_of(address).startswith(".") and _is_screen(address, settings)
    ]
    if not pictures:
        raise InputError("no_frames", "the folder holds no pictures")
    if len(pictures) > MOST_SCREENS:
        message = f"the folder holds {len(pictures)} pictures; an episode has {MOST_SCREENS} at most"
        raise InputError("too_large", message)
    return sorted(pictures, key=lambda picture: _by_number(name_of(picture[0])))


def version_of(pictures: Sequence[tuple[str, str | None]]) -> str | None:
    """Of an episode that lies elsewhere, by its screens; None on this machine."""
    if all(version is None for _, version in pictures):
        return None
    return hashlib.sha256(repr(pictures).encode()).hexdigest()[:32]


def _in_folder(folder: Path) -> list[tuple[str, str | None]]:
    try:
        if not folder.is_dir():
            raise InputError("not_found", "there is no such folder")
        return [(uri_of(str(path)), None) for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise of_os(error) from error


def _in_origin(folder: str, settings: FetchSettings) -> list[tuple[str, str | None]]:
    folder = f"{folder.rstrip('/')}/"
    try:
        entries = list(islice(origin_of(folder, settings).list(folder), MOST_FILES + 1))
    except SpecError as error:
        raise InputError("not_found", str(error)) from error
    if not entries:
        raise InputError("not_found", "there is no such folder")
    if len(entries) > MOST_FILES:
        raise InputError("too_large", f"there are more than {MOST_FILES} files below the folder")
    return [(entry.address, entry.version) for entry in entries if "/" not in entry.address.removeprefix(folder)]


def _is_screen(address: str, settings: FetchSettings) -> bool:
    name = name_of(address)
    if names_no_format(name):
        return media_of_head(head_of(address, HEAD_BYTES, settings)) == SCREEN
    return media_of_name(name) == SCREEN


def heading(number: int, width_px: int, height_px: int) -> str:
    """Of a screen among those of its episode: which one, from 1, and the size of the original."""
    return f"[screen {number}, {width_px} x {height_px} px]"


HEADING = re.compile(r"^\[screen (\d{1,9}), (\d{1,9}) x (\d{1,9}) px\]$", re.MULTILINE)


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    """Numbers in the name by their value."""
    pieces = re.findall(r"\d+|\D+", name.lower())
    return [(True, int(piece), piece) if piece.isdecimal() else (False, 0, piece) for piece in pieces]
