"""Videos: their clips as PyAV finds them, and their frames through the library that the settings name."""

from __future__ import annotations

from collections.abc import Iterator

from operators.media.source import Source
from operators.media.video.pyav_clips import probe as probe
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError


def decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    """The clips that the probe planned. Raises InputError."""
    if settings.video_backend == "decord":
        from operators.media.video import decord_clips

        return decord_clips.decode(source, units, settings)
    from operators.media.video import pyav_clips

    return pyav_clips.decode(source, units, settings)
