"""Inputs of `sightread bench decode`: clips whose frames carry their number, and a document of text; the same bytes for
the same form. Knows no reader.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from jobs.bench.frame_number import draw_number
from jobs.bench.inputs import words
from jobs.demo_media import Line, pdf_bytes

_DRAWN = 1
"""Of what is drawn and encoded: files of another are not taken for these."""
_LINES = 50


@dataclass(frozen=True)
class ClipForm:
    """width, height: pixels. gop: frames from keyframe to keyframe. bit_rate: a second, that the encoder aims at."""

    codec: str
    width: int
    height: int
    seconds: int
    gop: int
    bit_rate: int
    rate: int = 25

    @property
    def frames(self) -> int:
        return self.seconds * self.rate


def clip(folder: Path, form: ClipForm) -> Path:
    """Of that form; encoded where it is not there yet."""
    parts = "-".join(map(str, astuple(form)))
    path = folder / f"{parts}-v{_DRAWN}-{av.__version__}.mp4"
    return _complete(path, lambda unfinished: _encode(unfinished, form))


def text_document(folder: Path, pages: int) -> Path:
    """A PDF of so many pages of A4, fifty lines of print on each."""
    chance = random.Random(0)
    sheets = tuple(tuple(Line(words(chance, 12), size_pt=10, gap_pt=14) for _ in range(_LINES)) for _ in range(pages))
    return _complete(folder / f"text-{pages}-v{_DRAWN}.pdf", lambda path: path.write_bytes(pdf_bytes(sheets)))


def _complete(path: Path, write: Any) -> Path:
    """A file appears under its name when it is complete."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{os.getpid()}-{path.name}")
        try:
            write(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def _encode(path: Path, form: ClipForm) -> None:
    with usual_priority(), av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream(form.codec, rate=form.rate)
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, form.rate)
        stream.gop_size, stream.bit_rate = form.gop, form.bit_rate
        if form.codec == "libvpx-vp9":
            stream.codec_context.thread_count = 1  # its threads wait for each other in a loop
        stream.codec_context.options = _options(form)
        for number, pixels in enumerate(_frames(form)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, form.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _options(form: ClipForm) -> dict[str, str]:
    """The encoders' own ways with B-frames and hidden frames, as films have them; keyframes where the GOP says."""
    keys = f"keyint={form.gop}:min-keyint={form.gop}:scenecut=0"
    match form.codec:
        case "libx264":
            return {"preset": "faster", "x264-params": keys}
        case "libx265":
            return {"preset": "superfast", "x265-params": f"log-level=none:{keys}"}
        case "libvpx-vp9":
            return {"deadline": "good", "cpu-used": "5", "lag-in-frames": "16", "auto-alt-ref": "1"}
        case "libsvtav1":
            return {"preset": "10", "svtav1-params": f"keyint={form.gop}:scd=0"}
    return {}


def _frames(form: ClipForm) -> Iterator[NDArray[np.uint8]]:
    """A camera that pans over a rough ground, grain, and three things that move; then the number."""
    chance = np.random.default_rng(0)
    grounds = _grounds(chance, form.height + 128, form.width + 256)
    for number in range(form.frames):
        x, y = 2 * number % 256, int(64 + 60 * np.sin(number / 40))
        pixels = grounds[number % len(grounds)][y : y + form.height, x : x + form.width].copy()
        for thing in range(3):
            side = form.height // 8
            top = (thing * form.height // 3 + number * (1 + thing)) % (form.height - side)
            left = (thing * form.width // 3 + number * (3 - thing)) % (form.width - side)
            pixels[top : top + side, left : left + side, thing] //= 2
        draw_number(pixels, number)
        yield pixels


def _grounds(chance: np.random.Generator, height: int, width: int) -> list[NDArray[np.uint8]]:
    """[height, width, 3]: noise of several coarsenesses, under grain of four kinds."""
    ground = np.full((height, width, 3), 128.0, np.float32)
    for cell, strength in ((64, 40), (16, 25), (4, 10)):
        noise = chance.normal(0, strength, (height // cell + 1, width // cell + 1, 3)).astype(np.float32)
        ground += noise.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    grains = [chance.integers(-3, 4, (height, width, 1)) for _ in range(4)]
    return [(ground + grain).clip(0, 255).astype(np.uint8) for grain in grains]


@contextlib.contextmanager
def usual_priority() -> Iterator[None]:
    """SVT-AV1, run by root, makes the thread that opens it one of real time (EbThreads.c), for good: all processes that
    it starts from then on would keep everybody else, and the kernel's own work, off a processor."""
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
