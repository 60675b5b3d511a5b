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
class Indexed(Locator):
    """What is ordered from a decoder. index: what the probe learnt about the file that this unit needs, in its format's
    own form; None where it is to be looked up anew."""

    index: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Indexed:
        """From the columns of the same names; rows of results have no index."""
        return cls(row["page"], row["start_s"], row["end_s"], row.get("index"))


INPUT_FAULTS = {
    "damaged": "some of it could not be decoded, or not rightly; of a video, damaged_frames says how much",
    "truncated": "its end is missing; what is there is shown",
    "dolby_vision": "colors of a space that only Dolby Vision's players show rightly (profile 5)",
    "xfa_form": "a form whose content only its maker's program shows; the page is what stands in for it",
}
"""What a decoder notes about an input that leaves the answer in doubt: faults of the row too."""
INPUT_NOTES = {
    **INPUT_FAULTS,
    "text_layer_unfit": "the PDF's own text is not what the page shows, so nothing is held against it",
    "form_left_out": "drawn without what is filled into its form, which cannot be drawn",
    "time_gap": "nothing is shown for a part of the time that the file spans",
    "joined": "several recordings in one file; their times go on from one to the next",
    "times_by_rate": "frames carry no times of their own; they follow from the frame rate",
    "sizes_differ": "frames of several sizes, fitted to one",
    "deinterlaced": "frames of two fields, which were taken apart in time",
    "hdr_tone_mapped": "brought down to the range that a model sees",
}
"""What a decoder notes about an input, in the row's `input_notes`."""


@dataclass(frozen=True)
class UnitFacts:
    """width_px, height_px: the original picture, upright: an image after its EXIF orientation, a page at page_dpi, a
    frame after rotation; coordinates in answers refer to it; 0 where there is none. times_s: presentation time of each
    frame of a clip or video. text_layer: what a PDF itself says for what the page shows; None when it says nothing, or
    nonsense. blank: nothing is to be seen on the page or picture; None for clips. damaged_frames: of a clip or video,
    frames that are damaged or missing where its file has some, none of which is shown; None for what has no frames.
    input_notes: of INPUT_NOTES."""

    width_px: int = 0
    height_px: int = 0
    times_s: tuple[float, ...] = ()
    text_layer: str | None = None
    blank: bool | None = None
    damaged_frames: int | None = None
    input_notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """By name: the columns of a row."""
        return {fact.name: getattr(self, fact.name) for fact in fields(UnitFacts)}
