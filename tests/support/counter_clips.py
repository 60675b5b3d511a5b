"""Clips whose frames carry their number, and the reading of it: which frame was shown is then no question of judgment.

The number stands where `sightread bench decode` has it too; the corners are red, green, blue and yellow, from the top
left by rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from jobs.bench.decode_clips import usual_priority
from jobs.bench.frame_number import draw_number, read_number

BITS = 12
MS = Fraction(1, 1000)
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_CORNERS = ((220, 0, 0), (0, 220, 0), (0, 0, 220), (220, 220, 0))


def draw_counter(value: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """[height, width, 3]. size: (width, height)."""
    width, height = size
    pixels = np.full((height, width, 3), 96, np.uint8)
    side_y, side_x = max(8, height // 5), max(8, width // 6)
    for number, color in enumerate(_CORNERS):
        rows = slice(0, side_y) if number < 2 else slice(height - side_y, height)
        columns = slice(0, side_x) if number % 2 == 0 else slice(width - side_x, width)
        pixels[rows, columns] = color
    draw_number(pixels, value, BITS)
    return pixels


def read_counter(pixels: NDArray[np.uint8]) -> int:
    """Of a picture [height, width, 3]."""
    return read_number(pixels, BITS)


def write_counters(
    path: Path,
    frames: int | Sequence[int],
    *,
    rate: Fraction | int = 25,
    codec: str = "libx264",
    gop: int = 50,
    b_frames: int = 2,
    start_s: Fraction | int = 0,
    first: int = 0,
    size: tuple[int, int] = (192, 128),
    form: str | None = None,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    keys: Sequence[int] = (),
) -> Path:
    """Frame k carries first + k and is shown at k / rate, or, where `frames` lists them, at that many milliseconds;
    all of it start_s later. form: FFmpeg's name of the container, where the path's suffix does not tell. options: of
    the container. keys: frames that become keyframes besides those of the GOP."""
    times_ms = None if isinstance(frames, int) else list(frames)
    base = MS if times_ms is not None else 1 / Fraction(rate)
    with usual_priority(), av.open(str(path), "w", format=form, options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(1000) if times_ms is not None else Fraction(rate))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1  # those of libvpx wait for each other in a loop
        stream.codec_context.time_base = base
        stream.time_base = base
        stream.gop_size = gop
        stream.max_b_frames = b_frames
        stream.bit_rate = 600_000
        stream.codec_context.options = {**_quick(codec, gop, b_frames), **(codec_options or {})}
        for number in range(len(times_ms) if times_ms is not None else int(frames)):  # type: ignore[arg-type]
            frame = av.VideoFrame.from_ndarray(draw_counter(first + number, size), format="rgb24")
            frame.pts = (times_ms[number] if times_ms is not None else number) + round(Fraction(start_s) / base)
            frame.time_base = base
            if number in keys:
                frame.pict_type = av.video.frame.PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _quick(codec: str, gop: int, b_frames: int) -> dict[str, str]:
    """The quickest way, and keyframes only where the GOP says."""
    match codec:
        case "libx264":
            return {"preset": "veryfast", "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:b-adapt=0"}
        case "libx265":
            keys = f"keyint={gop}:min-keyint={gop}:scenecut=0:b-adapt=0:bframes={b_frames}"
            return {"preset": "ultrafast", "x265-params": f"log-level=none:pools=none:frame-threads=1:{keys}"}
        case "libvpx" | "libvpx-vp9":
            return {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1" if b_frames else "0"}
        case "libsvtav1":
            return {"preset": "12", "svtav1-params": f"lp=1:keyint={gop}:scd=0"}
    return {}
