"""Which of FFmpeg's demuxers reads a video: by its first bytes, from a list of ours. Opens nothing, imports no decoder.

FFmpeg's own guessing tries some three hundred demuxers, among them those of playlists and scripts that name other files
(concat, HLS, DASH, SDP, VobSub, image2). Here a file is what this list says, or it is no video. Each line is a
container that has no way to have another file opened; docs/facts/hostile-files.md §2 goes through all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from operators.media.image.signatures import is_movie

HEAD_BYTES = 16_384
"""How much of a file's beginning is looked at: some eighty packets of a transport stream."""


@dataclass(frozen=True)
class Container:
    """demuxer: FFmpeg's name. magic: (offset, bytes) of what a file may begin with."""

    demuxer: str
    magic: tuple[tuple[int, bytes], ...]

    def begins(self, head: bytes) -> bool:
        return any(head[offset : offset + len(magic)] == magic for offset, magic in self.magic)


_ATOMS = (
    *(b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"junk", b"pict", b"udta"),
    *(b"styp", b"sidx", b"ssix", b"moof", b"emsg", b"prft", b"pdin", b"meta", b"prfl"),  # of segments and streams
)

# fmt: off
CONTAINERS = (
    # .mp4 .m4v .mov .3gp, and segments of them; files of the first QuickTime have no ftyp. Its references to other
    # files (dref) are followed only where enable_drefs is set
    Container("mov", tuple((4, atom) for atom in _ATOMS)),
    Container("matroska", ((0, b"\x1a\x45\xdf\xa3"),)),  # .mkv .webm
    Container("avi", tuple((8, kind) for kind in (b"AVI ", b"AVIX", b"AVI\x19", b"ON2f", b"AMV "))),
    Container("flv", ((0, b"FLV"),)),
    Container("asf", ((0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),)),  # .wmv
    # streams of MPEG video without a container, which are called .mpg and .m4v too
    Container("mpegvideo", ((0, b"\0\0\1\xb3"),)),
    Container("m4v", ((0, b"\0\0\1\xb0"), (0, b"\0\0\1\0\0\0\1"), (0, b"\0\0\1\x20"))),
    # what collections of videos hold under the names of the others
    Container("ogg", ((0, b"OggS"),)),
    Container("rm", ((0, b".RMF"),)),
    Container("mxf", ((0, bytes.fromhex("060e2b34020501010d0102")),)),
    Container("ivf", ((0, b"DKIF"),)),
    Container("gif", ((0, b"GIF87a"), (0, b"GIF89a"))),
    # of tape, broadcast, television and laboratories; none of them can name another file
    Container("dv", ((0, b"\x1f\x07\0"),)),
    Container("gxf", ((0, b"\0\0\0\0\1\xbc"),)),
    Container("wtv", ((0, bytes.fromhex("b7d800203749da11a64e0007e95ead8d")),)),
    Container("nut", ((0, b"nut/multimedia container\0"),)),
    Container("yuv4mpegpipe", ((0, b"YUV4MPEG2 "),)),
)
# fmt: on

_OGG_VIDEOS = (b"\x80theora", b"OVP80", b"BBCD", b"\x80daala", b"\x01video\0")  # the last is OGM's
_PACKET_BYTES = (188, 192, 204)  # of a transport stream: plain, with times (.m2ts), with check sums
_SYNC = 0x47
_PACK = b"\0\0\1\xba"  # of a program stream (.mpg), every 2 KB or so
_SCRIPT_MARKS = (b"ffconcat", b"#EXTM3U", b"VobSub", b"c=IN")  # of concat, HLS, VobSub and SDP


def demuxer_of(head: bytes) -> str | None:
    """FFmpeg's name of the demuxer for a file that begins so; None where it is no video that is opened."""
    return demuxer_by_magic(head) or _by_packets(head)


def is_script(head: bytes) -> bool:
    """Whether an old FFmpeg that guesses by itself might take it for a text that names other files. What begins by one
    of the list cannot be one; a recording that begins amid a packet may hold one there, or behind a tag of ID3."""
    return demuxer_by_magic(head) is None and (head.startswith(b"ID3") or any(mark in head for mark in _SCRIPT_MARKS))


def demuxer_by_magic(head: bytes) -> str | None:
    """Where a file begins by one of the list; a recording may begin amid a packet."""
    demuxer = next((container.demuxer for container in CONTAINERS if container.begins(head)), None)
    match demuxer:
        case "mov":
            return demuxer if is_movie(head) and _has_size(head) else None
        case "ogg":  # all its streams say what they are before the first of them begins
            return demuxer if any(mark in head for mark in _OGG_VIDEOS) else None
    return demuxer


def _has_size(head: bytes) -> bool:
    """Whether the first of QuickTime's boxes is as large as its bytes say, and they are not four letters of a text that
    goes on with `free` or `skip`. Only the frames themselves may lie in a box of half a gigabyte and more."""
    return head[4:8] == b"mdat" or any(byte < 0x20 and byte not in b"\t\n\r" for byte in head[:4])


def _by_packets(head: bytes) -> str | None:
    """Recordings, which may begin amid a packet; a text may hold as many G."""
    if b"\0" not in head:
        return None
    for size in _PACKET_BYTES:
        for offset in range(size):
            first_bytes = head[offset::size]
            # at least half of them, and no chance: some are damaged in every broadcast
            if len(first_bytes) >= 3 and first_bytes.count(_SYNC) * 2 > len(first_bytes):
                return "mpegts"
    return "mpeg" if _PACK in head else None
