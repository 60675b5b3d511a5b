"""The formats of inputs: how it is recognized, what units it has, and which module decodes it. Imports no decoder.

The first bytes decide; the name does where they tell nothing. A new format is a module with `probe` and `decode`
(operators/media/decoder_child.py says how they are called) and one line here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from operators.media.image.signatures import is_picture
from operators.media.video.containers import HEAD_BYTES as HEAD_BYTES
from operators.media.video.containers import demuxer_by_magic, demuxer_of
from schemas.decode import UnitKind

DOCUMENT = "document"
EPISODE = "episode"
VIDEO = "video"
TEXT = "text"


@dataclass(frozen=True)
class Format:
    """media: what a row says that its input is; formats of one media have units of one kind. unit_kind: of its units.
    full_input_kind: of the whole input as one unit, for tasks that are asked about all of it at once. extensions: lower
    case, with their dot. magic: (offset, bytes) of what a file may begin with, or a function of its first HEAD_BYTES.
    weak_magic: such a function, of what is asked after the magic of all formats. module: decodes it in the child; none
    where there is no file to decode."""

    media: str
    unit_kind: UnitKind
    full_input_kind: UnitKind | None = None
    module: str | None = None
    extensions: tuple[str, ...] = ()
    magic: tuple[tuple[int, bytes], ...] | Callable[[bytes], object] = ()
    weak_magic: Callable[[bytes], object] | None = None

    def begins(self, head: bytes) -> bool:
        """Whether a file that begins so is one, and nothing else."""
        if callable(self.magic):
            return bool(self.magic(head))
        return any(head[offset : offset + len(magic)] == magic for offset, magic in self.magic)


# fmt: off
_PICTURES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".jif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp",
    ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
    ".heic", ".heics", ".heif", ".heifs", ".hif", ".avif", ".avifs", ".ico",
)
_VIDEOS = (
    ".mp4", ".m4v", ".mp4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".3gp2", ".f4v", ".ismv", ".lrv",
    ".insv", ".mkv", ".mk3d", ".webm", ".avi", ".divx", ".amv", ".flv", ".wmv", ".asf", ".wm", ".dvr-ms", ".wtv",
    ".ts", ".mts", ".m2ts", ".m2t", ".trp", ".tp", ".mpg", ".mpeg", ".mpe", ".mpv", ".m1v", ".m2v", ".m2p",
    ".vob", ".vro", ".evo", ".ogv", ".ogm", ".rm", ".rmvb", ".mxf", ".gxf", ".dv", ".ivf", ".nut", ".y4m",
)
_PDF = re.compile(rb"%PDF-\d\.\d[\r\n%]")

FORMATS = (
    Format(DOCUMENT, "page", "document", "operators.media.pdf.render_pdf", (".pdf",), ((0, b"%PDF-"),),
           lambda head: _PDF.search(head, 0, 1024)),  # mailers and old servers write something before it
    Format("image", "image", None, "operators.media.image.images", _PICTURES, is_picture),
    Format(VIDEO, "clip", "video", "operators.media.video.read_video", _VIDEOS, demuxer_by_magic,
           demuxer_of),
    Format(EPISODE, "image", "episode"),  # a folder that an input table names: its files are decoded one by one
    Format(TEXT, "text"),  # a row of an input table that names no file
)
# fmt: on

FULL_INPUT_KINDS = frozenset(kind.full_input_kind for kind in FORMATS if kind.full_input_kind is not None)
_EXTENSIONS = {extension: kind for kind in FORMATS for extension in kind.extensions}
_BY_MEDIA = {kind.media: kind for kind in FORMATS}
_SUFFIX = re.compile(r"\.(?=[0-9]*[a-z])[a-z0-9]{1,10}")
_OF_MANY_THINGS = frozenset((".mod", ".tod", ".ogg", ".ogx"))  # and of videos: modules and music, too
_SOURCES = frozenset((".ts", ".mts"))  # of TypeScript, and translations of Qt
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NO_TEXT = frozenset(range(32)) - frozenset(b"\t\n\f\r")


def media_of_name(name: str) -> str | None:
    """None when the name does not tell."""
    kind = _EXTENSIONS.get(_suffix(name))
    return None if kind is None else kind.media


def media_of_head(head: bytes) -> str | None:
    """head: the first HEAD_BYTES of a file, or all of it. None when they do not tell."""
    kind = _of_head(head, FORMATS)
    return None if kind is None else kind.media


def names_no_format(name: str) -> bool:
    """Whether such a name says nothing of what is in the file: it has no suffix, one that is none (`photo.jpg?w=300`,
    `photo.jpg_large`, `at 10.42`), or one that videos share with other things. The first bytes do then."""
    suffix = _suffix(name)
    return suffix not in _EXTENSIONS and (_SUFFIX.fullmatch(suffix) is None or suffix in _OF_MANY_THINGS)


def is_source_text(name: str, head: bytes) -> bool:
    """Whether a file is called like a recording and is a text, as TypeScript is."""
    if _suffix(name) not in _SOURCES or not head or media_of_head(head) is not None:
        return False
    return head.startswith(_UTF16_MARKS) or _NO_TEXT.isdisjoint(head)


def may_be_source_text(name: str) -> bool:
    """By its name alone."""
    return _suffix(name) in _SOURCES


def format_of(name: str, media: str | None, head: bytes) -> Format | None:
    """By the first bytes, else by the name, else the first format of that media. media: what the file must be; None
    where it may be anything."""
    possible = [kind for kind in FORMATS if media in (None, kind.media)]
    if (kind := _of_head(head, possible)) is not None:
        return kind
    if media is None and is_source_text(name, head):
        return None
    return _of_suffix(name, possible) or (possible[0] if media is not None else None)


def _of_head(head: bytes, possible: Sequence[Format]) -> Format | None:
    return next((kind for kind in possible if kind.begins(head)), None) or next(
        (kind for kind in possible if kind.weak_magic is not None and kind.weak_magic(head)), None
    )


def _of_suffix(name: str, possible: Sequence[Format]) -> Format | None:
    kind = _EXTENSIONS.get(_suffix(name))
    return kind if kind in possible else None


def _suffix(name: str) -> str:
    """Asked for every file that is listed: a PurePath takes ten times as long."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def unit_kind_of(media: str) -> UnitKind:
    return _BY_MEDIA[media].unit_kind


def full_input_kind_of(media: str) -> UnitKind | None:
    return _BY_MEDIA[media].full_input_kind
