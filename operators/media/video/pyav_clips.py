"""Video through PyAV (FFmpeg's libraries): the real extent of a file, and frames at chosen presentation times.

Time zero is the start that the container states, so times are those that a player shows; an offset start (as
in broadcast recordings) and edit lists are taken off. Frames come upright and in their display shape.

The probe reads all packets and decodes none; what it learns of a clip's frames travels with the clip, so that nobody
reads the whole file again. At each wanted time the frame on screen is shown; what is damaged is not, but the frame
before it, and the row says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import av

from model.prompts.rgb import RGB
from operators.media.source import Source
from operators.media.video import frame_index, packed_index
from operators.media.video.decode_frames import FrameDecoder, Outcome
from operators.media.video.frame_index import FileIndex
from operators.media.video.frame_picture import ClipPictures, display_size, seen_size
from operators.media.video.frame_times import clip_bounds, on_screen, targets
from operators.media.video.open_container import opened
from operators.media.video.packed_index import FrameIndex
from operators.media.video.shares import share_of
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError

_MOST_INDEX_TEXT = 3 << 20
"""Characters of all indexes of a file together, below what the probe's answer may hold."""
_LATE_S = 5.0
"""A clip whose first frame comes so much later than it begins has a gap of time."""


def probe(source: Source, settings: DecodeSettings) -> list[Planned]:
    """The clips that can be read, and one failed unit for the missing rest of a truncated file.

    Reads all packets, decodes none. Raises InputError: malformed, no_frames.
    """
    with opened(source) as (container, stream):
        file = frame_index.read(source, container, stream)
        if file is None:
            raise InputError("no_frames", "the video stream holds no frames")
        frames = max(1, round(settings.video_clip_s * settings.video_fps))
        height, width = seen_size(*display_size(stream), frames, settings)
    spans = clip_bounds(file.frames.times_s, file.end_s, settings.video_clip_s)
    left = _MOST_INDEX_TEXT
    clips = []
    for number, (start_s, end_s) in enumerate(spans):
        text = _part(file, spans, number).packed()
        left -= len(text or "")
        clips.append(
            Planned(
                start_s=start_s,
                end_s=end_s,
                index=text if left >= 0 else None,
                decoded_bytes=len(targets(start_s, end_s, settings.video_fps)) * height * width * 3,
            )
        )
    if file.is_truncated:
        readable_s = max(file.readable_s, file.end_s)
        message = f"the file ends at {readable_s:.2f} s of the {file.stated_s:.2f} s that it states"
        error = {"stage": "probe", "kind": "truncated", "message": message, "attempts": 1}
        clips.append(Planned(start_s=spans[-1][1], end_s=file.stated_s, error=error))
    return clips


def decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    first = packed_index.unpacked(units[0].index) if units else None
    decoder = FrameDecoder(source, first.stream if first else None)
    file: FileIndex | None = None
    try:
        for unit in units:
            index = packed_index.unpacked(unit.index)
            if index is None or index.stream != decoder.stream.index:
                file = file or _anew(source, decoder)
                index = _part_of_unit(file, unit, settings)
            try:
                yield _clip(decoder, index, unit, settings)
            except InputError as error:
                yield error
            except av.FFmpegError as error:
                yield InputError("malformed", f"{unit.start_s:.1f}-{unit.end_s:.1f} s: {error}")
    finally:
        decoder.close()


def _part(file: FileIndex, spans: list[tuple[float, float]], number: int) -> FrameIndex:
    """Of one of the clips of a file."""
    start_s, end_s = spans[number]
    part = file.part(start_s, end_s)
    before_s = spans[number - 1][1] if number else 0.0
    after_s = spans[number + 1][0] if number + 1 < len(spans) else file.end_s
    is_late = part.begins_s - start_s > _LATE_S  # nothing is on screen before it
    is_gap = is_late or start_s - before_s > 1e-6 or after_s - end_s > 1e-6
    return replace(part, notes=part.notes | {"time_gap"}) if is_gap else part


def _anew(source: Source, decoder: FrameDecoder) -> FileIndex:
    """For units that come without an index. Raises InputError."""
    file = frame_index.read(source, decoder.container, decoder.stream)
    decoder.forget()
    if file is None:
        raise InputError("no_frames", "the video stream holds no frames")
    return file


def _part_of_unit(file: FileIndex, unit: Planned, settings: DecodeSettings) -> FrameIndex:
    assert unit.start_s is not None
    assert unit.end_s is not None
    clips = clip_bounds(file.frames.times_s, file.end_s, settings.video_clip_s)
    if len(clips) > 1 and (unit.start_s, unit.end_s) in clips:
        return _part(file, clips, clips.index((unit.start_s, unit.end_s)))
    spans = [span for span in clips if span[0] < unit.end_s and unit.start_s < span[1]]
    part = file.part(unit.start_s, unit.end_s)
    notes = set(part.notes)
    if any(end_s < start_s for (_, end_s), (start_s, _) in pairwise(spans)):
        notes.add("time_gap")
    if file.is_truncated and unit.start_s == 0 and unit.end_s >= clips[-1][1] - 1e-6:
        notes.add("truncated")
    return replace(part, notes=frozenset(notes))


def _clip(decoder: FrameDecoder, index: FrameIndex, unit: Planned, settings: DecodeSettings) -> Decoded:
    """Raises InputError: no_frames, and av.FFmpegError."""
    assert unit.start_s is not None
    assert unit.end_s is not None
    wanted_s = targets(unit.start_s, unit.end_s, settings.video_fps)
    chosen = on_screen(index.times_s, wanted_s)
    places = [place for place, _ in chosen]
    pictures = ClipPictures(decoder.stream, len(places), settings)
    number, count = settings.video_share
    if count == 1:
        outcome: Outcome[RGB] = decoder.frames_at(index, places, pictures.picture)
    else:
        outcome = _share(decoder, index, places, pictures, settings)
    shown = [(outcome.pictures[place], time_s) for place, time_s in chosen if place in outcome.pictures]
    if not shown:
        raise InputError("no_frames", "no frame of this clip can be decoded")
    frames = pictures.of_one_size([picture for picture, _ in shown])
    height_px, width_px = pictures.size_px
    damaged = outcome.damaged + index.lost
    notes = {*pictures.notes, *index.notes} | ({"damaged"} if damaged else set())
    if not number and shown[0][1] - unit.start_s > _LATE_S:  # what comes before cannot be decoded
        notes.add("time_gap")
    return Decoded(
        width_px,
        height_px,
        frames=frames,
        times_s=tuple(time_s for _, time_s in shown),
        damaged_frames=damaged,
        input_notes=tuple(sorted(notes)),
    )


def _share(
    decoder: FrameDecoder, index: FrameIndex, places: list[int], pictures: ClipPictures, settings: DecodeSettings
) -> Outcome[RGB]:
    """Raises InputError: no_frames, where it would not be sure to be what one decoder alone shows."""
    share = share_of(index, places, *settings.video_share)
    outcome = decoder.quickly(index, share, pictures.picture) if share else None
    if outcome is None or outcome.damaged:
        raise InputError("no_frames", "its frames are not divided among decoders")
    return outcome
