"""Open a video through PyAV, and choose the stream of it that is looked at. Nothing else can be opened from within."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import av
from av.codec import CodecContext

from operators.media.source import Source
from operators.media.video import matroska_tracks, mp4_tracks, scrambled
from operators.media.video.choose_stream import best_index, counted_frames, possible_streams
from operators.media.video.containers import HEAD_BYTES, demuxer_of
from operators.media.video.track_facts import TrackFacts, facts_of, keep_facts
from schemas.errors import InputError

_NOTHING_ELSE = {"protocol_whitelist": "", "enable_drefs": "0"}
"""A video has no way to another file or an address: no protocol is allowed, and `_refused` answers what asks to open
one."""
_SAME_STREAM = {"mpegts": {"merge_pmt_versions": "1"}}
"""Options of demuxers: a broadcast that moves its video to another PID goes on with it."""
_PATIENT = {"probesize": str(64 << 20), "analyzeduration": str(120_000_000)}
"""Bytes and microseconds that are looked through for the header of a stream, where the usual 5 MB and 5 s hold none: a
recording that begins amid a group of pictures."""
_AT_ONCE, _ALL_AT_ONCE = 32 << 10, 512 << 10
"""Bytes that are read at once: by who seeks, and by who reads the file from end to end. A read is a call of Python."""
_MOST_PACKETS = 20_000
"""That are tried for a first frame which tells its size."""
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these leave the alpha out, which Matroska keeps beside the picture."""


def _refused(_address: str, _flags: int, _options: dict[str, str]) -> BinaryIO:
    raise PermissionError(errno.EPERM, "a video may have nothing else opened")


@contextlib.contextmanager
def opened(source: Source, index: int | None = None) -> Iterator[tuple[Any, Any]]:
    """(container, stream), both as after opening: the same stream each time, and its width and height are known. To be
    decoded by `decoder_of` the stream. index: of the stream, where it was chosen before. Raises InputError: malformed,
    no_frames, encrypted."""
    demuxer = demuxer_of(source.head(HEAD_BYTES))
    if demuxer is None:
        raise InputError("malformed", "not a readable video: it begins like no container that is opened")
    with contextlib.ExitStack() as stack:
        container, stream = _with_stream(stack, source, demuxer, index)
        context = stream.codec_context
        context.thread_count = 1  # workers are processes; threads only cost CPU here
        keep_facts(stream, _facts(source, demuxer, container, stream))
        if not context.width or not context.height:
            context.width, context.height = _size_of_first_frame(source, demuxer, stream.index)
        yield container, stream


def decoder_of(stream: Any) -> Any:
    """A codec context. It is not flushed when its container seeks, unless it is the stream's own."""
    name = _WITH_ALPHA.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return stream.codec_context
    facts = facts_of(stream)
    if facts.decoder is None:
        decoder = CodecContext.create(name, "r")
        decoder.thread_count = 1
        facts = replace(facts, decoder=decoder)
        keep_facts(stream, facts)
    return facts.decoder


@contextlib.contextmanager
def _container(source: Source, demuxer: str, *, patient: bool, buffer_size: int = _AT_ONCE) -> Iterator[Any]:
    """Raises InputError: malformed."""
    options = _NOTHING_ELSE | {"format_whitelist": demuxer} | _SAME_STREAM.get(demuxer, {})
    options |= _PATIENT if patient else {}
    with source.open() as file:
        try:
            container = av.open(
                file,
                format=demuxer,
                options=options,
                io_open=_refused,
                metadata_errors="replace",
                buffer_size=buffer_size,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            message = getattr(error, "strerror", None) or error
            raise InputError("malformed", f"not a readable video: {message}: '{source.address}'") from error
        with container:
            yield container


def _with_stream(stack: contextlib.ExitStack, source: Source, demuxer: str, index: int | None) -> tuple[Any, Any]:
    """(container, stream). Raises InputError: malformed, no_frames, encrypted."""
    # whose stream is not known yet has no index either, and is read through
    size = _ALL_AT_ONCE if index is None else _AT_ONCE
    for patient in (False, True):
        container = stack.enter_context(_container(source, demuxer, patient=patient, buffer_size=size))
        streams = possible_streams(container)
        if index is not None:
            streams = [stream for stream in streams if stream.index == index]
        if len(streams) > 1:
            chosen = best_index(streams, counted_frames(container, streams))
            stack.close()
            container = stack.enter_context(_container(source, demuxer, patient=patient, buffer_size=size))
            streams = [container.streams[chosen]]
        if streams and (patient or (streams[0].codec_context.width and streams[0].codec_context.height)):
            return container, streams[0]
        for stream in streams or container.streams.video:
            # what is encrypted shows no header however long one looks, and may name no codec
            _facts(source, demuxer, container, stream)
        stack.close()
    raise InputError("no_frames", "there is no video stream that can be decoded")


def _facts(source: Source, demuxer: str, container: Any, stream: Any) -> TrackFacts:
    """Raises InputError: encrypted."""
    facts = TrackFacts()
    match demuxer:
        case "mov":
            facts = mp4_tracks.read(source).get(stream.id, facts)
        case "matroska":
            videos = [video.index for video in container.streams.video]
            facts = dict(zip(videos, matroska_tracks.read(source), strict=False)).get(stream.index, facts)
        case "asf":
            facts = TrackFacts(encrypted=scrambled.is_asf_encrypted(source))
        case "flv":
            facts = TrackFacts(encrypted=scrambled.is_flv_encrypted(source))
        case "mpegts":
            facts = TrackFacts(encrypted=scrambled.is_transport_stream_scrambled(source, stream.id))
        case "mpeg":
            facts = TrackFacts(encrypted=scrambled.is_program_stream_scrambled(source, stream.id))
    if facts.encrypted:
        raise InputError("encrypted", "its pictures are encrypted, and the key is not in the file")
    return facts


def _size_of_first_frame(source: Source, demuxer: str, index: int) -> tuple[int, int]:
    """(width, height). Raises InputError: malformed, no_frames."""
    with _container(source, demuxer, patient=True) as container, contextlib.suppress(av.FFmpegError):
        context = container.streams[index].codec_context
        context.thread_count = 1
        for count, packet in enumerate(container.demux(container.streams[index])):
            with contextlib.suppress(av.FFmpegError):
                for frame in context.decode(packet):
                    return frame.width, frame.height
            if count >= _MOST_PACKETS:
                break
    raise InputError("no_frames", "the video stream says no size, and no frame of it can be decoded")
