"""Lists of what may be opened cost nobody a file: each form is read as before, whatever it is called."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pypdfium2
import pytest
from PIL import Image

from operators.media.formats import FORMATS
from operators.media.sandbox import Sandbox
from operators.media.video.containers import CONTAINERS, HEAD_BYTES, demuxer_of, is_script
from schemas.decode import DecodeSettings
from tests.support.decode_all import rows

COLOR = (0, 160, 80)
SUFFIXES = next(kind.extensions for kind in FORMATS if kind.media == "video")
RECORDED = {
    # name -> (FFmpeg's muxer and its options, codec, demuxer of ours)
    "a.mp4": ("mp4", {}, "mpeg4", "mov"),
    "fragments.mp4": ("mp4", {"movflags": "frag_keyframe+empty_moov"}, "libx264", "mov"),
    "a.m4v": ("mp4", {}, "libx264", "mov"),
    "a.mov": ("mov", {}, "mjpeg", "mov"),
    "a.3gp": ("3gp", {}, "mpeg4", "mov"),
    "a.mkv": ("matroska", {}, "mpeg4", "matroska"),
    "a.webm": ("webm", {}, "libvpx", "matroska"),
    "a.avi": ("avi", {}, "mpeg4", "avi"),
    "a.ts": ("mpegts", {}, "mpeg2video", "mpegts"),
    "a.m2ts": ("mpegts", {"mpegts_m2ts_mode": "1"}, "mpeg2video", "mpegts"),
    "a.mpg": ("mpeg", {}, "mpeg1video", "mpeg"),
    "a.mpeg": ("vob", {}, "mpeg2video", "mpeg"),
    "a.flv": ("flv", {}, "flv", "flv"),
    "a.wmv": ("asf", {}, "wmv2", "asf"),
    "stream.mpg": ("mpeg2video", {}, "mpeg2video", "mpegvideo"),
    "stream.m4v": ("m4v", {}, "mpeg4", "m4v"),
    "ogg.mkv": ("ogg", {}, "libvpx", "ogg"),
    "real.avi": ("rm", {}, "rv10", "rm"),
    "mxf.mov": ("mxf", {}, "mpeg2video", "mxf"),
    "ivf.webm": ("ivf", {}, "libvpx", "ivf"),
    "gif.mp4": ("gif", {}, "gif", "gif"),
    "a.dv": ("dv", {}, "dvvideo", "dv"),
    "a.gxf": ("gxf", {}, "mpeg2video", "gxf"),
    "a.wtv": ("wtv", {}, "mpeg2video", "wtv"),
    "a.nut": ("nut", {}, "mpeg4", "nut"),
    "a.y4m": ("yuv4mpegpipe", {}, "wrapped_avframe", "yuv4mpegpipe"),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(DecodeSettings(image_max_px=64 * 64, video_max_px=8 * 64 * 64, timeout_s=60))
    yield sandbox
    sandbox.close()


def record(path: Path) -> Path:
    muxer, options, codec, _ = RECORDED[path.name]
    with av.open(str(path), "w", format=muxer, options=options) as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        width, height = (720, 576) if muxer in ("dv", "gxf") else (352, 288)  # those of television alone
        stream.width, stream.height = width, height
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.codec_context.max_b_frames = 0
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), COLOR, np.uint8), format="rgb24")
            if codec == "wrapped_avframe":
                frame = frame.reformat(format=stream.pix_fmt)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def check(sandbox: Sandbox, path: Path) -> None:
    """Every unit is a picture of COLOR."""
    answers = rows(sandbox, path, "video")
    assert answers
    for kind, value in answers:
        assert kind == "ok", (path.name, value)
        assert np.abs(np.array(value) - COLOR).max() < 30, (path.name, value)


@pytest.mark.parametrize("name", RECORDED)
def test_each_container_is_read_whatever_it_is_called(tmp_path: Path, sandbox: Sandbox, name: str) -> None:
    path = record(tmp_path / name)
    head = path.read_bytes()[:HEAD_BYTES]
    assert demuxer_of(head) == RECORDED[name][3]
    assert not is_script(head)
    check(sandbox, path)
    other = SUFFIXES[list(RECORDED).index(name) % len(SUFFIXES)]
    check(sandbox, path.rename(tmp_path / f"other{other}"))


def test_each_container_of_the_list_is_tried_here() -> None:
    assert {container.demuxer for container in CONTAINERS} | {"mpegts", "mpeg"} == {
        demuxer for *_, demuxer in RECORDED.values()
    }


@pytest.mark.parametrize(("name", "cut"), [("a.ts", 77), ("a.m2ts", 100), ("a.mpeg", 3000)])
def test_a_recording_may_begin_amid_a_packet(tmp_path: Path, sandbox: Sandbox, name: str, cut: int) -> None:
    path = record(tmp_path / name)
    whole = path.read_bytes()
    for start in (cut, cut + 1):
        path.write_bytes(whole[start:])
        assert demuxer_of(whole[start : start + HEAD_BYTES]) == RECORDED[name][3]
        assert {kind for kind, _ in rows(sandbox, path, "video")} == {"ok"}


def test_packets_with_check_sums(tmp_path: Path, sandbox: Sandbox) -> None:
    path = record(tmp_path / "a.ts")
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole[place : place + 188] + bytes(16) for place in range(0, len(whole), 188)))
    check(sandbox, path)


def test_a_movie_of_before_there_was_ftyp(tmp_path: Path, sandbox: Sandbox) -> None:
    whole = record(tmp_path / "a.mov").read_bytes()
    size = int.from_bytes(whole[:4], "big")
    for atom in (b"wide", b"free", b"skip"):
        path = tmp_path / "b.mov"
        path.write_bytes(size.to_bytes(4, "big") + atom + bytes(size - 8) + whole[size:])
        check(sandbox, path)


NO_VIDEOS = (
    b"", b"\0", b"ffconcat version 1.0\nfile a.mp4\n", b"#EXTM3U\n", b"# VobSub index file, v7\n", b"c=IN IP4 1\n",
    b"<?xml version='1.0'?><MPD>", b"WEBVTT\n", b"[Script Info]\n", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"PK",
    b"%PDF-1.7", b"%!PS-Adobe", b"P6 1 1 255 ", b"\0\0\0\1\x67", b"ID3\4\0\0\0\0\0\0",
)  # fmt: skip


@pytest.mark.parametrize("head", NO_VIDEOS)
def test_what_begins_otherwise_is_no_video(head: bytes) -> None:
    assert demuxer_of(head) is None
    assert demuxer_of(head + bytes(HEAD_BYTES)) is None


@pytest.mark.parametrize(
    "script", [b"ffconcat version 1.0\n", b"#EXTM3U\n", b"# VobSub index file\n", b"\nc=IN IP4 1\n"]
)
def test_a_recording_that_holds_a_script_is_not_for_a_library_that_guesses(tmp_path: Path, script: bytes) -> None:
    recorded = record(tmp_path / "a.ts").read_bytes()
    for before in (script, b"\xef\xbb\xbf" + script, b"ID3\4\0\0\0\0\0\0", b"x" * 99 + script):
        assert demuxer_of((before + recorded)[:HEAD_BYTES]) == "mpegts"
        assert is_script((before + recorded)[:HEAD_BYTES])
    assert not is_script(recorded[:HEAD_BYTES])


def test_pdfium_has_no_javascript() -> None:
    """Where it had, form environments would run what a document brings (docs/facts/hostile-files.md §3)."""
    assert not set(pypdfium2.PDFIUM_INFO.flags)


PICTURES = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF", "ICO", "MPO")


@pytest.mark.parametrize("form", PICTURES)
def test_each_picture_format_is_read_whatever_it_is_called(tmp_path: Path, sandbox: Sandbox, form: str) -> None:
    file = BytesIO()
    Image.new("RGB", (64, 64), COLOR).save(file, form)
    for suffix in next(kind.extensions for kind in FORMATS if kind.media == "image"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(file.getvalue())
        ((kind, value),) = rows(sandbox, path, "image")
        assert kind == "ok", (suffix, value)
        assert np.abs(np.array(value) - COLOR).max() < 12, (suffix, value)


@pytest.mark.parametrize("form", ["EPS", "PDF", "PCX", "TGA", "SGI", "DDS", "ICNS", "SPIDER"])
def test_no_other_picture_format_is_opened(tmp_path: Path, sandbox: Sandbox, form: str) -> None:
    file = BytesIO()
    Image.new("F" if form == "SPIDER" else "RGB", (64, 64)).save(file, form)
    path = tmp_path / "a.png"
    path.write_bytes(file.getvalue())
    ((kind, message),) = rows(sandbox, path, "image")
    assert (kind, message) == ("malformed", "not a picture of a format that is opened")
