"""The formats of inputs: how it is recognized, what units it has, and which module decodes it. Imports no decoder.

A new format is a module with `probe` and `decode` (operators/media/decoder_child.py says how they are called) and one
line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from schemas.decode import UnitKind

EPISODE = "episode"
VIDEO = "video"
TEXT = "text"


@dataclass(frozen=True)
class Format:
    """media: what a row says that its input is; formats of one media have units of one kind. unit_kind: of its units.
    full_input_kind: of the whole input as one unit, for tasks that are asked about all of it at once. extensions: lower
    case, with their dot. magic: (offset, bytes) of what a file may begin with. module: decodes it in the child; none
    where there is no file to decode."""

    media: str
    unit_kind: UnitKind
    full_input_kind: UnitKind | None = None
    module: str | None = None
    extensions: tuple[str, ...] = ()
    magic: tuple[tuple[int, bytes], ...] = ()

    def begins(self, head: bytes) -> bool:
        """Whether a file that begins so is one."""
        return any(head[offset : offset + len(magic)] == magic for offset, magic in self.magic)


_PICTURE_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"BM")

# fmt: off
FORMATS = (
    Format("document", "page", "document", "operators.media.pdf.render_pdf", (".pdf",), ((0, b"%PDF-"),)),
    Format("image", "image", None, "operators.media.image.images",
           (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".tif", ".tiff", ".webp", ".bmp", ".ppm", ".jp2"),
           (*((0, magic) for magic in _PICTURE_MAGIC), (8, b"WEBP"))),
    Format(VIDEO, "clip", "video", "operators.media.video.read_video",
           (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp"),
           ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "), (0, b"\0\0\1\xba"), (0, b"FLV\1"))),
    Format(EPISODE, "image", "episode"),  # a folder that an input table names: its files are decoded one by one
    Format(TEXT, "text"),  # a row of an input table that names no file
)
# fmt: on

FULL_INPUT_KINDS = frozenset(kind.full_input_kind for kind in FORMATS if kind.full_input_kind is not None)
_BY_MEDIA = {kind.media: kind for kind in FORMATS}
HEAD_BYTES = max(offset + len(magic) for kind in FORMATS for offset, magic in kind.magic)
"""How much of a file's beginning tells its format."""


def media_of_name(name: str) -> str | None:
    """None when the name does not tell."""
    suffix = PurePath(name).suffix.lower()
    return next((kind.media for kind in FORMATS if suffix in kind.extensions), None)


def format_of(name: str, media: str | None, head: bytes) -> Format | None:
    """By the name, else by the first bytes, else the first format of that media. media: what the input is known to be;
    None when its name does not tell."""
    suffix = PurePath(name).suffix.lower()
    possible = [kind for kind in FORMATS if media in (None, kind.media)]
    return (
        next((kind for kind in possible if suffix in kind.extensions), None)
        or next((kind for kind in possible if kind.begins(head)), None)
        or (possible[0] if media is not None else None)
    )


def unit_kind_of(media: str) -> UnitKind:
    return _BY_MEDIA[media].unit_kind


def full_input_kind_of(media: str) -> UnitKind | None:
    return _BY_MEDIA[media].full_input_kind
