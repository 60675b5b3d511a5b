"""What is there of a picture whose data break off or are damaged: shown, what is lost of it in white or gray."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from operators.media.image.depths import Values
from operators.media.image.jpeg_markers import END
from operators.media.image.stored import Loaded, check_share
from operators.media.image.upright import Size, on_white

_COMPARED_PX = 60_000_000
_INTERLACED = 8
"""Every so many rows, and columns in a PNG, come first."""
_FILLERS = (b"", b"\x5a" * 512)
_LOST = 128
"""What libjpeg shows for blocks that it has no data for, in every channel."""


def load_partly(reopened: Callable[[], ImageFile.ImageFile], note: str) -> Loaded:
    """reopened: the picture anew, not loaded. What stays as it was filled, whatever it was filled with, is lost.

    Raises InputError, or what Pillow raises.
    """
    picture = reopened()
    is_interlaced = bool(picture.info.get("interlace")) or _is_interlaced_gif(picture)
    first = _filled(picture, 0)
    if first.width * first.height > _COMPARED_PX:
        return Loaded(first, (note,))
    second = _filled(reopened(), 255)
    differing = np.asarray(first) != np.asarray(second)
    lost = differing.any(axis=2) if differing.ndim == 3 else differing
    share = 1 - float(lost.mean())
    if share == 1:
        return Loaded(first, (note,) if note == "damaged" else ())
    check_share(share)
    pixels = np.array(on_white(first))
    if is_interlaced:
        lost = _fill_from_above(pixels, lost)
    pixels[lost] = 255
    return Loaded(Image.fromarray(pixels), (note,))


def _is_interlaced_gif(picture: ImageFile.ImageFile) -> bool:
    """Its plug-in tells its decoder alone."""
    arguments = picture.tile[0].args if picture.format == "GIF" and picture.tile else ()
    return isinstance(arguments, tuple) and len(arguments) > 1 and bool(arguments[1])


def _fill_from_above(pixels: Values, lost: Values) -> Values:
    """As viewers show what is interlaced: a pixel stands for those to the right of it and below that have not come yet.
    Returns what stays lost."""
    for axis in (1, 0):
        places = np.arange(lost.shape[axis]).reshape((1, -1) if axis == 1 else (-1, 1))
        nearest = np.maximum.accumulate(np.where(lost, -_INTERLACED, places), axis=axis)
        near = lost & (places - nearest < _INTERLACED)
        y, x = np.nonzero(near)
        pixels[y, x] = pixels[y, nearest[y, x]] if axis == 1 else pixels[nearest[y, x], x]
        lost = lost & ~near
    return lost


def load_jpeg_partly(data: bytes, needed: Size) -> Loaded:
    """data: without its end, which is put there. Told as truncated where more data would have changed the picture: a
    missing end marker alone changes nothing. Raises InputError, or what Pillow raises."""
    scans = data.removesuffix(
        b"\xff"
    )  # half an end marker, or half an escaped byte: no matter where all rows are there
    first, second = (_jpeg(scans + filler + END, needed) for filler in _FILLERS)
    first_pixels, second_pixels = np.asarray(first), np.asarray(second)
    if np.array_equal(first_pixels, second_pixels):
        return Loaded(first)
    rows = first_pixels.reshape(first.height, -1)
    shown = np.flatnonzero((rows != _LOST).any(axis=1))
    check_share((int(shown[-1]) + 1) / first.height if shown.size else 0.0)
    return Loaded(first, ("truncated",))


@contextlib.contextmanager
def allowing_truncated() -> Iterator[None]:
    """Pillow has one switch for all; a decoder reads one picture at a time."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _filled(picture: ImageFile.ImageFile, value: int) -> ImageFile.ImageFile:
    bands = len(picture.getbands())
    color = value if bands == 1 else (value,) * bands
    picture.im = Image.new(picture.mode, picture.size, color).im
    with allowing_truncated():
        picture.load()
    return picture


def _jpeg(data: bytes, needed: Size) -> Image.Image:
    picture = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    picture.draft(None, needed)
    with allowing_truncated():
        picture.load()
    return picture
