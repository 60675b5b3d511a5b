"""What `sightread bench decode` has decoded: cases that it makes itself, and files that it is given. Each knows what is
right: of a clip whose frames carry their number which of them, of any other file which of its own pictures.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pypdfium2
from numpy.typing import NDArray

from jobs.bench.decode_clips import ClipForm, clip, text_document
from jobs.bench.decode_ours import settings_of
from jobs.bench.decode_readers import Wanted
from jobs.bench.decode_worker import thumb
from model.prompts.pixels import smart_resize, smart_resize_video
from operators.media.formats import DOCUMENT, HEAD_BYTES, VIDEO, format_of
from operators.media.source import head_of
from operators.media.video.frame_times import clip_bounds, targets
from schemas.decode import DecodeSettings
from schemas.errors import SpecError

_EARLY_S = 0.002
"""By which a time that a reader gives may lie before the frame begins: containers count in thousandths."""
_TRUTH_PX = (160, 160)
_ALIKE = 1.5
"""Levels of gray, by which a picture may lie farther from the right one than from the nearest: scalers differ."""


@dataclass(frozen=True)
class Truth:
    """begins_s: of every frame of a clip, and its end. thumbs: of each frame or page [N, THUMB_PX squared], where they
    carry no number. right: places in these of what is wanted."""

    right: tuple[int, ...]
    begins_s: tuple[float, ...] = ()
    thumbs: NDArray[np.float32] | None = None

    def right_pictures(self, marks: Sequence[Any]) -> int:
        """How many of what a worker has read (jobs/bench/decode_worker.py) stand in their place."""
        if self.thumbs is None:
            return sum(mark == place for mark, place in zip(marks, self.right, strict=False))
        return sum(self._is_alike(mark, place) for mark, place in zip(marks, self.right, strict=False))

    def right_times(self, times_s: Sequence[float]) -> int:
        """How many say a time at which their frame is on screen; all, of pages."""
        if not self.begins_s:
            return len(times_s)
        spans = [(self.begins_s[place] - _EARLY_S, self.begins_s[place + 1]) for place in self.right]
        return sum(begins <= time_s < ends for time_s, (begins, ends) in zip(times_s, spans, strict=False))

    def _is_alike(self, mark: Sequence[int], place: int) -> bool:
        assert self.thumbs is not None
        distances = np.abs(self.thumbs - _leveled(np.asarray(mark, np.float32))).mean(axis=1)
        return bool(distances[place] <= distances.min() + _ALIKE)


@dataclass(frozen=True)
class Case:
    """seconds: of video that is gone through; 0 for pages."""

    name: str
    what: str
    wanted: Wanted
    truth: Truth = field(repr=False)
    seconds: float = 0.0

    @property
    def is_video(self) -> bool:
        return bool(self.wanted.times_s)

    @property
    def count(self) -> int:
        return len(self.truth.right)


@dataclass(frozen=True)
class _Clip:
    """A case that is made: its form, frames a second that are wanted, and the length of clips, 0 for the whole."""

    form: ClipForm
    fps: float
    clip_s: float = 30.0


_SPARSE = ClipForm("libx264", 640, 360, 300, 250, 500_000)
CLIPS = {
    "h264-1080p": _Clip(ClipForm("libx264", 1920, 1080, 20, 250, 6_000_000), 2.0),
    "h264-360p": _Clip(ClipForm("libx264", 640, 360, 30, 60, 800_000), 2.0),
    "h265-360p": _Clip(ClipForm("libx265", 640, 360, 30, 60, 600_000), 2.0),
    "vp9-360p": _Clip(ClipForm("libvpx-vp9", 640, 360, 30, 60, 600_000), 2.0),
    "av1-360p": _Clip(ClipForm("libsvtav1", 640, 360, 30, 60, 500_000), 2.0),
    "sparse": _Clip(_SPARSE, 0.05, 0.0),
    "sparse-clips": _Clip(_SPARSE, 0.05),
    "off-keyframes": _Clip(_SPARSE, 0.07, 0.0),
}
"""By name. A keyframe every ten seconds in the sparse ones: 0.05 frames a second fall on keyframes, 0.07 do not."""
PAGES = {"text50": 50}
"""Pages of generated documents."""
NAMES = (*CLIPS, *PAGES)


def generated(folder: Path, is_asked: Callable[[str], bool], *, quick: bool) -> Iterator[Case]:
    """Those that are generated; what is not in the folder yet is drawn and encoded first. quick: tiny."""
    for name, one in CLIPS.items():
        if is_asked(name):
            form = one.form
            if quick:
                width = 320 if form.height > 360 else 192
                seconds = 12 if one.fps < 1 else 2
                form = replace(form, width=width, height=width * 3 // 4, seconds=seconds, gop=min(form.gop, 50))
            fps = one.fps * 10 if quick and one.fps < 1 else one.fps
            clip_s = one.clip_s / 10 if quick and one.fps < 1 else one.clip_s
            yield _of_form(name, clip(folder, form), form, fps, clip_s)
    for name, pages in PAGES.items():
        if is_asked(name):
            pages = 3 if quick else pages
            yield of_document(name, text_document(folder, pages))


def samples(folder: Path, is_asked: Callable[[str], bool]) -> Iterator[Case]:
    """One for each video and PDF below the folder, videos at two frames a second."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_asked(path.name):
            kind = format_of(str(path), None, head_of(path, HEAD_BYTES))
            if kind is not None and kind.media == VIDEO:
                yield of_video(path.name, path)
            elif kind is not None and kind.media == DOCUMENT and path.suffix == ".pdf":
                yield of_document(path.name, path)


def of_video(name: str, path: Path) -> Case:
    """Any video; what is right is what PyAV shows that decodes every frame from the first."""
    thumbs, begins_s = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        first_s = float((stream.start_time or 0) * (stream.time_base or 0))
        for frame in container.decode(stream):
            assert frame.time is not None
            begins_s.append(frame.time - first_s)
            small: Any = frame.reformat(*_TRUTH_PX, format="rgb24", interpolation="AREA")
            thumbs.append(thumb(small.to_ndarray()))
        rotation, size_px = frame.rotation, (frame.height, frame.width)
    if rotation:
        raise SpecError(f"--samples: {path} is turned, which peers do not see alike; name the others by --only")
    begins_s.append(begins_s[-1] + (begins_s[-1] - begins_s[0]) / max(1, len(begins_s) - 1))
    what = f"{stream.codec_context.name} {size_px[1]}x{size_px[0]}"
    truth = Truth((), tuple(begins_s), _leveled(np.asarray(thumbs, np.float32)))
    return _video(name, what, path, truth, size_px, fps=2.0, clip_s=30.0)


def of_document(name: str, path: Path) -> Case:
    """Any PDF; what is right is what PDFium draws."""
    settings, sizes, thumbs = DecodeSettings(), [], []
    with pypdfium2.PdfDocument(path) as document:
        for page in document:
            width_px, height_px = (max(1, round(side / 72 * settings.page_dpi)) for side in page.get_size())
            height, width = smart_resize(
                height_px, width_px, min_pixels=settings.image_min_px, max_pixels=settings.image_max_px
            )
            sizes.append((width, height))
            thumbs.append(thumb(page.render(scale=1.0, rev_byteorder=True).to_numpy()[..., :3]))
    truth = Truth(tuple(range(len(sizes))), thumbs=_leveled(np.asarray(thumbs, np.float32)))
    what = f"PDF of {path.stat().st_size >> 10} KB, pages of {sizes[0][0]}x{sizes[0][1]}"
    return Case(name, what, Wanted(str(path), (), tuple(sizes)), truth)


def _of_form(name: str, path: Path, form: ClipForm, fps: float, clip_s: float) -> Case:
    begins_s = tuple(number / form.rate for number in range(form.frames + 1))
    codec = form.codec.removeprefix("lib")
    what = f"{codec} {form.width}x{form.height}, {form.rate} fps, GOP {form.gop}"
    size_px = form.height, form.width
    return _video(name, what, path, Truth((), begins_s), size_px, fps=fps, clip_s=clip_s or float(form.seconds))


def _video(
    name: str, what: str, path: Path, truth: Truth, size_px: tuple[int, int], *, fps: float, clip_s: float
) -> Case:
    """truth: without what is right, which follows from the times that are wanted."""
    begins_s, end_s = truth.begins_s[:-1], truth.begins_s[-1]
    clips = clip_bounds(begins_s, end_s, clip_s)
    wanted_s = tuple(time_s for bounds in clips for time_s in targets(*bounds, fps))
    right = tuple(max(0, bisect_right(begins_s, time_s + 1e-6) - 1) for time_s in wanted_s)
    wanted = Wanted(str(path), wanted_s, (), fps, clip_s)
    settings = settings_of(wanted)
    height, width = smart_resize_video(
        max(2, len(targets(*clips[0], fps))),
        *size_px,
        min_pixels=settings.video_min_px,
        max_pixels=settings.video_max_px,
    )
    what = f"{what}; {math.ceil(end_s)} s at {fps:g} fps, in clips of {clip_s:g} s"
    return Case(name, what, replace(wanted, sizes=((width, height),)), replace(truth, right=right), end_s)


def _leveled(thumbs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without brightness: readers differ in whose matrix of colors they take."""
    leveled: NDArray[np.float32] = thumbs - thumbs.mean(axis=-1, keepdims=True)
    return leveled
