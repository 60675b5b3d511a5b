"""HEIC and HEIF through libheif (pi-heif, which brings libheif and libde265 and no encoder).

libheif puts tiles together and turns and mirrors as the file says, so what EXIF says about it besides is left alone, as
the standard wants it (ISO/IEC 23008-12 A.2). Thumbnails, depth maps and other auxiliary images are no pictures; nor
are the others of a group that shows the same thing again: a burst, a stereo pair, alternatives.
"""

from __future__ import annotations

import io
from functools import partial

import pi_heif

from operators.media.image.boxes import boxes, is_cut
from operators.media.image.stored import Loaded, Stored
from operators.media.image.upright import Size
from operators.media.source import Source
from schemas.decode import DecodeSettings
from schemas.errors import InputError

pi_heif.options.DECODE_THREADS = 1
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False

_OF_AV1 = (b"avif", b"avis")
_SAME_AGAIN = (b"brst", b"ster", b"altr", b"eqiv", b"tsyn", b"aebr", b"wbbr", b"fobr", b"afbr", b"dobr")
_BYTES_PER_PX = 14
"""Planes of two bytes, RGB of libheif, RGB of Python, RGB of Pillow."""


def is_heif(head: bytes) -> bool:
    """Whether a file that begins so is of this family and does not say that its pictures are AV1."""
    brands = _brands(head)
    return bool(brands) and not any(brand in brands for brand in _OF_AV1)


def holds_av1(meta: bytes) -> bool:
    """meta: the beginning of a file, where the properties of its pictures are. Whatever its brands say."""
    return b"av1C" in meta and b"hvcC" not in meta


class HeifPictures:
    """An open HEIF."""

    def __init__(self, source: Source, settings: DecodeSettings) -> None:
        """Raises InputError."""
        if source.size_bytes > settings.memory_mb << 18:
            raise InputError("too_large", f"a file of {source.size_bytes} bytes; memory_mb allows a quarter of itself")
        data = source.head(source.size_bytes)
        self._is_cut = is_cut(data)
        try:
            images = list(pi_heif.HeifFile(io.BytesIO(data), convert_hdr_to_8bit=True))
        except (OSError, ValueError, SyntaxError, RuntimeError, EOFError) as error:
            raise self._failure(error) from error
        if not images:
            raise InputError("malformed", "not a readable picture: there is none in it")
        primary = next((image for image in images if image.info.get("primary")), images[0])
        self._images = [primary] if _repeats(data) else images

    def planned(self) -> list[tuple[Stored | InputError, str | None]]:
        return [(self.stored(number, None), None) for number in range(1, len(self._images) + 1)]

    def stored(self, page: int | None, index: str | None) -> Stored:  # noqa: ARG002
        number = page or 1
        if number > len(self._images):
            raise InputError("malformed", f"it has {len(self._images)} pictures by now")
        image = self._images[number - 1]
        across, down = image.info.get("pixel_aspect_ratio") or (1, 1)
        sides = (float(across), float(down)) if across > 0 and down > 0 else (1.0, 1.0)
        return Stored(image.size, partial(self._load, image), pixel_sides=sides, bytes_per_px=_BYTES_PER_PX)

    def _load(self, image: pi_heif.HeifImage, _needed: Size) -> Loaded:
        try:
            # what is missing of it libheif fills with anything
            return Loaded(image.to_pillow(), ("truncated",) if self._is_cut else ())
        except (OSError, ValueError, SyntaxError, RuntimeError, EOFError) as error:
            raise self._failure(error) from error
        finally:
            image._data = None  # Pillow has its own copy

    def _failure(self, error: Exception) -> InputError:
        text = str(error).strip()
        kind = "too_large" if "ecurity limit" in text else "truncated" if self._is_cut else "malformed"
        return InputError(kind, f"not a readable picture: {text}")


def _brands(head: bytes) -> list[bytes]:
    if head[4:8] != b"ftyp":
        return []
    end = min(len(head), int.from_bytes(head[:4], "big"))
    return [head[8:12], *(head[place : place + 4] for place in range(16, end - 3, 4))]


def _repeats(data: bytes) -> bool:
    for kind, start, end in boxes(data, 0, len(data)):
        if kind == b"meta":
            for inner, first, last in boxes(data, start + 4, min(end, len(data))):
                if inner == b"grpl":
                    return any(group in _SAME_AGAIN for group, _, _ in boxes(data, first, min(last, len(data))))
    return False
