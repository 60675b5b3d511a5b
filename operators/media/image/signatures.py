"""Whether a file is a picture, by its first bytes. Opens nothing, imports no decoder.

HEIF, AVIF and MP4 are one container; the brands that it begins with tell them apart (ISO/IEC 23008-12 §10, the register
at mp4ra.org).
"""

from __future__ import annotations

import re

_MAGIC = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",  # and APNG
    b"GIF87a",
    b"GIF89a",
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # TIFF and BigTIFF
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000, and its code stream alone
    b"\xff\x4f\xff\x51",
)
_NETPBM = re.compile(rb"(?:P[1-6]|Pf)(?:\s+(?:#[^\r\n]*[\r\n]\s*)*\d+){2}\s")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""Bytes of a BMP's second header, which tell its version: `BM` alone begins many a text."""

_PICTURE_BRANDS = frozenset(
    (
        *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1", b"miaf"),
        *(b"avif", b"avis", b"avio", b"avci", b"avcs", b"jpeg", b"jpgs", b"j2ki", b"j2is", b"vvic", b"vvis", b"1pic"),
    )
)
_OTHER_BRANDS = re.compile(rb"iso.|mp4.|mp7.|M4[ABPV] |qt  |3g..|avc1|dash|ms[di].|cmf.|f4[vpab] |MSNV|nd.. |XAVC|piff")
_RAW_BRANDS = frozenset((b"crx ",))  # of a camera: Canon's CR3


def is_picture(head: bytes) -> bool:
    """Of a format that is opened. A picture of HEIF or AVIF may be a sequence of them."""
    return (
        head.startswith(_MAGIC)
        or _is_bmp(head)
        or _is_ico(head)
        or _is_webp(head)
        or _is_netpbm(head)
        or _is_heif(head)
    )


def is_movie(head: bytes) -> bool:
    """Of a file that begins with an `ftyp` box: whether it is neither a picture nor what cameras save raw."""
    return not _is_heif(head) and not _RAW_BRANDS & set(_brands(head)[:1])


def _is_bmp(head: bytes) -> bool:
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def _is_ico(head: bytes) -> bool:
    """Not a stream of MPEG-4 video, whose start code has the same four bytes and no number of pictures behind it."""
    return head.startswith(b"\0\0\1\0") and head[4:6] not in (b"", b"\0\0") and head[5:6] == b"\0"


def _is_webp(head: bytes) -> bool:
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def _is_netpbm(head: bytes) -> bool:
    return _NETPBM.match(head) is not None


def _is_heif(head: bytes) -> bool:
    """The first brand that is known decides: the major one, or where nobody knows that, one it says it is compatible
    with."""
    for brand in _brands(head):
        if brand in _PICTURE_BRANDS or _OTHER_BRANDS.fullmatch(brand):
            return brand in _PICTURE_BRANDS
    return False


def _brands(head: bytes) -> list[bytes]:
    """The major brand, and those it says it is compatible with; none where no `ftyp` box begins the file."""
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[place : place + 4] for place in range(16, end - 3, 4))]
