"""Which of a file's video streams is looked at: the one that plays. By the order of FFmpeg's av_find_best_stream
(default flag, tracks for the impaired last, frames, bit rate), then by size; a single picture beside a film is its
cover, whatever its flags say."""

from __future__ import annotations

from typing import Any

import av
from av.stream import Disposition

_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails
_NO_FILM = Disposition.still_image | Disposition.dependent | Disposition.metadata
_IMPAIRED = Disposition.hearing_impaired | Disposition.visual_impaired
ENOUGH_FRAMES = 5
"""More say nothing: as av_find_best_stream has it."""
_MOST_PACKETS = 1_000
_MOST_BYTES = 32 << 20
_STILLS = ("mjpeg", "png", "apng", "gif", "bmp", "webp", "tiff", "jpegls")


def possible_streams(container: Any) -> list[Any]:
    """Those that can be decoded and are no covers; what is no film only where there is nothing else."""
    videos = [stream for stream in container.streams.video if stream.codec_context is not None]
    videos = [stream for stream in videos if not stream.disposition & _NO_VIDEO]
    return [stream for stream in videos if not stream.disposition & _NO_FILM] or videos


def counted_frames(container: Any, streams: list[Any]) -> dict[int, int]:
    """By the stream's index, of its first packets, up to ENOUGH_FRAMES. Reads the container, which stands elsewhere
    then."""
    counts = {stream.index: 0 for stream in streams}
    packets = read_bytes = 0
    try:
        for packet in container.demux(streams):
            if packet.size:
                counts[packet.stream_index] += 1
            packets, read_bytes = packets + 1, read_bytes + packet.size
            if min(counts.values()) >= ENOUGH_FRAMES or packets >= _MOST_PACKETS or read_bytes >= _MOST_BYTES:
                break
    except av.FFmpegError:
        pass  # what can be read counts
    return {index: min(count, ENOUGH_FRAMES) for index, count in counts.items()}


def best_index(streams: list[Any], frames: dict[int, int]) -> int:
    """Of the stream that plays. frames: of each stream, as they were counted."""
    films = [stream for stream in streams if frames[stream.index] > 1] or streams
    thumbnails = [film for film in films if _is_stills(film) and frames[film.index] < ENOUGH_FRAMES]
    if any(frames[film.index] == ENOUGH_FRAMES and not _is_stills(film) for film in films):
        films = [film for film in films if film not in thumbnails]
    return int(max(films, key=lambda stream: (*_rank(stream, frames[stream.index]), -stream.index)).index)


def _is_stills(stream: Any) -> bool:
    return stream.codec_context.name in _STILLS


def _rank(stream: Any, frames: int) -> tuple[int, int, int, int]:
    context, flags = stream.codec_context, stream.disposition
    return (
        bool(flags & Disposition.default) + (not flags & _IMPAIRED),
        frames,
        context.bit_rate or 0,
        context.width * context.height,
    )
