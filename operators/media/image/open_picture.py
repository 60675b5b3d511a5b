"""Which module reads a picture: by its first bytes, whatever its name is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from operators.media.image.heif import HeifPictures, holds_av1, is_heif
from operators.media.image.pillow_pictures import PillowPictures
from operators.media.image.stored import Pictures
from operators.media.image.tiff_pages import TiffPages
from operators.media.source import Source
from schemas.decode import DecodeSettings

_META_BYTES = 1 << 16
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextlib.contextmanager
def opened(source: Source, settings: DecodeSettings) -> Iterator[Pictures]:
    """Raises InputError, or what libraries raise for a stranger's bytes."""
    head = source.head(64)
    if head.startswith(_TIFF):
        yield TiffPages(source)
    elif is_heif(head) and not holds_av1(source.head(_META_BYTES)):
        yield HeifPictures(source, settings)
    else:
        with PillowPictures(source, settings) as pictures:
            yield pictures
