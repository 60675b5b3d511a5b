"""Video through decord, for those who want its reader: `decode.video_backend: decord`.

It is the fork decord2, which has the module's name. The package decord is of 2021 and is refused: of HEVC it gave 10
right frames of 60, without an error.

Frames are chosen by `get_frame_timestamp`, never by index times average rate, which is wrong on every variable
frame rate (7 of 32 frames right in our measurement). Known faults that no caller can fix, and why PyAV is the
default (docs/facts/media-decoding.md): a file with an edit list shows its pre-roll; one damaged stretch loses the whole
file; H.264 in MPEG-TS with long GOPs is not read. It does not say which frames are damaged, so damaged_frames is not
known.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from model.prompts.pixels import smart_resize_video
from operators.media.source import Source
from operators.media.video.containers import HEAD_BYTES, demuxer_of, is_script
from operators.media.video.frame_times import on_screen, targets
from operators.media.video.packed_index import unpacked
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError

_LEAST_MAJOR = 3
"""The numbers of decord ended with 0.6."""
_INSTALL = "the reader decord comes with pip install decord2"


def decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    """The clips that the probe planned; times count from the first frame, which is decord's own zero."""
    try:
        import decord
    except ImportError as error:
        raise InputError("internal", f"decode.video_backend: {_INSTALL}") from error
    if int(decord.__version__.partition(".")[0]) < _LEAST_MAJOR:
        raise InputError("internal", f"decord {decord.__version__} gives wrong frames; {_INSTALL}")
    # it has an FFmpeg of its own, which guesses the container and opens by name: it meets none that could name others
    head = source.head(HEAD_BYTES)
    if demuxer_of(head) is None or is_script(head):
        raise InputError("malformed", "not given to decord: it begins like no container that is opened")
    try:
        reader = decord.VideoReader(source.link, ctx=decord.cpu(0), num_threads=1)
        times_s = [float(start) for start, _ in reader.get_frame_timestamp(range(len(reader)))]
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        message = str(error).replace(source.link, source.address).strip().splitlines()[0]
        raise InputError("malformed", f"decord cannot read it: {message}") from error
    if not times_s:
        raise InputError("no_frames", "decord sees no frames in it")
    for unit in units:
        assert unit.start_s is not None
        assert unit.end_s is not None
        chosen = on_screen(times_s, targets(unit.start_s, unit.end_s, settings.video_fps))
        index = unpacked(unit.index)
        try:
            frames = [reader[place].asnumpy() for place, _ in chosen]
        except (decord.DECORDError, RuntimeError) as error:
            yield InputError("malformed", f"decord: {str(error).strip().splitlines()[0]}")
            continue
        height_px, width_px = frames[0].shape[:2]
        height, width = smart_resize_video(
            max(2, len(frames)),
            height_px,
            width_px,
            min_pixels=settings.video_min_px,
            max_pixels=settings.video_max_px,
            factor=settings.token_side_px,
        )
        yield Decoded(
            width_px,
            height_px,
            frames=tuple(
                np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)) for frame in frames
            ),
            times_s=tuple(time_s for _, time_s in chosen),
            input_notes=tuple(sorted(index.notes & {"time_gap", "truncated"})) if index is not None else (),
        )
