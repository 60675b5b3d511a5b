"""Open a video through PyAV, and choose the stream of it that is looked at. Nothing else can be opened from within."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any, BinaryIO

import av

from operators.media.source import Source
from operators.media.video.containers import HEAD_BYTES, demuxer_of
from schemas.errors import InputError

_NOTHING_ELSE = {"protocol_whitelist": "", "enable_drefs": "0"}
"""A video has no way to another file or an address: no protocol is allowed, and `_refused` answers what asks to open
one."""


def _refused(_address: str, _flags: int, _options: dict[str, str]) -> BinaryIO:
    raise PermissionError(errno.EPERM, "a video may have nothing else opened")


@contextlib.contextmanager
def opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """(container, stream). Raises InputError: malformed, no_frames."""
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
