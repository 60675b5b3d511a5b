"""What a container says of a track and FFmpeg's libraries do not pass on through PyAV: that it is encrypted, what of
its pictures is not to be shown, and whose colors it has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from operators.media.source import Source

_KEY = "sightread"
"""In the metadata of a stream of PyAV's, which takes no attributes."""


@dataclass(frozen=True)
class TrackFacts:
    """encrypted: its pictures are. crop: pixels that are not to be shown, left, top, right and bottom. dolby_vision:
    its profile. decoder: another than the stream's own, where one is needed."""

    encrypted: bool = False
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    dolby_vision: int | None = None
    decoder: Any = None


def keep_facts(stream: Any, facts: TrackFacts) -> None:
    stream.metadata[_KEY] = facts


def facts_of(stream: Any) -> TrackFacts:
    facts: TrackFacts = stream.metadata.get(_KEY, TrackFacts())
    return facts


def dolby_vision_profile(record: bytes) -> int | None:
    """record: DOVIDecoderConfigurationRecord ("Dolby Vision Streams Within the ISO Base Media File Format", 3.2): two
    bytes of version, seven bits of profile."""
    return record[2] >> 1 if len(record) >= 3 else None


def bytes_at(source: Source, place: int, size: int) -> bytes:
    """Fewer at the end of the file."""
    return os.pread(source.fd, size, place)
