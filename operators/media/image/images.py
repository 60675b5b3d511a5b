"""Pictures: upright, on white, in RGB; every page of a TIFF or HEIF and every frame of an animation is a unit.

Whatever one picture of a file does, it costs its own row. Which library reads it: open_picture.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from model.prompts.pixels import smart_resize
from operators.media.blank import is_blank
from operators.media.full_res import full_res_bytes, full_res_size
from operators.media.image.open_picture import opened
from operators.media.image.stored import Pictures, Stored, failure_of
from operators.media.image.upright import Size, shown_at, turned
from operators.media.source import Source
from operators.text_lines.cut_lines import cut_lines
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError

# Pillow's own guard warns at one size and raises at another; ours is settings.max_source_px, before decoding
Image.MAX_IMAGE_PIXELS = None

_LARGE_PX = 60_000_000
"""From here on lines are found in what libjpeg reduced as it decoded: the whole would not fit into the memory."""


def probe(source: Source, settings: DecodeSettings) -> list[Planned]:
    """Raises InputError: malformed, truncated, too_large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd metadata
        try:
            with opened(source, settings) as pictures:
                units = [
                    Planned(page=number, index=index, decoded_bytes=_decoded_bytes(stored, settings))
                    for number, (stored, index) in enumerate(pictures.planned(), start=1)
                ]
        except MemoryError:
            raise
        except Exception as error:  # the boundary of this input's rows: what libraries raise for bytes is not bounded
            raise failure_of(error) from error
    return units if len(units) > 1 else [replace(unit, page=None) for unit in units]


def decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with opened(source, settings) as pictures:
                for unit in units:
                    yield _decoded_or_not(pictures, unit, settings)
        except (GeneratorExit, MemoryError):
            raise
        except Exception as error:  # as above, of all its rows
            raise failure_of(error) from error


def _decoded_or_not(pictures: Pictures, unit: Planned, settings: DecodeSettings) -> Decoded | InputError:
    try:
        return _decoded(pictures.stored(unit.page, unit.index), settings)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  the boundary of a row: the file's other pictures are read
        return failure_of(error)


def _decoded(stored: Stored, settings: DecodeSettings) -> Decoded:
    stored.check(settings)
    width_px, height_px = stored.shown_size
    size = _seen(stored, settings)
    full_size = full_res_size(width_px, height_px, size, settings)
    line_size = _line_size(width_px, height_px) if settings.line_reader is not None else None
    needed = full_size or size
    if line_size is not None:
        # lines are found best in pixels as they were scanned
        needed = line_size if width_px * height_px > _LARGE_PX else (width_px, height_px)
    loaded = stored.load(turned(needed, stored.orientation))
    line_images = None
    if settings.line_reader is not None and line_size is not None:
        large = shown_at(loaded.picture, line_size, stored.orientation)
        line_images = cut_lines(large, settings.line_reader, width_px / large.width)
    pixels = np.asarray(shown_at(loaded.picture, size, stored.orientation))
    full_res = np.asarray(shown_at(loaded.picture, full_size, stored.orientation)) if full_size else None
    return Decoded(
        width_px,
        height_px,
        frames=(pixels,),
        line_images=line_images,
        blank=is_blank(pixels),
        full_res=full_res,
        input_notes=loaded.notes,
    )


def _decoded_bytes(stored: Stored | InputError, settings: DecodeSettings) -> int:
    """Raises InputError: too_large."""
    if isinstance(stored, InputError):
        return 0  # decoding will say what is wrong with it
    stored.check(settings)
    size = _seen(stored, settings)
    return size[0] * size[1] * 3 + full_res_bytes(*stored.shown_size, size, settings)


def _seen(stored: Stored, settings: DecodeSettings) -> Size:
    width_px, height_px = stored.shown_size
    height, width = smart_resize(
        height_px,
        width_px,
        min_pixels=settings.image_min_px,
        max_pixels=settings.image_max_px,
        factor=settings.token_side_px,
    )
    return width, height


def _line_size(width_px: int, height_px: int) -> Size:
    """At which lines can be found in a second: small pictures doubled, large scans reduced."""
    area = width_px * height_px
    factor = 2.0 if area < 1_000_000 else min(1.0, (12_000_000 / area) ** 0.5)
    return max(1, round(width_px * factor)), max(1, round(height_px * factor))
