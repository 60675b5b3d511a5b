"""Video through PyAV (FFmpeg's libraries): the real extent of a file, and frames at chosen presentation times.

Time zero is the start that the container states, so times are those that a player shows; an offset start (as
in broadcast recordings) and edit lists are taken off. Frames come upright and in their display shape.

Decoding is exact: the packets tell beforehand which frames are shown at the wanted times, the decoder starts
at the keyframe before the first and skips what nothing refers to (NONREF). When a frame that should be there
does not come (damage, or an open GOP), the stretch is decoded again, frame by frame.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np

from model.prompts.pixels import smart_resize_video
from model.prompts.rgb import RGB
from operators.media.containers import HEAD_BYTES, demuxer_of
from operators.media.frame_times import clip_bounds, shown, targets
from operators.media.source import Source
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError

_NOTHING_ELSE = {"protocol_whitelist": "", "enable_drefs": "0"}
"""A video has no way to another file or an address: no protocol is allowed, and `_refused` answers what asks to open
one."""
REST_S = 0.5
"""Stated but missing seconds from which a file counts as truncated."""


def probe(source: Source, settings: DecodeSettings) -> list[Planned]:
    """The clips that can be read, and one failed unit for the missing rest of a truncated file.

    Reads all packets, decodes none. Raises InputError: malformed, no_frames.
    """
    with _opened(source) as (container, stream):
        index = _Index.read(container, stream)
        if not index.times_s:
            raise InputError("no_frames", "the video stream holds no frames with presentation times")
        frames = max(1, round(settings.video_clip_s * settings.video_fps))
        height, width = _seen(*_display_size(stream), frames, settings)
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
    with _opened(source) as (container, stream):
        index = _Index.read(container, stream)
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


@dataclass(frozen=True)
class _Index:
    """What the packets say, without decoding. Times in seconds from the container's start, ascending."""

    times_s: list[float]  # of every frame that is shown
    ticks: list[int]  # the same in the stream's time base, as its packets carry them
    keys: list[int]  # ticks of the keyframes
    origin_s: Fraction
    end_s: float  # when the last frame of the video ends
    readable_s: float  # when the last packet of any stream ends
    stated_s: float  # what the container states

    @classmethod
    def read(cls, container: Any, stream: Any) -> _Index:
        origin_s = Fraction(container.start_time or 0, av.time_base)
        ticks: list[tuple[int, int]] = []
        keys: list[int] = []
        readable_s = 0.0
        with contextlib.suppress(av.FFmpegError):  # a broken file ends where its packets end
            for packet in container.demux():
                if packet.pts is None or packet.size == 0:
                    continue
                last = (packet.pts + (packet.duration or 0)) * packet.time_base - origin_s
                readable_s = max(readable_s, float(last))
                if packet.stream is stream or packet.stream.index == stream.index:
                    if packet.is_discard:
                        continue
                    ticks.append((packet.pts, packet.duration or 0))
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        ticks.sort()
        base = stream.time_base
        end_s = 0.0
        if ticks:
            # some containers give no durations: the last frame then stays for the usual time
            usual = Fraction(1) / stream.average_rate if stream.average_rate else Fraction(1, 25)
            pts, duration = ticks[-1]
            end_s = float(pts * base - origin_s + (duration * base or usual))
        stated_s = float(Fraction(container.duration, av.time_base)) if container.duration else 0.0
        if stated_s <= readable_s + float(origin_s) + REST_S:
            stated_s = min(stated_s, readable_s)  # Matroska may count its duration from zero, not from its start
        times_s = [float(pts * base - origin_s) for pts, _ in ticks]
        return cls(times_s, [pts for pts, _ in ticks], sorted(keys), origin_s, end_s, readable_s, stated_s)


def _clip(container: Any, stream: Any, index: _Index, wanted_s: list[float], settings: DecodeSettings) -> Decoded:
    chosen = {index.ticks[place] for place in shown(index.times_s, wanted_s)}
    sizes = _Sizes(stream, max(2, len(chosen)), settings)
    frames = {
        pts: _picture(frame, sizes)
        for pts, frame in _frames(container, stream, index, chosen, skip=True)
        if pts in chosen
    }
    if frames.keys() != chosen:
        frames = _what_is_there(container, stream, index, wanted_s, chosen, sizes)
    if not frames:
        raise InputError("no_frames", "no frame of this clip can be decoded")
    height_px, width_px = sizes.upright(sideways=next(iter(frames.values())).sideways)
    order = sorted(frames)
    return Decoded(
        width_px,
        height_px,
        frames=tuple(frames[pts].pixels for pts in order),
        times_s=tuple(float(pts * stream.time_base - index.origin_s) for pts in order),
    )


@dataclass(frozen=True)
class _Shown:
    pixels: RGB
    sideways: bool


def _what_is_there(
    container: Any, stream: Any, index: _Index, wanted_s: list[float], chosen: set[int], sizes: _Sizes
) -> dict[int, _Shown]:
    """Every frame decoded in turn; at each wanted time the one on screen, of those that could be decoded."""
    frames: dict[int, _Shown] = {}
    upcoming = list(wanted_s)
    before: tuple[int, Any] | None = None
    for pts, frame in _frames(container, stream, index, chosen, skip=False):
        time_s = float(pts * stream.time_base - index.origin_s)
        if before is not None and pts <= before[0]:
            continue
        while upcoming and before is not None and upcoming[0] < time_s - 1e-6:
            upcoming.pop(0)
            if before[0] not in frames:
                frames[before[0]] = _picture(before[1], sizes)
        before = (pts, frame)
        if not upcoming:
            break
    # after the last frame; one that ended well before the clip began is not on screen in it
    if upcoming and before is not None and before[0] >= min(chosen):
        frames.setdefault(before[0], _picture(before[1], sizes))
    return frames


def _frames(container: Any, stream: Any, index: _Index, chosen: set[int], *, skip: bool) -> Iterator[tuple[int, Any]]:
    """Decoded frames from the keyframe before the first chosen one up to the last chosen one.

    Damage costs the packets that it lies in: each is tried for itself.
    """
    first, last = min(chosen), max(chosen)
    start = max((key for key in index.keys if key <= first), default=index.ticks[0])
    context = stream.codec_context
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


class _Sizes:
    """Of the frames of one clip, as (height, width): the upright original, and what the model sees."""

    def __init__(self, stream: Any, frames: int, settings: DecodeSettings) -> None:
        self._stream = stream
        self._frames = frames
        self._settings = settings

    def upright(self, *, sideways: bool) -> tuple[int, int]:
        height_px, width_px = _display_size(self._stream)
        return (width_px, height_px) if sideways else (height_px, width_px)

    def seen(self, *, sideways: bool) -> tuple[int, int]:
        return _seen(*self.upright(sideways=sideways), self._frames, self._settings)


def _picture(frame: Any, sizes: _Sizes) -> _Shown:
    """The frame upright at the model's size."""
    turns = round(frame.rotation / 90) % 4  # counter-clockwise, as the display matrix says
    sideways = turns % 2 == 1
    height, width = sizes.seen(sideways=sideways)
    if sideways:
        height, width = width, height
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="BICUBIC")
    return _Shown(np.ascontiguousarray(np.rot90(pixels, turns)), sideways)


def _display_size(stream: Any) -> tuple[int, int]:
    """Height and width with square pixels, before rotation."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return stream.codec_context.height, max(1, round(stream.codec_context.width * aspect))


def _seen(height_px: int, width_px: int, frames: int, settings: DecodeSettings) -> tuple[int, int]:
    return smart_resize_video(
        frames,
        height_px,
        width_px,
        min_pixels=settings.video_min_px,
        max_pixels=settings.video_max_px,
        factor=settings.token_side_px,
    )


def _refused(_address: str, _flags: int, _options: dict[str, str]) -> BinaryIO:
    raise PermissionError(errno.EPERM, "a video may have nothing else opened")


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[tuple[Any, Any]]:
    with contextlib.ExitStack() as stack:
        head = source.head(HEAD_BYTES)
        demuxer = demuxer_of(head)
        if demuxer is None:
            raise InputError("malformed", "not a readable video: it begins like no container that is opened")
        file = stack.enter_context(source.open())
        try:
            container = stack.enter_context(
                av.open(
                    file,
                    format=demuxer,
                    options=_NOTHING_ELSE | {"format_whitelist": demuxer},
                    io_open=_refused,
                    metadata_errors="replace",
                )
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            message = getattr(error, "strerror", None) or error
            raise InputError("malformed", f"not a readable video: {message}: '{source.address}'") from error
        attached = av.stream.Disposition.attached_pic
        stream = next((video for video in container.streams.video if not video.disposition & attached), None)
        if stream is None or stream.codec_context is None or not stream.codec_context.width:
            raise InputError("no_frames", "there is no video stream")
        stream.codec_context.thread_count = 1  # workers are processes; threads only cost CPU here
        yield container, stream
