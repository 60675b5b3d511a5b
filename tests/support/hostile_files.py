"""Files that try to have something started, opened, listed, written or fetched. Draws them itself, by seed.

Each names another file or an address in one of the ways of REFERENCES, in a form that some reader of pictures,
documents or videos follows. Beside them lie canaries: what shows their color was read from there.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.media import pdf_of, write_clip

SUFFIXES = (".jpg", ".png", ".tif", ".gif", ".bmp", ".webp", ".pdf", ".mp4", ".mkv", ".ts")
CANARY = (255, 0, 255)
"""The color of the neighbors; no hostile file has it."""
HONEST = (0, 160, 80)
"""The color of those that are pictures or videos themselves."""
WRITTEN = "written-by-a-file"
"""The name of what some of them try to write."""


def write_canaries(folder: Path) -> list[Path]:
    """What a file may try to show instead of itself."""
    picture = Image.new("RGB", (96, 64), CANARY)
    for name in ("canary.png", "canary.jpg", "canary1.png", "canary.tif", "canary.bmp"):
        picture.save(folder / name)
    (folder / "canary.pdf").write_bytes(_pdf(b"", page=b"1 0 1 rg 0 0 200 200 re f", tail=b""))
    for name in ("canary.mp4", "canary.ts", "canary.mkv"):
        _write_video(folder / name, CANARY)
    for suffix in (".sub", ".idx"):  # what VobSub opens beside a file
        (folder / f"canary{suffix}").write_bytes((folder / "canary.ts").read_bytes())
    return sorted(folder.iterdir())


def references(folder: Path, port: int) -> list[str]:
    """Ways to name a neighbor or an address. port: of a server on this machine."""
    return [
        "canary.mp4",
        str(folder / "canary.png"),
        f"file://{folder}/canary.ts",
        "subfile,,start,0,end,4096,,:canary.ts",
        f"http://127.0.0.1:{port}/canary.mp4",
        "/etc/passwd",
        "concat:canary.ts|canary.ts",
        f"crypto+file:{folder}/canary.mp4",
    ]


def write_hostile(folder: Path, port: int, seed: int, count: int) -> list[Path]:
    """count files of different contents, each under every suffix: every kind in turn, with ways to name something that
    are dealt by seed."""
    ways = references(folder, port)
    random.Random(seed).shuffle(ways)
    honest = _honest(folder)
    paths = []
    for index in range(count):
        name = list(KINDS)[index % len(KINDS)]
        content = KINDS[name](ways[(index + index // len(KINDS)) % len(ways)], folder, honest)
        for suffix in SUFFIXES:
            path = folder / f"{index:03}-{name}{suffix}"
            path.write_bytes(content)
            paths.append(path)
    return paths


def write_hostile_names(folder: Path, port: int) -> list[Path]:
    """Pictures and videos whose names are commands, addresses and patterns to some readers."""
    names = [
        "canary%d.png", "canary*.png", "can[a]ry.png", "file:canary.mp4", "concat:canary.ts", "subfile:canary.ts",
        f"http:127.0.0.1:{port}.mp4", "|touch written-by-a-file.jpg", "$(touch written-by-a-file).png", "-i.mp4",
        "data:,x.mp4", "pipe:0.ts", "rtp:127.0.0.1.mp4", "canary.png:x.jpg", "a\nb.png", "%PS.tif",
    ]  # fmt: skip
    honest = _honest(folder)
    for name in names:
        (folder / name).write_bytes(honest["mp4" if name.endswith((".mp4", ".ts")) else "png"])
    return [folder / name for name in names]


_Honest = dict[str, bytes]
_Kind = Callable[[str, Path, _Honest], bytes]


def _honest(folder: Path) -> _Honest:
    """Real files of HONEST, for what hides in them."""
    files = {}
    for form in ("png", "jpeg", "tiff", "gif", "bmp", "webp", "ppm"):
        file = BytesIO()
        Image.new("RGB", (96, 64), HONEST).save(file, form)
        files[form] = file.getvalue()
    for form in ("mp4", "ts", "mkv", "avi"):
        path = folder / f".honest.{form}"
        files[form] = _write_video(path, HONEST).read_bytes()
        path.unlink()
    return files


def _write_video(path: Path, color: tuple[int, int, int]) -> Path:
    return write_clip(path, range(0, 1000, 40), codec="mpeg4", b_frames=0, color=color)


def _text(template: str) -> _Kind:
    """{way}: what is named, {folder}: where all lie, {port}: of the server."""

    def content(way: str, folder: Path, honest: _Honest) -> bytes:
        return template.format(way=way, folder=folder, written=folder / WRITTEN).encode()

    return content


# scripts that a picture library hands to another program

_SHOW = (
    "<< /PageSize [96 64] >> setpagedevice ({way}) (r) file closefile 1 0 1 setrgbcolor 0 0 96 64 rectfill showpage\n"
)
_RUN = (
    "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 64\n%%EndComments\n(%pipe%touch {written}) (w) file closefile\n"
    "({written}) (w) file dup (x) writestring closefile (canary.png) deletefile ({folder}/canary.*) {{ = }} 99 string "
    "filenameforall\n"
)


def _postscript(lead: str = "") -> _Kind:
    return _text(lead + _RUN + _SHOW)


def _dos_eps(way: str, folder: Path, honest: _Honest) -> bytes:
    script = _postscript()(way, folder, honest)
    places = struct.pack("<6IH", 30, len(script), 0, 0, 30 + len(script), len(honest["tiff"]), 0xFFFF)
    return b"\xc5\xd0\xd3\xc6" + places + script + honest["tiff"]


# videos that name others


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data:
        size = struct.unpack(">I", data[:4])[0]
        yield data[4:8], data[8:size]
        data = data[size:]


def _with_data_reference(entry: bytes) -> Callable[[bytes], bytes]:
    """An .mp4 whose samples lie elsewhere, as its data reference has it."""

    def rebuilt(data: bytes) -> bytes:
        boxes = []
        for kind, content in _boxes(data):
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
                content = rebuilt(content)
            elif kind == b"dref":
                content = struct.pack(">II", 0, 1) + entry
            boxes.append(_box(kind, content))
        return b"".join(boxes)

    return rebuilt


def _alias(way: str, folder: Path, honest: _Honest) -> bytes:
    """dref of type alis, as libavformat/mov.c reads it."""
    path, name = way.encode(), way.rpartition("/")[2].encode()[:63]
    record = bytes(10) + b"\3Vol".ljust(28, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">HH", 1, 1) + bytes(16)
    for kind, value in ((2, b"Vol:" + path.replace(b"/", b":")), (18, path), (19, b"/")):
        record += struct.pack(">HH", kind, len(value)) + value + bytes(len(value) % 2)
    return _with_data_reference(_box(b"alis", bytes(4) + record + b"\xff\xff\0\0"))(honest["mp4"])


def _url(way: str, folder: Path, honest: _Honest) -> bytes:
    return _with_data_reference(_box(b"url ", bytes(4) + way.encode() + b"\0"))(honest["mp4"])


def _movie_reference(way: str, folder: Path, honest: _Honest) -> bytes:
    """A QuickTime movie that says where the real one is."""
    place = way.encode() + b"\0"
    reference = _box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(place)) + place)
    return _box(b"ftyp", b"qt  \0\0\0\0qt  ") + _box(b"moov", _box(b"rmra", _box(b"rmda", reference)))


def _subtitles_in_avi(way: str, folder: Path, honest: _Honest) -> bytes:
    """A playlist in the place of subtitles (GAB2), which FFmpeg once guessed the form of."""
    playlist = _HLS(way, folder, honest)
    head = b"GAB2\0\2\0" + struct.pack("<I", 2) + b"x\0" + struct.pack("<HI", 4, len(playlist)) + playlist
    data = honest["avi"]
    place = data.index(b"movi") + 4
    chunk = b"01tx" + struct.pack("<I", len(head)) + head + bytes(len(head) % 2)
    return data[:place] + chunk + data[place:]


def _amid_packets(script: _Kind) -> _Kind:
    """A transport stream that begins amid a packet, by a script."""

    def content(way: str, folder: Path, honest: _Honest) -> bytes:
        text = script(way, folder, honest)
        return text + bytes(-len(text) % 188) + honest["ts"]

    return content


_FFCONCAT = _text("ffconcat version 1.0\nfile '{way}'\nduration 2\nfile canary.mp4\n")
_HLS = _text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{way}\n#EXTINF:10,\ncanary.ts\n#EXT-X-ENDLIST\n")
_SDP = _text("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{way}\nm=video 9 RTP/AVP 26\n")

# documents that do something


def _pdf(
    action: bytes, *, page: bytes = b"0 .63 .31 rg 0 0 200 200 re f", tail: bytes = b"", first: bytes = b""
) -> bytes:
    """A page with an action for the document, the page, a link, a form and its field."""
    acts = b"/OpenAction 6 0 R /AA << /WC 6 0 R /DS 6 0 R >>" if action else b""
    on_page = b"/AA << /O 6 0 R /C 6 0 R >> /Annots [5 0 R]" if action else b""
    field = b"/AA << /E 6 0 R /D 6 0 R /F 6 0 R /C 6 0 R >>"
    form = b"/AcroForm << /Fields [5 0 R] /NeedAppearances true >>" if action else b""
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R %s %s %s >>" % (acts, form, first),
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R %s %s >>" % (on_page, tail),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(page), page),
            b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /V (b) /Rect [9 9 99 99] /A 6 0 R %s >>" % field,
            action or b"null",
        ]
    )


def _action(template: str) -> _Kind:
    return lambda way, folder, honest: _pdf(_text(template)(_escaped(way), folder, honest))


def _escaped(way: str) -> str:
    return way.replace("(", "\\(").replace(")", "\\)")


def _external_stream(way: str, folder: Path, honest: _Honest) -> bytes:
    """The picture of a page, whose bytes are said to lie in another file."""
    picture = (
        b"<< /Type /XObject /Subtype /Image /Width 96 /Height 64 /ColorSpace /DeviceRGB /BitsPerComponent 8 /Length 0 "
        b"/F (%s) /FFilter /DCTDecode >>\nstream\n\nendstream" % _escaped(way).encode()
    )
    resources = b"/Resources << /XObject << /P 5 0 R >> >>"
    draw = b"0 .63 .31 rg 0 0 200 200 re f q 200 0 0 200 0 0 cm /P Do Q"
    return pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R %s >>" % resources,
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(draw), draw),
            picture,
        ]
    )


# pictures that name something


def _png(*chunks: tuple[bytes, str]) -> _Kind:
    def content(way: str, folder: Path, honest: _Honest) -> bytes:
        data = honest["png"]
        extra = b""
        for kind, template in chunks:
            body = template.format(way=way).encode("latin-1")
            extra += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        return data[:33] + extra + data[33:]

    return content


def _tiff(way: str, folder: Path, honest: _Honest) -> bytes:
    """DocumentName, ImageDescription, PageName, HostComputer and XMP that name it."""
    file = BytesIO()
    tags: dict[int, str | bytes] = dict.fromkeys((269, 270, 285, 316), way)
    tags[700] = way.encode()
    Image.new("RGB", (96, 64), HONEST).save(file, "tiff", tiffinfo=tags)
    return file.getvalue()


def _jpeg(way: str, folder: Path, honest: _Honest) -> bytes:
    comment = f"{way}\0http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><a href='{way}'/></x:xmpmeta>".encode()
    segment = struct.pack(">H", 2 + len(comment)) + comment
    return honest["jpeg"][:2] + b"\xff\xfe" + segment + b"\xff\xe1" + segment + honest["jpeg"][2:]


def _ole(way: str, folder: Path, honest: _Honest) -> bytes:
    """The beginning of an OLE file, as FlashPix and MIC are."""
    return (
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 62, 3, 0xFFFE, 9, 6) + way.encode() * 99
    )


def _lead(lead: bytes) -> _Kind:
    """What begins as a format of Pillow's that is not opened, with the name behind."""
    return lambda way, folder, honest: lead + way.encode() + bytes(64) + honest["jpeg"]


def _random(way: str, folder: Path, honest: _Honest) -> bytes:
    """A real file of one form with the bytes of a script written over its middle."""
    dealt = random.Random(way)
    data = bytearray(honest[dealt.choice(sorted(honest))])
    script = way.encode() + b"\n#EXTM3U\nffconcat version 1.0\n"
    place = dealt.randrange(len(data) // 4, len(data) // 2)
    data[place : place + len(script)] = script
    return bytes(data)


def _wmf(way: str, folder: Path, honest: _Honest) -> bytes:
    head = struct.pack("<IHhhhhHI", 0x9AC6CDD7, 0, 0, 0, 96, 64, 96, 0)
    return head + struct.pack("<H", sum(struct.unpack("<10H", head)) & 0xFFFF) + b"\1\0\t\0" + way.encode() * 9


def _noise(way: str, folder: Path, honest: _Honest) -> bytes:
    return np.random.default_rng(len(way)).bytes(64) + _FFCONCAT(way, folder, honest)


KINDS: dict[str, _Kind] = {
    # for a program
    "postscript": _postscript(),
    "postscript-behind-escape": _postscript("\x1b%-12345X@PJL ENTER LANGUAGE=POSTSCRIPT\n"),
    "postscript-in-dos-eps": _dos_eps,
    "svg": _text("<svg xmlns='http://www.w3.org/2000/svg' xmlns:x='http://www.w3.org/1999/xlink'>"
                 "<image x:href='{way}'/><use href='{way}#a'/><script>fetch('{way}')</script></svg>"),
    "xml-entity": _text("<!DOCTYPE a [<!ENTITY b SYSTEM '{way}'>]><svg xmlns='http://www.w3.org/2000/svg'>&b;</svg>"),
    "msl": _text("<image><read filename='{way}'/><write filename='{written}'/></image>"),
    "mvg": _text("push graphic-context\nviewbox 0 0 96 64\nimage over 0,0 96,64 '{way}'\npop graphic-context\n"),
    "shell": _text("#!/bin/sh\ncat '{way}' > '{written}'\n"),
    "python": _text("import subprocess; open('{written}', 'w'); print(open('{way}').read())\n"),
    # scripts of FFmpeg's
    "ffconcat": _FFCONCAT,
    "ffconcat-neighbor": _text("ffconcat version 1.0\nfile canary.mp4\nfile canary.mkv\n"),
    "ffconcat-behind-mark": _text("\ufeffffconcat version 1.0\nfile '{way}'\n"),
    "ffconcat-amid-packets": _amid_packets(_FFCONCAT),
    "hls": _HLS,
    "hls-neighbor": _text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ncanary.ts\n#EXT-X-ENDLIST\n"),
    "hls-master": _text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{way}\n#EXT-X-MEDIA:TYPE=VIDEO,URI=\"{way}\"\n"),
    "hls-key": _text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-KEY:METHOD=AES-128,URI=\"{way}\"\n\n"
                     "#EXT-X-MAP:URI=\"{way}\"\n#EXTINF:9,\ncanary.ts\n#EXT-X-ENDLIST\n"),
    "hls-amid-packets": _amid_packets(_HLS),
    "hls-behind-id3": lambda way, folder, honest: b"ID3\4\0\0\0\0\0\0" + _HLS(way, folder, honest),
    "dash": _text("<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period>"
                  "<AdaptationSet mimeType='video/mp4'><Representation id='1' bandwidth='9'>"
                  "<BaseURL>{way}</BaseURL></Representation></AdaptationSet></Period></MPD>"),
    "sdp": _SDP,
    "sdp-amid-packets": _amid_packets(_SDP),
    "rtsp": _text("RTSP/1.0 302 Moved\r\nLocation: {way}\r\n\r\n"),
    "vobsub": _text("# VobSub index file, v7 (do not modify this line!)\nsize: 96x64\npalette: 000000\nid: en\n"
                    "timestamp: 00:00:00:000, filepos: 000000000\n# {way}\n"),
    "ffmetadata": _text(";FFMETADATA1\ntitle={way}\n"),
    "avisynth": _text("AVISource(\"{way}\")\n"),
    "vapoursynth": _text("import vapoursynth as vs\nvs.core.ffms2.Source('{way}').set_output()\n"),
    "lavfi": _text("movie={way}\n"),
    "imf": _text("<CompositionPlaylist xmlns='http://www.smpte-ra.org/schemas/2067-3/2016'><Asset>{way}</Asset></CompositionPlaylist>"),
    "m3u": _text("#EXTINF:9,x\n{way}\n"),
    "pls": _text("[playlist]\nFile1={way}\nNumberOfEntries=1\n"),
    "asx": _text("<asx version='3.0'><entry><ref href='{way}'/></entry></asx>"),
    "ram": _text("{way}\n"),
    "smil": _text("<smil><body><video src='{way}'/></body></smil>"),
    "cue": _text("FILE \"{way}\" BINARY\n  TRACK 01 MODE2/2352\n    INDEX 01 00:00:00\n"),
    "realtext": _text("<window type='tickertape'><a href='{way}'>x</a></window>"),
    # videos
    "mov-alias": _alias,
    "mov-url": _url,
    "mov-movie-reference": _movie_reference,
    "avi-subtitles": _subtitles_in_avi,
    "pnm-pipe": lambda way, folder, honest: honest["ppm"] + f"P7\n# {way}\n".encode() + honest["ppm"],
    "gxf": _lead(b"\0\0\0\0\1\xbc"),
    "noise-then-ffconcat": _noise,
    # documents
    "pdf-launch": _action("<< /S /Launch /F ({way}) /Unix << /F (touch) /P ({written}) >> >>"),
    "pdf-uri": _action("<< /S /URI /URI ({way}) >>"),
    "pdf-go-to-remote": _action("<< /S /GoToR /F ({way}) /D [0 /Fit] >>"),
    "pdf-go-to-embedded": _action("<< /S /GoToE /F ({way}) /D [0 /Fit] >>"),
    "pdf-submit": _action("<< /S /SubmitForm /F << /FS /URL /F ({way}) >> /Fields [5 0 R] >>"),
    "pdf-import": _action("<< /S /ImportData /F ({way}) >>"),
    "pdf-javascript": _action("<< /S /JavaScript /JS (app.launchURL\\('{way}'\\); this.submitForm\\('{way}'\\);) >>"),
    "pdf-rendition": _action("<< /S /Rendition /OP 0 /R << /S /MR /C << /S /MCD /D << /F ({way}) >> >> >> >>"),
    "pdf-external-stream": _external_stream,
    "pdf-embedded": lambda way, folder, honest: _pdf(
        b"", first=b"/Names << /EmbeddedFiles << /Names [(a) << /F (%s) >>] >> >>" % _escaped(way).encode()
    ),
    "pdf-xfa": lambda way, folder, honest: _pdf(
        b"", first=b"/AcroForm << /XFA (<template><image href='%s'/></template>) /Fields [] >>" % _escaped(way).encode()
    ),
    # pictures
    "png-text": _png((b"tEXt", "XML:com.adobe.xmp\0{way}"), (b"tEXt", "Source\0{way}"), (b"iTXt", "a\0\0\0\0\0{way}")),
    "png-profile": _png((b"iCCP", "{way}\0\0x"), (b"eXIf", "MM\0*{way}")),
    "tiff-names": _tiff,
    "jpeg-names": _jpeg,
    "wmf": _wmf,
    "emf": _lead(b"\1\0\0\0" + bytes(36) + b" EMF"),
    "ole": _ole,
    "xpm": _text("/* XPM */\nstatic char * a[] = {{\n\"1 1 1 1\",\n\". c {way}\",\n\".\"}};\n"),
    "xbm": _text("#define {way}_width 8\n#define {way}_height 8\nstatic char a_bits[] = {{\n0x00 }};\n"),
    "icns": _lead(b"icns\0\0\1\0ic07\0\0\1\0"),
    "fits": _lead(b"SIMPLE  =                    T"),
    "hdf5": _lead(b"\x89HDF\r\n\x1a\n"),
    "grib": _lead(b"GRIB\0\0\0\1"),
    "bufr": _lead(b"BUFR\0\0\0\1"),
    "psd": _lead(b"8BPS\0\1"),
    "pcd": lambda way, folder, honest: bytes(2048) + b"PCD_" + way.encode(),
    "tar": lambda way, folder, honest: way.encode()[:99].ljust(257, b"\0") + b"ustar\x0000" + bytes(248),
    "zip": _lead(b"PK\3\4"),
    "gzip": lambda way, folder, honest: zlib.compress(honest["png"], wbits=31),
    "random": _random,
}  # fmt: skip
