"""Which stream of a video is looked at, where its header comes late, and what is encrypted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from operators.media.sandbox import Sandbox
from operators.media.source import opened_file
from operators.media.video.matroska_tracks import read as matroska_tracks
from operators.media.video.mp4_tracks import read as mp4_tracks
from operators.media.video.open_container import opened
from tests.support.drawn_video import (
    SETTINGS,
    TO_DESCRIPTION,
    Clip,
    Pixels,
    add_box,
    add_stream,
    box,
    corners,
    draw,
    quarters,
    shown_by,
)
from tests.support.samples import shared

DEFAULT, NO_FLAG = int(Disposition.default), 0
CENC = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "00112233445566778899aabbccddeeff",
    "encryption_kid": "ffeeddccbbaa99887766554433221100",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox(SETTINGS)) as sandbox:
        yield sandbox


@pytest.fixture
def show(sandbox: Sandbox) -> Callable[[Path], Clip]:
    """The first clip of a file."""
    return lambda path: shown_by(sandbox, path)[0]


def kind(clip: Clip) -> str | None:
    return clip.error and str(clip.error["kind"])


# which stream


def tracks(path: Path, *specs: dict[str, Any]) -> Path:
    """specs: arguments of add_stream."""
    with av.open(str(path), "w") as file:
        for write in [add_stream(file, **spec) for spec in specs]:
            write()
    return path


def film(height: int, frames: int = 40, **spec: Any) -> dict[str, Any]:
    return {"frames": [quarters(height, height * 2)] * frames, **spec}


def still(height: int, codec: str = "mjpeg", **spec: Any) -> dict[str, Any]:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
    return film(height, 1, codec=codec, pix_fmt=pix_fmt, **spec)


@pytest.mark.parametrize(
    ("suffixes", "specs", "right"),
    [
        # the flag says which one plays
        (".mkv .mp4", [film(64, disposition=NO_FLAG), film(128, disposition=DEFAULT)], 128),
        (".mkv .mp4", [film(128, disposition=NO_FLAG), film(64, disposition=DEFAULT)], 64),
        # one for the impaired comes last; MP4 has no such marks
        (".mkv", [film(128, disposition=int(Disposition.visual_impaired)), film(64, disposition=NO_FLAG)], 64),
        (".mkv", [film(128, disposition=int(Disposition.hearing_impaired)), film(64, disposition=NO_FLAG)], 64),
        # without a flag, which the muxer of MP4 sets, the larger
        (".mkv", [film(64, disposition=NO_FLAG), film(128, disposition=NO_FLAG)], 128),
        (".mkv", [film(128, disposition=NO_FLAG), film(64, disposition=NO_FLAG)], 128),
        # a picture beside a film is its cover, whatever it is marked as
        (".mkv .mp4", [still(128, disposition=DEFAULT), film(64, disposition=NO_FLAG)], 64),
        (".mp4", [still(128, codec="png", disposition=DEFAULT), film(64, disposition=DEFAULT)], 64),
        (".mkv .mp4", [film(64, disposition=NO_FLAG), still(128, disposition=DEFAULT)], 64),
        (
            ".mkv .mp4",
            [film(64, 1, disposition=DEFAULT), film(64, 1, codec="mjpeg", pix_fmt="yuvj420p", disposition=NO_FLAG)],
            64,
        ),
        # a picture alone is what there is
        (".mkv .mp4", [still(128)], 128),
        # a film of pictures is a film
        (
            ".mkv .mp4",
            [film(128, codec="mjpeg", pix_fmt="yuvj420p", disposition=DEFAULT), film(64, disposition=NO_FLAG)],
            128,
        ),
    ],
)
def test_the_stream_that_plays_is_shown(
    tmp_path: Path, show: Callable[[Path], Clip], suffixes: str, specs: Sequence[dict[str, Any]], right: int
) -> None:
    for suffix in suffixes.split():
        path = tracks(tmp_path / f"a{suffix}", *specs)
        assert show(path).size_px == (right, 2 * right)
        with opened_file(path) as source:
            with opened(source) as (_, stream):
                index = stream.index
            for again in (None, index):
                with opened(source, again) as (container, stream):
                    assert stream.index == index
                    first = next(packet for packet in container.demux(stream) if packet.size)
                    assert first.is_keyframe  # it stands at its beginning


def test_a_cover_alone_is_no_video(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = tracks(tmp_path / "a.mp4", still(64, disposition=int(Disposition.attached_pic)))
    assert kind(show(path)) == "no_frames"


# where the header comes late


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_a_recording_that_begins_amid_a_group_of_pictures(
    tmp_path: Path, show: Callable[[Path], Clip], codec: str
) -> None:
    options = {"g": "120", **({"x265-params": "log-level=none:keyint=120:min-keyint=120"} if "265" in codec else {})}
    options |= {"sc_threshold": "1000000000"} if codec == "mpeg2video" else {}
    path = draw(tmp_path / "a.ts", moving(200), codec, options=options, max_b_frames=0)
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.is_keyframe) for packet in file.demux(video=0) if packet.size]
    assert [is_key for _, is_key in places].count(True) == 2
    data = path.read_bytes()
    path.write_bytes(data[: 188 * 3] + data[places[15][0] or 0 :])  # its tables, then from the 16th frame on
    clip = show(path)
    assert clip.error is None, clip.error
    assert clip.size_px == (64, 96)
    assert len(clip.pictures) >= 14  # of 80 frames, 8 seconds


def moving(count: int) -> list[Pixels]:
    pictures = [quarters(64, 96) for _ in range(count)]
    for index, picture in enumerate(pictures):
        picture[20:40, index % 70 : index % 70 + 16] = 255
    return pictures


def test_a_stream_that_never_tells_its_size_is_refused(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.ts", moving(60), options={"g": "120"}, max_b_frames=0)
    with av.open(str(path)) as file:
        places = [packet.pos or 0 for packet in file.demux(video=0) if packet.size]
    data = path.read_bytes()
    path.write_bytes(data[: 188 * 3] + data[places[5] :])
    assert kind(show(path)) == "no_frames"


def test_a_broadcast_that_moves_its_video_to_another_pid(tmp_path: Path, sandbox: Sandbox) -> None:
    first = draw(tmp_path / "a.ts", moving(40)).read_bytes()
    turned = [picture[::-1].copy() for picture in moving(40)]
    container = {"mpegts_start_pid": "0x200", "output_ts_offset": "4"}
    second = draw(tmp_path / "b.ts", turned, container=container).read_bytes()
    (tmp_path / "c.ts").write_bytes(first + second)
    (clip,) = shown_by(sandbox, tmp_path / "c.ts")
    assert {corners(picture) for picture in clip.pictures} == {"RGBY", "BYRG"}


# what is encrypted


@pytest.mark.parametrize("flags", ["", "empty_moov+default_base_moof+frag_keyframe"])
def test_encrypted_samples_of_mp4(tmp_path: Path, show: Callable[[Path], Clip], flags: str) -> None:
    container = CENC | ({"movflags": flags} if flags else {})
    clip = show(draw(tmp_path / "a.mp4", moving(20), container=container))
    assert kind(clip) == "encrypted"
    assert clip.error is not None
    assert "encrypted" in clip.error["message"]


def test_what_says_that_it_is_not_encrypted_is_read(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.mp4", moving(20))
    plain = path.read_bytes()
    # keys for a player, of a file whose samples are plain
    path.write_bytes(add_box(plain, [(b"moov", 0)], box(b"pssh", bytes(24))))
    assert show(path).error is None
    scheme = box(b"frma", b"avc1") + box(b"schm", bytes(4) + b"cenc" + bytes(4))
    for is_protected, right in ((1, True), (0, False)):
        default = box(b"tenc", bytes((0, 0, 0, 0, 0, 0, is_protected, 8)) + bytes(16))
        described = add_box(plain, TO_DESCRIPTION, box(b"sinf", scheme + box(b"schi", default)))
        path.write_bytes(described.replace(b"avc1", b"encv", 1) if b"avc1" in described else described)
        with opened_file(path) as source:
            assert {facts.encrypted for facts in mp4_tracks(source).values()} == {right}


def test_other_descriptions_of_what_is_locked(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.mp4", moving(20))
    plain = path.read_bytes()
    place = plain.rindex(b"avc1")  # after those of its brands
    path.write_bytes(plain[:place] + b"drmi" + plain[place + 4 :])
    with opened_file(path) as source:
        assert [facts.encrypted for facts in mp4_tracks(source).values()] == [True]
    assert kind(show(path)) == "encrypted"


@pytest.mark.parametrize(("encoding", "right"), [(1, "encrypted"), (0, None)])
def test_encodings_of_matroska(tmp_path: Path, show: Callable[[Path], Clip], encoding: int, right: str | None) -> None:
    path = draw(tmp_path / "a.mkv", moving(20))
    data = path.read_bytes()
    place = data.index(b"\x73\xc5\x88")  # the number that the track is known by, of as many bytes
    encodings = bytes.fromhex("6d80 88 6240 85 5033 4001") + bytes([encoding])
    path.write_bytes(data[:place] + encodings + data[place + len(encodings) :])
    with opened_file(path) as source:
        assert [facts.encrypted for facts in matroska_tracks(source)] == [encoding == 1]
    if right:
        assert kind(show(path)) == right


def test_scrambled_transport_streams(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.ts", moving(20))
    packets = [bytearray(path.read_bytes()[at : at + 188]) for at in range(0, path.stat().st_size, 188)]
    clear = b"".join(packets)
    for packet in packets:
        if int.from_bytes(packet[1:3], "big") & 0x1FFF == 0x100:
            packet[3] |= 0x80
            packet[24:] = bytes(byte ^ 0x5A for byte in packet[24:])
    path.write_bytes(b"".join(packets))
    assert kind(show(path)) == "encrypted"
    path.write_bytes(clear)
    assert show(path).error is None


def test_scrambled_program_streams(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.vob", moving(40), "mpeg2video")
    path = path.rename(tmp_path / "a.mpg")
    assert show(path).error is None
    data = bytearray(path.read_bytes())
    place = data.find(b"\0\0\1\xe0")
    while place >= 0:
        data[place + 6] |= 0x10
        place = data.find(b"\0\0\1\xe0", place + 4)
    path.write_bytes(data)
    assert kind(show(path)) == "encrypted"


def test_encrypted_asf(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.wmv", moving(20), "wmv2")
    assert show(path).error is None
    data = path.read_bytes()
    content = bytes(16)
    locked = bytes.fromhex("fbb31122 23bdd211 b4b700a0 c955fc6e") + (24 + len(content)).to_bytes(8, "little") + content
    size, count = int.from_bytes(data[16:24], "little"), int.from_bytes(data[24:28], "little")
    head = data[:16] + (size + len(locked)).to_bytes(8, "little") + (count + 1).to_bytes(4, "little") + data[28:30]
    path.write_bytes(head + locked + data[30:])
    assert kind(show(path)) == "encrypted"


def test_encrypted_flv(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.flv", moving(20), "flv1")
    assert show(path).error is None
    data = bytearray(path.read_bytes())
    place = 13
    while place < len(data):
        if data[place] == 9:
            data[place] |= 0x20
        place += 11 + int.from_bytes(data[place + 1 : place + 4], "big") + 4
    path.write_bytes(data)
    assert kind(show(path)) == "encrypted"


@pytest.mark.parametrize("read", [mp4_tracks, matroska_tracks])
def test_tracks_of_nonsense_are_none(tmp_path: Path, read: Callable[[Any], Any]) -> None:
    path = tmp_path / "a"
    ends = draw(tmp_path / "a.mp4", moving(4)).read_bytes(), draw(tmp_path / "a.mkv", moving(4)).read_bytes()
    for data in (b"", b"\0" * 64, b"\xff" * 64, b"\x18\x53\x80\x67\x01" + b"\xff" * 40, *ends):
        for cut in range(0, len(data), max(1, len(data) // 40)):
            path.write_bytes(data[:cut] + b"\xff" * 9 + data[cut + 9 :])
            with opened_file(path) as source:
                read(source)


# the shared files

FAULTS = shared("faults/videos")
needs_faults = pytest.mark.skipif(not FAULTS.is_dir(), reason="no shared faults")


@needs_faults
def test_shared_streams(show: Callable[[Path], Clip]) -> None:
    assert show(FAULTS / "two_default2.mkv").size_px == (360, 640)
    assert kind(show(FAULTS / "cenc.mp4")) == "encrypted"
    late = show(FAULTS / "g_mid_gop.ts")
    assert late.error is None
    assert late.size_px == (144, 256)
