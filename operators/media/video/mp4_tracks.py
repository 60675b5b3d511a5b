"""Tracks of an MP4 or QuickTime file, by the boxes of its `moov`: ISO/IEC 14496-12 (8.5, sample descriptions; 8.12,
protection; 12.1.4, clean aperture) and 23001-7 (tenc).

Bounded: of each description its first bytes are looked at.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction

from operators.media.source import Source
from operators.media.video.mp4_boxes import Box, Boxes
from operators.media.video.track_facts import TrackFacts, dolby_vision_profile

_MOST_BYTES = 1 << 18
"""Of the descriptions of one track."""
_ENTRY_BYTES = 86
"""Of the description of a video track, before the boxes in it."""
_PROFILES = (b"dvcC", b"dvvC", b"dvwC")


def read(source: Source) -> dict[int, TrackFacts]:
    """By the number of the track, those of which something is to be said."""
    boxes = Boxes(source)
    movie = boxes.movie()
    return {
        number: _described(boxes, descriptions)
        for number, track in (boxes.tracks(movie) if movie else ())
        for descriptions in boxes.inside(track, b"mdia", b"minf", b"stbl", b"stsd")
    }


def _described(boxes: Boxes, descriptions: Box) -> TrackFacts:
    """Of all descriptions that the track's samples refer to."""
    facts = TrackFacts()
    end = min(descriptions.end, descriptions.start + _MOST_BYTES)
    for entry in boxes.within(descriptions.start + 8, end):
        parts = list(boxes.within(entry.start + _ENTRY_BYTES - 8, entry.end))
        for part in parts:
            if part.kind == b"clap" and not any(facts.crop):
                width, height = struct.unpack(">2H", boxes.read(entry.start + 24, 4).ljust(4, b"\0"))
                facts = replace(facts, crop=_clean_aperture(width, height, boxes.read(part.start, 32)))
            elif part.kind in _PROFILES:
                facts = replace(facts, dolby_vision=dolby_vision_profile(boxes.read(part.start, 4)))
        schemes = [part for part in parts if part.kind == b"sinf"]
        if entry.kind == b"drmi" or ((schemes or entry.kind == b"encv") and _is_protected(boxes, schemes)):
            facts = replace(facts, encrypted=True)
    return facts


def _is_protected(boxes: Boxes, schemes: list[Box]) -> bool:
    """Unless all that is said of it is that its samples are plain."""
    defaults = [box for scheme in schemes for box in boxes.inside(scheme, b"schi", b"tenc")]
    return not defaults or any(boxes.read(box.start + 6, 1) != b"\0" for box in defaults)


def _clean_aperture(width: int, height: int, data: bytes) -> tuple[int, int, int, int]:
    """What lies outside of it; nothing where it makes no sense. Its offset is that of its center from the picture's."""
    if len(data) < 32:
        return 0, 0, 0, 0
    numbers = struct.unpack(">IIIIiIiI", data)
    if not all(numbers[1::2]):
        return 0, 0, 0, 0
    clean_width, clean_height, across, down = map(Fraction, numbers[::2], numbers[1::2])
    left, top = (width - clean_width) / 2 + across, (height - clean_height) / 2 + down
    edges = (left, top, width - clean_width - left, height - clean_height - top)
    if min(edges) < 0 or clean_width < 1 or clean_height < 1:
        return 0, 0, 0, 0
    left_px, top_px, right_px, bottom_px = (round(edge) for edge in edges)
    return left_px, top_px, right_px, bottom_px
