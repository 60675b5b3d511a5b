"""Pictures through Pillow: upright, on white, in RGB; every frame of a TIFF or an animation is a unit."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from model.prompts.pixels import smart_resize
from operators.media.blank import is_blank
from operators.media.full_res import full_res_bytes, full_res_size, resized
from operators.media.source import Source
from operators.text_lines.cut_lines import cut_lines
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError

# Pillow's own guard warns at one size and raises at another; ours is settings.max_source_px, before decoding
Image.MAX_IMAGE_PIXELS = None

# What Pillow may open, whatever a file is called. None of these starts a program or opens a second file; its others,
# and what each would do, are in docs/facts/hostile-files.md §1. Naming the classes loads no other plug-in.
FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,  # and MPO, which phones write: the same file with a second photo behind
        PngImagePlugin.PngImageFile,
        GifImagePlugin.GifImageFile,
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
        PpmImagePlugin.PpmImageFile,  # .ppm and its kin: PBM, PGM, PFM
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        # two that websites serve under the names of the others
        AvifImagePlugin.AvifImageFile,
        IcoImagePlugin.IcoImageFile,
    )
)

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def probe(source: Source, settings: DecodeSettings) -> list[Planned]:
    """Raises InputError: malformed, too_large."""
    with _opened(source, settings) as picture:
        count = _frames(picture)
        width_px, height_px = _upright_size(picture)
        height, width = _seen(height_px, width_px, settings)
        size = height * width * 3 + full_res_bytes(width_px, height_px, (width, height), settings)
        return [Planned(page=index + 1 if count > 1 else None, decoded_bytes=size) for index in range(count)]


def decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    with _opened(source, settings) as picture:
        for unit in units:
            try:
                if unit.page is not None:
                    picture.seek(unit.page - 1)
                yield _decode(picture, settings)
            except InputError as error:
                yield error
            except (OSError, EOFError, SyntaxError, ValueError, OverflowError) as error:
                # what Pillow's decoders raise for damaged data
                kind = "truncated" if "truncated" in str(error) else "malformed"
                yield InputError(kind, f"{error or type(error).__name__}")


def upright(picture: Image.Image) -> Image.Image:
    """In RGB as a viewer would show it: EXIF orientation applied, transparency on white, 16 bits scaled to 8."""
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _to_8_bits(picture)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _decode(picture: Image.Image, settings: DecodeSettings) -> Decoded:
    _check_size(picture, settings)
    width_px, height_px = _upright_size(picture)
    height, width = _seen(height_px, width_px, settings)
    full_size = full_res_size(width_px, height_px, (width, height), settings)
    if picture.format == "JPEG" and settings.line_reader is None:
        # lets libjpeg decode at 1/2, 1/4 or 1/8 where the model sees no more anyway
        needed = full_size or (width, height)
        picture.draft(None, needed[::-1] if picture.getexif().get(_ORIENTATION) in _SIDEWAYS else needed)
    picture.load()
    shown = upright(picture)
    line_images = None
    if settings.line_reader is not None:
        large = _at_line_size(shown)
        line_images = cut_lines(large, settings.line_reader, width_px / large.width)
    pixels = resized(shown, (width, height))
    full_res = resized(shown, full_size) if full_size else None
    return Decoded(
        width_px,
        height_px,
        frames=(pixels,),
        line_images=line_images,
        blank=is_blank(pixels),
        full_res=full_res,
    )


def _at_line_size(picture: Image.Image) -> Image.Image:
    """At a size at which lines can be found in a second: small pictures doubled, large scans reduced."""
    area = picture.width * picture.height
    factor = 2.0 if area < 1_000_000 else min(1.0, (12_000_000 / area) ** 0.5)
    if factor == 1:
        return picture
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Pillow's convert cuts off at 255, which turns a 16-bit scan white (docs/facts/media-decoding.md §3)."""
    values = np.asarray(picture).astype(np.float64)
    top = values.max(initial=0.0)
    scale = 255.0 if picture.mode == "F" and top <= 1 else 1.0 if top <= 255 and picture.mode == "F" else 255 / 65535
    exif = picture.getexif()
    eight = Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8))
    eight.getexif().update(exif)
    return eight


def _seen(height_px: int, width_px: int, settings: DecodeSettings) -> tuple[int, int]:
    return smart_resize(
        height_px,
        width_px,
        min_pixels=settings.image_min_px,
        max_pixels=settings.image_max_px,
        factor=settings.token_side_px,
    )


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    width_px, height_px = picture.size
    sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (height_px, width_px) if sideways else (width_px, height_px)


def _frames(picture: Image.Image) -> int:
    # a phone's MPO holds the same photo again, smaller; only these formats hold pages or an animation
    if picture.format not in ("TIFF", "GIF", "WEBP", "PNG"):
        return 1
    return int(getattr(picture, "n_frames", 1))


def _check_size(picture: Image.Image, settings: DecodeSettings) -> None:
    width_px, height_px = picture.size
    if width_px * height_px > settings.max_source_px:
        raise InputError("too_large", f"{width_px} x {height_px} pixels; at most {settings.max_source_px} are decoded")


@contextlib.contextmanager
def _opened(source: Source, settings: DecodeSettings) -> Iterator[Image.Image]:
    with warnings.catch_warnings(), source.open() as file:
        warnings.simplefilter("ignore")  # remarks on odd metadata
        try:
            picture = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise InputError("malformed", "not a picture of a format that is opened") from error
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError("malformed", f"not a readable picture: {error}") from error
        with picture:
            _check_size(picture, settings)
            try:
                yield picture
            except (EOFError, SyntaxError) as error:
                raise InputError("malformed", f"not a readable picture: {error!r}") from error
