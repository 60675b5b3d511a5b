"""A recorded episode: a folder of screens, in the order of their names. Each is a picture like any other. Opens none.

`2.png` comes before `10.png`. What no decoder of pictures knows is not a screen; folders inside are not entered. What
is called like a picture is opened as one.
"""

from __future__ import annotations

import re
from pathlib import Path

from operators.media.formats import HEAD_BYTES, media_of_head, media_of_name, names_no_format
from operators.media.source import head_of, of_os
from schemas.errors import InputError

SCREEN = "image"
"""What each of its files is opened as, whatever it is called."""
MOST_SCREENS = 300
"""They lie in memory together while the episode is replayed."""


def screens(folder: Path) -> list[Path]:
    """Raises InputError: not_found, no_frames, too_large, permission."""
    try:
        if not folder.is_dir():
            raise InputError("not_found", "there is no such folder")
        paths = [
            path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file() and _is_screen(path)
        ]
    except OSError as error:
        raise of_os(error) from error
    if not paths:
        raise InputError("no_frames", "the folder holds no pictures")
    if len(paths) > MOST_SCREENS:
        raise InputError("too_large", f"the folder holds {len(paths)} pictures; an episode has {MOST_SCREENS} at most")
    return sorted(paths, key=_by_number)


def _is_screen(path: Path) -> bool:
    if names_no_format(path.name):
        return media_of_head(head_of(path, HEAD_BYTES)) == SCREEN
    return media_of_name(path.name) == SCREEN


def heading(number: int, width_px: int, height_px: int) -> str:
    """Of a screen among those of its episode: which one, from 1, and the size of the original."""
    return f"[screen {number}, {width_px} x {height_px} px]"


HEADING = re.compile(r"^\[screen (\d{1,9}), (\d{1,9}) x (\d{1,9}) px\]$", re.MULTILINE)


def _by_number(path: Path) -> list[tuple[bool, int, str]]:
    """Numbers in the name by their value."""
    pieces = re.findall(r"\d+|\D+", path.name.lower())
    return [(True, int(piece), piece) if piece.isdecimal() else (False, 0, piece) for piece in pieces]
