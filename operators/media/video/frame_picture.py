"""Frames of one clip as pictures: upright, in their display shape, at the size that the model sees.

All pictures of a clip have one size, the one that has most of its pixels: neither a few small frames at the start nor a
broken one decide. A frame of another is fitted into it with its shape kept, on black, as players do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from model.prompts.pixels import smart_resize_video
from model.prompts.rgb import RGB
from operators.media.video.display_matrix import AS_CODED, Orientation, orientation_of
from operators.media.video.frame_color import (
    UNUSED_ALPHA,
    has_alpha,
    is_hdr,
    is_ycgco,
    matrix_of,
    on_white,
    tone_mapped,
    ycgco_to_rgb,
)
from operators.media.video.frame_filters import cropped, deinterlaced
from operators.media.video.open_container import decoder_of
from operators.media.video.track_facts import TrackFacts, facts_of
from schemas.decode import DecodeSettings

_SAME_SHAPE = 0.02
"""By how much two shapes may differ and still fill one another."""


_WITHOUT_ASPECT = ("mpegts", "mpeg")
"""Containers that say nothing of the shape of pixels: a broadcast may change it, which its decoder knows."""


class ClipPictures:
    """Of a clip of so many frames. notes: of INPUT_NOTES, what was done to its frames or is wrong with them."""

    def __init__(self, stream: Any, frames: int, settings: DecodeSettings) -> None:
        self._stream = stream
        self._frames = max(2, frames)
        self._settings = settings
        self._facts = facts_of(stream)
        self._alpha_may_be_unused = stream.container.format.name == "avi" or stream.codec_context.name in UNUSED_ALPHA
        self._scaler = VideoReformatter()
        self._counts: Counter[tuple[int, int]] = Counter()  # of pictures by the size of their original
        self._seen: dict[tuple[int, int], tuple[int, int]] = {}
        self.notes: set[str] = {"dolby_vision"} if self._facts.dolby_vision == 5 else set()

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of the original, upright: of the size that most pixels of the clip's pictures have."""
        counted = [(height * width * count, (height, width)) for (height, width), count in self._counts.items()]
        return max(counted, key=lambda pair: pair[0])[1] if counted else display_size(self._stream)

    def picture(self, frame: Any) -> RGB:
        """The frame as [height, width, 3], upright, at the size at which the model sees a clip of such frames."""
        orientation = orientation_of(frame)
        size_px = orientation.shown_size(*self._display_size(frame))
        if size_px not in self._seen:
            self._seen[size_px] = seen_size(*size_px, self._frames, self._settings)
        self._counts[size_px] += 1
        return self._upright(frame, orientation, self._seen[size_px])

    def of_one_size(self, pictures: Sequence[RGB]) -> tuple[RGB, ...]:
        """The clip's, as they were made here: those of other sizes than `size_px` fitted into it."""
        if len(self._counts) < 2:
            return tuple(pictures)
        self.notes.add("sizes_differ")
        size_px = self.size_px
        sizes = {seen: original for original, seen in self._seen.items()}
        return tuple(_fitted(picture, sizes[picture.shape[:2]], size_px, self._seen[size_px]) for picture in pictures)

    def _upright(self, frame: Any, orientation: Orientation, size: tuple[int, int]) -> RGB:
        pixels = self._progressive(frame, *orientation.shown_size(*size))
        return pixels if orientation is AS_CODED else np.ascontiguousarray(orientation.upright(pixels))

    def _progressive(self, frame: Any, height: int, width: int) -> RGB:
        """At that size, as it is coded."""
        if not frame.interlaced_frame:
            return self._rgb(frame, height, width)
        parts = deinterlaced(frame, frame.height if any(self._crop(frame)) else height)
        weave = self._rgb(parts.weave, height, width)
        if parts.combed is None:
            return weave
        self.notes.add("deinterlaced")
        left, top, right, bottom = self._crop(frame)
        combed = Image.fromarray(parts.combed[top : frame.height - bottom, left : frame.width - right])
        combed = combed.resize((width, height), Image.Resampling.BILINEAR)
        field = Image.fromarray(self._rgb(parts.field, height, width))
        return np.array(Image.composite(field, Image.fromarray(weave), combed))

    def _rgb(self, frame: Any, height: int, width: int) -> RGB:
        if any(self._crop(frame)):
            frame = cropped(frame, *self._crop(frame))
        shown = frame
        if has_alpha(frame.format.name):
            shown = on_white(frame, unused=self._alpha_may_be_unused)
        if not is_hdr(frame):
            return self._scaled(shown, height, width, "gbrp")
        self.notes.add("hdr_tone_mapped")
        return tone_mapped(self._scaled(shown, height, width, "gbrp16le"), frame)

    def _scaled(self, frame: Any, height: int, width: int, planar: str) -> npt.NDArray[Any]:
        """[height, width, 3], RGB. planar: its planes as FFmpeg names them. Where its scaler packs pixels, two beside
        each other share their color, and it takes twice as long (docs/facts/media-decoding.md §14)."""
        form: dict[str, Any] = {"width": width, "height": height, "interpolation": "BICUBIC", "threads": 1}
        if is_ycgco(frame):  # FFmpeg's scaler refuses it: it scales the planes as they are
            same = {"src_colorspace": Colorspace.ITU709, "dst_colorspace": Colorspace.ITU709}
            planes: Any = self._scaler.reformat(frame, format="yuv444p", **form, **same).to_ndarray(channel_last=True)
            return ycgco_to_rgb(planes, limited=frame.color_range != ColorRange.JPEG)
        scaled = self._scaler.reformat(frame, format=planar, src_colorspace=matrix_of(frame), **form)
        return np.ascontiguousarray(scaled.to_ndarray())

    def _crop(self, frame: Any) -> tuple[int, int, int, int]:
        return _crop(self._facts, frame.height, frame.width)

    def _display_size(self, frame: Any) -> tuple[int, int]:
        left, top, right, bottom = self._crop(frame)
        aspect = self._stream.sample_aspect_ratio
        if self._stream.container.format.name in _WITHOUT_ASPECT:
            aspect = decoder_of(self._stream).sample_aspect_ratio or aspect
        return _square(frame.height - top - bottom, frame.width - left - right, aspect)


def display_size(stream: Any) -> tuple[int, int]:
    """Height and width with square pixels, before rotation."""
    height, width = stream.codec_context.height, stream.codec_context.width
    left, top, right, bottom = _crop(facts_of(stream), height, width)
    return _square(height - top - bottom, width - left - right, stream.sample_aspect_ratio)


def seen_size(height_px: int, width_px: int, frames: int, settings: DecodeSettings) -> tuple[int, int]:
    """(height, width) at which the model sees each of so many frames."""
    return smart_resize_video(
        frames,
        height_px,
        width_px,
        min_pixels=settings.video_min_px,
        max_pixels=settings.video_max_px,
        factor=settings.token_side_px,
    )


def _crop(facts: TrackFacts, height: int, width: int) -> tuple[int, int, int, int]:
    """Pixels to cut off left, top, right and bottom; none where that would leave nothing."""
    left, top, right, bottom = facts.crop
    return facts.crop if left + right < width and top + bottom < height else (0, 0, 0, 0)


def _square(height: int, width: int, aspect: Fraction | None) -> tuple[int, int]:
    return height, max(1, round(width * (aspect or Fraction(1))))


def _fitted(picture: RGB, size_px: tuple[int, int], into_px: tuple[int, int], seen: tuple[int, int]) -> RGB:
    """size_px, into_px: of its original and of the clip's, which is seen at `seen`."""
    if picture.shape[:2] == seen:
        return picture
    taller = size_px[0] * into_px[1] / (size_px[1] * into_px[0])
    is_same_shape = abs(taller - 1) <= _SAME_SHAPE
    height = seen[0] if is_same_shape else max(1, round(seen[0] * min(1.0, taller)))
    width = seen[1] if is_same_shape else max(1, round(seen[1] * min(1.0, 1 / taller)))
    canvas = np.zeros((*seen, 3), np.uint8)
    top, left = (seen[0] - height) // 2, (seen[1] - width) // 2
    scaled = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    canvas[top : top + height, left : left + width] = np.asarray(scaled)
    return canvas
