"""A recorded episode: a folder of screens, in the order of their names. Each is a picture like any other.

`2.png` comes before `10.png`. What no decoder of pictures knows is not a screen; folders inside are not entered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from operators.media import images
from operators.units import Decoded, Planned
from schemas.decode import EXTENSIONS, DecodeSettings
from schemas.errors import InputError

MOST_SCREENS = 300
"""They lie in memory together while the episode is replayed."""


def screens(folder: Path) -> list[Path]:
    """Raises InputError: not_found, no_frames, too_large; OSError."""
    if not folder.is_dir():
        raise InputError("not_found", "there is no such folder")
    found = [
        path
        for path in folder.iterdir()
        if EXTENSIONS.get(path.suffix.lower()) == "image" and not path.name.startswith(".") and path.is_file()
    ]
    if not found:
        raise InputError("no_frames", "the folder holds no pictures")
    if len(found) > MOST_SCREENS:
        raise InputError("too_large", f"the folder holds {len(found)} pictures; an episode has {MOST_SCREENS} at most")
    return sorted(found, key=_by_number)


def probe(path: Path, settings: DecodeSettings) -> list[Planned]:
    """One unit per screen, page counting from 1. Raises InputError."""
    return [
        Planned(page=number, decoded_bytes=_seen_bytes(screen, settings))
        for number, screen in enumerate(screens(path), start=1)
    ]


def decode(path: Path, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    found = screens(path)
    for unit in units:
        assert unit.page is not None
        if unit.page > len(found):
            yield InputError("not_found", f"the folder holds {len(found)} screens by now")
            continue
        try:
            yield from images.decode(found[unit.page - 1], [replace(unit, page=None)], settings)
        except InputError as error:
            yield InputError(error.kind, f"{found[unit.page - 1].name}: {error}")


def heading(number: int, width_px: int, height_px: int) -> str:
    """Of a screen among those of its episode: which one, from 1, and the size of the original."""
    return f"[screen {number}, {width_px} x {height_px} px]"


HEADING = re.compile(r"^\[screen (\d{1,9}), (\d{1,9}) x (\d{1,9}) px\]$", re.MULTILINE)


def _seen_bytes(path: Path, settings: DecodeSettings) -> int:
    try:
        return images.probe(path, settings)[0].decoded_bytes
    except InputError:
        return 0  # decoding will say what is wrong with this screen


def _by_number(path: Path) -> list[tuple[bool, int, str]]:
    """Numbers in the name by their value."""
    pieces = re.findall(r"\d+|\D+", path.name.lower())
    return [(True, int(piece), piece) if piece.isdecimal() else (False, 0, piece) for piece in pieces]
