"""What is known of a unit besides its pixels: where it lies in its input, and what its decoder found out about it.
Knows nothing of decoders, tasks or Arrow.

Each class is the one list of its fields: the columns of every table that carries them (schemas/tables.py), what
decoders return (operators/units.py) and what tasks see (schemas/task.py) come from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Locator:
    """Where in its input a unit lies. page: 1-based page of a document, screen of an episode, or frame of a picture
    with several; null for clips and for what is alone in its file. start_s, end_s: of a clip, [start_s, end_s) in
    seconds from the start of the file."""

    page: int | None = None
    start_s: float | None = None
    end_s: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Locator:
        """From the columns of the same names."""
        return cls(row["page"], row["start_s"], row["end_s"])


@dataclass(frozen=True)
class UnitFacts:
    """width_px, height_px: the original picture, upright: an image after its EXIF orientation, a page at page_dpi, a
    frame after rotation; coordinates in answers refer to it; 0 where there is none. times_s: presentation time of each
    frame of a clip or video. text_layer: what a PDF itself says that the page reads; None when it says nothing. blank:
    nothing is to be seen on the page or picture; None for clips."""

    width_px: int = 0
    height_px: int = 0
    times_s: tuple[float, ...] = ()
    text_layer: str | None = None
    blank: bool | None = None

    def facts(self) -> dict[str, Any]:
        """By name: the columns of a row."""
        return {fact.name: getattr(self, fact.name) for fact in fields(UnitFacts)}
