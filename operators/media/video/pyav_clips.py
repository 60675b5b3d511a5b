"""Video through PyAV (FFmpeg's libraries): the real extent of a file, and frames at chosen presentation times.

Time zero is the start that the container states, so times are those that a player shows; an offset start (as
in broadcast recordings) and edit lists are taken off. Frames come upright and in their display shape.

Decoding is exact: the packets tell beforehand which frames are shown at the wanted times, the decoder starts
at the keyframe before the first and skips what nothing refers to (NONREF). When a frame that should be there
does not come (damage, or an open GOP), the stretch is decoded again, frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

from model.prompts.rgb import RGB
from operators.media.source import Source
from operators.media.video.frame_index import REST_S, FrameIndex
from operators.media.video.frame_picture import ClipPictures, display_size, seen_size
from operators.media.video.frame_times import clip_bounds, shown, targets
from operators.media.video.open_container import decoder_of, opened
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError


def probe(source: Source, settings: DecodeSettings) -> list[Planned]:
    """The clips that can be read, and one failed unit for the missing rest of a truncated file.

    Reads all packets, decodes none. Raises InputError: malformed, no_frames.
    """
    with opened(source) as (container, stream):
        index = FrameIndex.read(container, stream)
        if not index.times_s:
            raise InputError("no_frames", "the video stream holds no frames with presentation times")
        frames = max(1, round(settings.video_clip_s * settings.video_fps))
        height, width = seen_size(*display_size(stream), frames, settings)
        clips = [
            Planned(
                start_s=start_s,
                end_s=end_s,
                decoded_bytes=len(targets(start_s, end_s, settings.video_fps)) * height * width * 3,
            )
            for start_s, end_s in clip_bounds(index.end_s, settings.video_clip_s)
        ]
        # the last frame of a slow video stays longer than its packet says
        if index.stated_s - max(index.readable_s, index.end_s) > REST_S:
            message = f"the file ends at {index.readable_s:.2f} s of the {index.stated_s:.2f} s that it states"
            error = {"stage": "probe", "kind": "truncated", "message": message, "attempts": 1}
            clips.append(Planned(start_s=index.end_s, end_s=index.stated_s, error=error))
        return clips


def decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    with opened(source) as (container, stream):
        index = FrameIndex.read(container, stream)
        for unit in units:
            assert unit.start_s is not None
            assert unit.end_s is not None
            wanted_s = targets(unit.start_s, unit.end_s, settings.video_fps)
            try:
                yield _clip(container, stream, index, wanted_s, settings)
            except InputError as error:
                yield error
            except av.FFmpegError as error:
                yield InputError("malformed", f"{unit.start_s:.1f}-{unit.end_s:.1f} s: {error}")


def _clip(container: Any, stream: Any, index: FrameIndex, wanted_s: list[float], settings: DecodeSettings) -> Decoded:
    chosen = {index.ticks[place] for place in shown(index.times_s, wanted_s)}
    pictures = ClipPictures(stream, len(chosen), settings)
    frames = {
        pts: pictures.picture(frame)
        for pts, frame in _frames(container, stream, index, chosen, skip=True)
        if pts in chosen
    }
    if frames.keys() != chosen:
        frames = _what_is_there(container, stream, index, wanted_s, chosen, pictures)
    if not frames:
        raise InputError("no_frames", "no frame of this clip can be decoded")
    height_px, width_px = pictures.size_px
    order = sorted(frames)
    return Decoded(
        width_px,
        height_px,
        frames=tuple(frames[pts] for pts in order),
        times_s=tuple(float(pts * stream.time_base - index.origin_s) for pts in order),
        input_notes=tuple(sorted(pictures.notes)),
    )


def _what_is_there(
    container: Any, stream: Any, index: FrameIndex, wanted_s: list[float], chosen: set[int], pictures: ClipPictures
) -> dict[int, RGB]:
    """Every frame decoded in turn; at each wanted time the one on screen, of those that could be decoded."""
    frames: dict[int, RGB] = {}
    upcoming = list(wanted_s)
    before: tuple[int, Any] | None = None
    for pts, frame in _frames(container, stream, index, chosen, skip=False):
        time_s = float(pts * stream.time_base - index.origin_s)
        if before is not None and pts <= before[0]:
            continue
        while upcoming and before is not None and upcoming[0] < time_s - 1e-6:
            upcoming.pop(0)
            if before[0] not in frames:
                frames[before[0]] = pictures.picture(before[1])
        before = (pts, frame)
        if not upcoming:
            break
    # after the last frame; one that ended well before the clip began is not on screen in it
    if upcoming and before is not None and before[0] >= min(chosen):
        frames.setdefault(before[0], pictures.picture(before[1]))
    return frames


def _frames(
    container: Any, stream: Any, index: FrameIndex, chosen: set[int], *, skip: bool
) -> Iterator[tuple[int, Any]]:
    """Decoded frames from the keyframe before the first chosen one up to the last chosen one.

    Damage costs the packets that it lies in: each is tried for itself.
    """
    first, last = min(chosen), max(chosen)
    start = max((key for key in index.keys if key <= first), default=index.ticks[0])
    context = decoder_of(stream)
    context.flush_buffers()
    container.seek(start, stream=stream, backward=True)
    left = set(chosen)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            packet = None  # the file is broken here: what the decoder still holds comes out
        ended = packet is None or packet.size == 0
        context.skip_frame = "NONREF" if skip and not ended and packet.pts not in chosen else "DEFAULT"
        try:
            frames = context.decode(None if ended else packet)
        except av.FFmpegError:
            frames = []
        for frame in frames:
            if frame.pts is None:
                continue
            yield frame.pts, frame
            left.discard(frame.pts)
            if not left or frame.pts > last:
                return
        if ended:
            return
