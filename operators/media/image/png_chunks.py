"""The chunks of a PNG: what the picture needs, apart from what somebody wrote beside it (PNG, 3rd edition, §5 and §11).

Pillow gives up a picture for a text that is too long or a checksum that is wrong; here none of that matters but to the
chunks that hold the picture itself.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from operators.media.image.tiff_tags import Read, exif_directory, orientation_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_MOST_CHUNKS = 1 << 17
_MOST_TEXT_BYTES = 1 << 20
_PIECE = 1 << 20
_RAW_PROFILES = (b"Raw profile type exif", b"Raw profile type APP1")
_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")


@dataclass(frozen=True)
class Chunk:
    """start: of its data in the file. size: of that in bytes, as far as it is there. is_whole: its checksum is, too."""

    kind: bytes
    start: int
    size: int
    is_whole: bool


def chunks_of(read: Read, file_bytes: int) -> list[Chunk]:
    """Up to the end of the picture, or to where they cannot be followed any more."""
    chunks: list[Chunk] = []
    place = len(SIGNATURE)
    while len(chunks) < _MOST_CHUNKS:
        head = read(8, place)
        if len(head) < 8:
            break
        size, kind = struct.unpack(">I4s", head)
        if not kind.isalpha():
            break
        there = max(0, min(size, file_bytes - place - 8))
        chunks.append(Chunk(kind, place + 8, there, place + 12 + size <= file_bytes))
        place += 12 + size
        if kind == b"IEND":
            break
    return chunks


def is_cut(chunks: list[Chunk]) -> bool:
    """Whether some of the picture may lie behind the end of the file."""
    return not chunks or not any(chunk.kind == b"IEND" for chunk in chunks)


def is_damaged(read: Read, chunks: list[Chunk]) -> bool:
    """Whether a checksum of what the picture is made of is wrong."""
    return any(
        chunk.kind in _PIXELS and chunk.is_whole and _checksum(read, chunk) != read(4, chunk.start + chunk.size)
        for chunk in chunks
    )


def needed_alone(read: Read, chunks: list[Chunk]) -> bytes:
    """A PNG of what the picture needs, with checksums that are right."""
    parts = [SIGNATURE]
    for chunk in chunks:
        if chunk.kind in _NEEDED and chunk.kind != b"IEND":
            data = read(chunk.size, chunk.start)
            parts += [struct.pack(">I", len(data)), chunk.kind, data, _crc(chunk.kind, data)]
    return b"".join([*parts, struct.pack(">I", 0), b"IEND", _crc(b"IEND", b"")])


def orientation(read: Read, chunks: list[Chunk]) -> int:
    """1 to 8 as EXIF counts."""
    for chunk in chunks:
        exif = None
        if chunk.kind == b"eXIf":
            exif = read(min(chunk.size, _MOST_TEXT_BYTES), chunk.start)
        elif chunk.kind in (b"tEXt", b"zTXt"):
            exif = _raw_profile(read(min(chunk.size, _MOST_TEXT_BYTES), chunk.start), chunk.kind)
        if exif is not None and (directory := exif_directory(exif)) is not None and 274 in directory:
            return orientation_of(directory)
    for chunk in chunks:
        if chunk.kind == b"iTXt" and read(17, chunk.start) == b"XML:com.adobe.xmp":
            stated = orientation_in_xmp(read(min(chunk.size, _MOST_TEXT_BYTES), chunk.start))
            if stated is not None:
                return stated
    return 1


def orientation_in_xmp(xmp: bytes) -> int | None:
    stated = _ORIENTATION.search(xmp)
    return int(stated[1]) if stated else None


def pixel_sides(read: Read, chunks: list[Chunk]) -> tuple[float, float]:
    """Width and height of a pixel, by pHYs."""
    for chunk in chunks:
        if chunk.kind == b"pHYs" and chunk.size >= 8:
            across, down = struct.unpack(">II", read(8, chunk.start))
            return (1 / across, 1 / down) if across and down else (1.0, 1.0)
    return 1.0, 1.0


def _raw_profile(data: bytes, kind: bytes) -> bytes | None:
    """As ImageMagick writes EXIF: a keyword, then lines of hexadecimal digits."""
    keyword, _, text = data.partition(b"\0")
    if keyword not in _RAW_PROFILES:
        return None
    if kind == b"zTXt":
        try:
            text = zlib.decompressobj().decompress(text[1:], _MOST_TEXT_BYTES)
        except zlib.error:
            return None
    try:
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except ValueError:
        return None


def _checksum(read: Read, chunk: Chunk) -> bytes:
    crc = zlib.crc32(chunk.kind)
    for place in range(0, chunk.size, _PIECE):
        crc = zlib.crc32(read(min(_PIECE, chunk.size - place), chunk.start + place), crc)
    return struct.pack(">I", crc)


def _crc(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
