"""What a decoder child makes of a file, picture by picture: the units of a row and the pixels that the model sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.prompts.rgb import unpack
from operators.media.sandbox import Sandbox
from schemas.decode import DecodeSettings
from schemas.request import Picture
from schemas.unit import Indexed

Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Row:
    """kind, message: of the failure; then there is no picture."""

    kind: str | None
    message: str
    size: tuple[int, int]
    pixels: Pixels
    notes: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def mean(self) -> float:
        return float(self.pixels.mean())


class Eye:
    """A decoder for several files, started once."""

    def __init__(self, settings: DecodeSettings) -> None:
        self.sandbox = Sandbox(settings)

    def rows(self, path: Path, media: str = "image", *, indexed: bool = True) -> list[Row]:
        """One for each unit. indexed: as a job decodes them; else as a result row is looked at again."""
        probed = self.sandbox.probe(str(path), media)
        if "error" in probed:
            return [_failed(probed["error"])]
        units = [Indexed.of(unit if indexed else {**unit, "index": None}) for unit in probed["units"]]
        return [
            _failed(row["error"]) if row["error"] else _row(row)
            for batch in self.sandbox.decode(str(path), media, units)
            for row in batch.to_pylist()
        ]

    def row(self, path: Path, media: str = "image") -> Row:
        """Of the only unit, which could be read."""
        (row,) = self.rows(path, media)
        assert row.kind is None, row.message
        return row


@contextmanager
def eye(settings: DecodeSettings) -> Iterator[Eye]:
    looking = Eye(settings)
    try:
        yield looking
    finally:
        looking.sandbox.close()


def _failed(error: dict[str, Any]) -> Row:
    return Row(error["kind"], error["message"], (0, 0), np.zeros((1, 1, 3), np.uint8), (), {})


def _row(row: dict[str, Any]) -> Row:
    pixels = unpack(Picture(**row["pictures"][0]))
    return Row(None, "", (row["width_px"], row["height_px"]), pixels, tuple(row["input_notes"]), row)
