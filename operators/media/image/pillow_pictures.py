"""Every format but TIFF and HEIF, through Pillow. A picture whose metadata Pillow gives up at is read without them; of
one that breaks off, what is there."""

from __future__ import annotations

import io
import os
import struct
import zlib
from functools import partial
from typing import BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
    _avif,
)

from operators.media.image import jpeg_markers, png_chunks
from operators.media.image.boxes import is_cut
from operators.media.image.partial import allowing_truncated, load_jpeg_partly, load_partly
from operators.media.image.stored import Loaded, Stored
from operators.media.image.tiff_tags import ORIENTATION, exif_directory, orientation_of
from operators.media.image.upright import Size
from operators.media.source import Source
from schemas.decode import DecodeSettings
from schemas.errors import InputError

# libavif would start a thread for each core
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# What Pillow may open, whatever a file is called. None of these starts a program or opens a second file; its others,
# and what each would do, are in docs/facts/hostile-files.md §1. Naming the classes loads no other plug-in.
FORMATS = tuple(
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        GifImagePlugin.GifImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
        PpmImagePlugin.PpmImageFile,  # .ppm and its kin: PBM, PGM, PFM
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        # two that websites serve under the names of the others
        AvifImagePlugin.AvifImageFile,
        IcoImagePlugin.IcoImageFile,
    )
)

_JPEG = b"\xff\xd8\xff"
_BYTES_PER_PX = {
    # all copies that its decoder holds, besides the picture itself
    "WEBP": 16,
    "AVIF": 14,
    "JPEG2000": 16,
}
_OF_FRAMES = 12  # of an animation: frames before this one
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
_LINES_PX = 12_000_000
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_LEAST_DPI = 20
_MOST_FRAMES = 1 << 16
_RAISED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
    *(ZeroDivisionError, struct.error, zlib.error),
)
"""What Pillow has been seen to raise for a stranger's bytes."""


class PillowPictures:
    """An open picture, or the frames of an animation."""

    def __init__(self, source: Source, settings: DecodeSettings) -> None:
        """Raises InputError, or what Pillow raises."""
        self._source = source
        self._settings = settings
        self._is_png = source.head(8) == png_chunks.SIGNATURE
        self._is_jpeg = source.head(3) == _JPEG
        self._chunks = png_chunks.chunks_of(self._read, source.size_bytes) if self._is_png else []
        self._cleaned: bytes | None = None
        self._picture: Image.Image
        self._orientation: int | None = None
        self._files: list[BinaryIO] = []
        try:
            self._picture = self._opened()
        except _RAISED as error:
            try:
                self._picture = self._opened_alone(error)
            except _RAISED as still:
                raise self._truncated(still) from error

    def __enter__(self) -> PillowPictures:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def planned(self) -> list[tuple[Stored | InputError, str | None]]:
        """Raises InputError."""
        count = self._count()
        if count > _MOST_FRAMES:
            raise InputError("too_large", f"it has {count} frames; at most {_MOST_FRAMES} are read")
        return [(self.stored(None, None), None)] * count

    def stored(self, page: int | None, index: str | None) -> Stored:  # noqa: ARG002
        if page is not None:
            self._picture.seek(page - 1)
        picture = self._picture
        return Stored(
            picture.size,
            partial(self._load, page or 1),
            self._orientation or self._orientation_of(picture),
            self._pixel_sides(picture),
            self._bytes_per_px(picture),
        )

    def _load(self, page: int, needed: Size) -> Loaded:
        """Raises InputError, or what Pillow raises."""
        picture = self._picture
        try:
            picture.draft(None, needed)  # lets libjpeg decode at 1/2, 1/4 or 1/8 where no more is needed
            picture.load()
        except _RAISED as error:
            return self._load_partly(page, needed, error)
        is_damaged = self._is_png and png_chunks.is_damaged(self._read, self._chunks)
        return Loaded(picture, ("damaged",) if is_damaged else ())

    def _load_partly(self, page: int, needed: Size, error: Exception) -> Loaded:
        """Raises InputError, or what Pillow raises."""
        note = "truncated" if "truncated" in str(error).lower() else "damaged"
        if self._is_jpeg and note == "truncated":
            return load_jpeg_partly(self._cleaned or self._source.head(self._source.size_bytes), needed)
        if self._is_png:
            note = "truncated" if png_chunks.is_cut(self._chunks) else "damaged"
            self._cleaned = png_chunks.needed_alone(self._read, self._chunks)
            picture = self._opened(page)
            try:
                picture.load()
            except _RAISED:
                return load_partly(partial(self._opened, page), note)
            is_damaged = png_chunks.is_damaged(self._read, self._chunks)
            return Loaded(picture, ("damaged",) if is_damaged else ())
        if page > 1:
            with allowing_truncated():
                self._picture = self._opened(page)
                self._picture.load()
            return Loaded(self._picture, (note,))
        try:
            return load_partly(partial(self._opened, page), note)
        except _RAISED as still:
            raise self._truncated(still) from error

    def _truncated(self, error: Exception) -> Exception:
        """Of a format that gives no part of itself: told as what it is, where it breaks off."""
        if is_cut(self._source.head(self._source.size_bytes)):
            return InputError("truncated", "it breaks off, and shows nothing of itself before its end")
        return error

    def _opened(self, page: int = 1) -> ImageFile.ImageFile:
        """Anew, not loaded. Raises InputError, or what Pillow raises."""
        file = self._source.open() if self._cleaned is None else io.BytesIO(self._cleaned)
        self._files.append(file)
        if self._is_jpeg:
            # not as an MPO, which phones write: the same file with a second photo behind
            return JpegImagePlugin.JpegImageFile(file)
        if (size := _webp_size(self._source.head(32))) is not None:
            # its plug-in sets room aside for all of it at once
            Stored(size, _nothing, bytes_per_px=4 + _BYTES_PER_PX["WEBP"]).check(self._settings)
        picture = Image.open(file, formats=FORMATS)
        if page > 1:
            picture.seek(page - 1)
        return picture

    def _opened_alone(self, error: Exception) -> Image.Image:
        """Without what was written beside the picture. error: what was raised with it. Raises that, or InputError."""
        if self._is_png:
            self._cleaned = png_chunks.needed_alone(self._read, self._chunks)
        elif self._is_jpeg:
            data = self._source.head(self._source.size_bytes)
            if not jpeg_markers.has_scan(data):
                raise InputError("truncated", "it ends before the picture begins") from error
            self._cleaned = jpeg_markers.needed_alone(data)
            self._orientation = _orientation_in(jpeg_markers.exif_of(data))
        elif _brand(self._source.head(12)) is not None:
            return self._opened_avif(error)
        else:
            raise error
        return self._opened()

    def _opened_avif(self, error: Exception) -> Image.Image:
        """Its first frame, whatever its EXIF is."""
        try:
            data = self._source.head(self._source.size_bytes)
            # libavif goes by the brand, which some files lack
            decoder = _avif.AvifDecoder(data[:8] + b"avif" + data[12:], "auto", 1)
            size, _, mode, _, _, self._orientation, _ = decoder.get_info()
            pixels, *_ = decoder.get_frame(0)
        except _RAISED:
            raise error from None
        return Image.frombytes(mode, size, pixels)

    def _read(self, size: int, offset: int) -> bytes:
        return os.pread(self._source.fd, size, offset)

    def _count(self) -> int:
        picture = self._picture
        if picture.format not in _ANIMATED:
            return 1
        try:
            return int(getattr(picture, "n_frames", 1))
        except _RAISED:  # a frame is broken: those before it are read
            self._picture = self._opened()
            return _countable(self._picture)

    def _orientation_of(self, picture: Image.Image) -> int:
        if self._is_png:
            return png_chunks.orientation(self._read, self._chunks)
        orientation = _orientation_in(picture.info.get("exif"))
        if orientation is None and picture.format != "AVIF":  # there it may say what was done already
            xmp = picture.info.get("xmp")
            orientation = png_chunks.orientation_in_xmp(xmp) if isinstance(xmp, bytes) else None
        return orientation or 1

    def _pixel_sides(self, picture: Image.Image) -> tuple[float, float]:
        if self._is_png:
            return png_chunks.pixel_sides(self._read, self._chunks)
        # of a JPEG only what JFIF says in dots per inch or centimeter: ratios there are kept to by nobody
        is_told = picture.format == "BMP" or (self._is_jpeg and picture.info.get("jfif_unit") in (1, 2))
        dpi = picture.info.get("jfif_density" if self._is_jpeg else "dpi")
        if is_told and dpi and min(dpi) >= _LEAST_DPI:
            return 1 / dpi[0], 1 / dpi[1]
        return 1.0, 1.0

    def _bytes_per_px(self, picture: Image.Image) -> float:
        size = _MODE_BYTES.get(picture.mode, 4)
        if picture.info.get("progressive"):
            # libjpeg holds all coefficients; what it makes of them may be smaller
            area = picture.width * picture.height
            largest = max(self._settings.image_max_px, self._settings.full_res_max_px, _LINES_PX)
            return 2 * len(picture.getbands()) + (size / 4 if area > 4 * largest else size)
        if picture.format in ("GIF", "PNG") and getattr(picture, "is_animated", False):
            return size + _OF_FRAMES
        return size + _BYTES_PER_PX.get(picture.format or "", 0)


def _orientation_in(exif: object) -> int | None:
    directory = exif_directory(exif) if isinstance(exif, bytes) else None
    return orientation_of(directory) if directory is not None and ORIENTATION in directory else None


def _countable(picture: Image.Image) -> int:
    count = 1
    while count < _MOST_FRAMES:
        try:
            picture.seek(count)
        except _RAISED:
            break
        count += 1
    return count


def _brand(head: bytes) -> bytes | None:
    return head[8:12] if head[4:8] == b"ftyp" else None


def _webp_size(head: bytes) -> Size | None:
    """As its first chunk says (RFC 9649); None for what is no WebP."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[26:30]) if len(head) >= 30 else (1, 1)
    return max(1, width & 0x3FFF), max(1, height & 0x3FFF)


def _nothing(_needed: Size) -> Loaded:
    raise AssertionError("checked, not loaded")
