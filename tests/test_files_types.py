"""What a file is, its first bytes say; its name does where they say nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from operators.media.formats import HEAD_BYTES, format_of, media_of_head
from operators.media.probe import Probe
from operators.media.sandbox import Sandbox
from pipelines.listing import Listing, list_inputs
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.unit import Locator
from tests.support.media import write_clip
from tests.support.samples import shared
from tests.support.world import write_image, write_pdf
from tests.test_doors_formats import RECORDED, record

SETTINGS = DecodeSettings(image_max_px=64 * 64, video_max_px=8 * 64 * 64, timeout_s=60)
PICTURES = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF", "ICO")


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    probe = Probe(SETTINGS)
    yield probe
    probe.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, bytes]]:
    """What it is called rightly -> (media, its bytes)."""
    folder = tmp_path_factory.mktemp("files")
    drawn = {"a.pdf": ("document", write_pdf(folder / "a.pdf", pages=1).read_bytes())}
    for form in PICTURES:
        file = BytesIO()
        Image.new("RGB", (64, 64), (0, 160, 80)).save(file, form)
        drawn[f"a.{form.lower()}"] = ("image", file.getvalue())
    for name in RECORDED:
        drawn[name] = ("image" if name == "gif.mp4" else "video", record(folder / name).read_bytes())
    return drawn


def listed(*entries: object) -> Listing:
    return list_inputs(tuple(map(str, entries)), Path("/nowhere"))


def units(probe: Probe, listing: Listing) -> list[tuple[str, str | None, str | None]]:
    """(name, media, kind of failure) of the first unit of each input."""
    rows = probe(listing.inputs.select(tables.INPUTS.names)).to_pylist()
    return [
        (Path(row["input_uri"]).name, row["media"], row["error"] and row["error"]["kind"])
        for row in rows
        if row["unit_index"] == 0
    ]


def test_the_first_bytes_decide_before_the_suffix(
    tmp_path: Path, probe: Probe, files: dict[str, tuple[str, bytes]]
) -> None:
    """Each format under names of all media, in a folder."""
    expected = []
    for number, (name, (media, data)) in enumerate(files.items()):
        for suffix in (".pdf", ".jpg", ".mp4", ".ts", ".tif", ".HEIC"):
            path = tmp_path / f"{number:02} {name}{suffix}"
            path.write_bytes(data)
            expected.append((path.name, media, None))
    assert sorted(units(probe, listed(tmp_path))) == sorted(expected)


def test_a_name_without_a_suffix_is_told_by_the_first_bytes(
    tmp_path: Path, probe: Probe, files: dict[str, tuple[str, bytes]]
) -> None:
    (tmp_path / "sub").mkdir()
    for name, (_, data) in files.items():
        stem = name.replace(".", "_")
        for other in (stem, f"sub/{stem} at 10.42", f"{stem}.jpg?w=300&h=200", f"Mr. {stem}", f"{stem}.jpg_large"):
            (tmp_path / other).write_bytes(data)
    for entry in (tmp_path, tmp_path / "**"):
        rows = units(probe, listed(entry))
        assert len(rows) == 5 * len(files)
        assert {kind for *_, kind in rows} == {None}


NO_FILES: dict[str, bytes] = {
    "README": b"The free world: a text whose fifth letters are the name of a box.\n" * 9,
    "you": b"You skip what you do not like.",
    "BMW": b"BM is how this text begins, and it is no bitmap at all; far from it.",
    "graph": b"P1 2 of the points are on the line.",
    "magic": b"0\tstring\t%PDF-\tPDF document\n",
    "hashes": b"P1 " + b"# " * 8000,
    "genome": b"GGGGGGGGGG" * 900,
    "numbers": bytes(2000),
    "gifts": b"GIF8 is no version",
    "tracker.mod": b"a song" + bytes(1080) + b"M.K." + bytes(900),
    "go.mod": b"module example.org/x\n\ngo 1.22\n",
    "song.ogg": b"OggS\0\2" + bytes(22) + b"\1\x1e\1vorbis" + bytes(900),
    "_SUCCESS": b"",
    "raw.cts": b"export const a = 1\n",
    "camera": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(99),
}


def test_what_nothing_recognizes_is_left_out_and_counted(tmp_path: Path) -> None:
    for name, data in NO_FILES.items():
        (tmp_path / name).write_bytes(data)
    listing = listed(tmp_path)
    assert listing.inputs.num_rows == 0
    assert sum(listing.skipped.values()) == len(NO_FILES)
    assert listing.skipped["unknown type README"] == 1


def test_what_is_no_file_is_never_opened_to_see_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.ts")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    listing = listed(tmp_path)
    assert [row["error"]["message"] for row in listing.inputs.to_pylist()] == ["this is a pipe"]
    assert sum(listing.skipped.values()) == 4


SOURCES = (
    b"import { a } from './b';\nexport default a;\n",
    "// überall\nexport {}\n".encode(),
    "// überall\nexport {}\n".encode("latin-1"),
    "export const a = 1;\n".encode("utf-16"),
    b'<?xml version="1.0"?><!DOCTYPE TS><TS version="2.1" language="de"></TS>',
    b"const G = 'G'.repeat(9)\n" + b"GGGG" * 9000,
)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("suffix", [".ts", ".mts", ".TS"])
def test_typescript_is_no_video(tmp_path: Path, probe: Probe, source: bytes, suffix: str) -> None:
    path = tmp_path / f"index{suffix}"
    path.write_bytes(source)
    record(tmp_path / "a.ts")
    for entry in (tmp_path, tmp_path / "*"):
        listing = listed(entry)
        assert units(probe, listing) == [("a.ts", "video", None)]
        assert listing.skipped == {f"text and no video {suffix.lower()}": 1}
    assert [kind for *_, kind in units(probe, listed(path))] == ["unknown_type"]


def test_a_recording_that_is_empty_or_spoilt_is_a_row_of_its_folder(tmp_path: Path, probe: Probe) -> None:
    (tmp_path / "a.ts").write_bytes(b"")
    (tmp_path / "b.MTS").write_bytes(bytes(30_000))
    assert units(probe, listed(tmp_path)) == [("a.ts", "video", "empty_file"), ("b.MTS", "video", "malformed")]


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    brands = major + bytes(4) + b"".join(compatible)
    return (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands


@pytest.mark.parametrize(
    ("media", "brands"),
    [
        *(("image", brands) for brands in ("heic", "heix", "hevc", "hevx", "heim", "heis", "avif", "avis,avif,msf1")),
        *(("image", brands) for brands in ("mif1,heic", "msf1,hevc", "mif1,miaf,MA1B,avif", "jpeg,mif1", "avci,mif1")),
        *(("image", brands) for brands in ("MiHB,mif1,heic", "heic,mp42")),
        *(("video", brands) for brands in ("isom,iso2,avc1,mp41", "mp42,isom", "qt  ", "M4V ,mp42", "3gp4,isom")),
        *(("video", brands) for brands in ("iso5,dash", "dby1,mp42", "XAVC,mp42", "????", "isom,mif1", "f4v ,isom")),
        ("video", "MSNV,mp42,heic"),
        (None, "crx ,isom"),
    ],
)
def test_pictures_and_movies_are_told_apart_by_their_brands(media: str | None, brands: str) -> None:
    head = ftyp(*brands.encode().split(b",")) + bytes(99)
    assert media_of_head(head) == media
    for name in ("a", "a.jpg", "a.mp4", "a.pdf") if media else ("a",):
        kind = format_of(name, None, head)
        assert (kind and kind.media) == media
    # a screen, or what a row of an older result says it is, stays what it is
    assert all(getattr(format_of("a", asked, head), "media", None) == asked for asked in ("image", "video"))


@pytest.mark.parametrize(
    "atom", [b"emsg", b"prft", b"styp", b"sidx", b"ssix", b"free", b"skip", b"wide", b"uuid", b"meta"]
)
def test_a_movie_may_begin_with_boxes_of_its_stream(tmp_path: Path, probe: Probe, atom: bytes) -> None:
    path = write_clip(tmp_path / "a.mp4", range(0, 1000, 40), options={"movflags": "frag_keyframe+empty_moov"})
    path.write_bytes((40).to_bytes(4, "big") + atom + bytes(32) + path.read_bytes())
    path = path.rename(tmp_path / "segment")
    assert units(probe, listed(tmp_path)) == [("segment", "video", None)]


def test_a_document_behind_what_a_server_wrote(tmp_path: Path, probe: Probe) -> None:
    data = write_pdf(tmp_path / "a.pdf", pages=1).read_bytes()
    (tmp_path / "a.pdf").write_bytes(b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n" + data)
    (tmp_path / "b").write_bytes(b"\r\n" + data)
    (tmp_path / "c.jpg").write_bytes(b"\n" + data)
    assert units(probe, listed(tmp_path)) == [(name, "document", None) for name in ("a.pdf", "b", "c.jpg")]


NAMES = {
    "video": "CAM0001.MTS 00000.m2ts a.m2t VTS_01_1.VOB a.ogv a.asf a.f4v a.mxf a.3gp a.3g2 a.qt a.ts a.wmv a.dv a.mpe",
    "image": "a.jfif a.pjpeg a.heic a.HEIF a.hif a.avif a.pgm a.pbm a.pnm a.j2k a.jp2 a.jpx a.tif a.jpe a.dib a.apng",
}


@pytest.mark.parametrize("media", NAMES)
def test_common_names_are_inputs_of_a_folder(tmp_path: Path, media: str) -> None:
    for name in NAMES[media].split():
        (tmp_path / name).write_bytes(b"\1\2\3")
    listing = listed(tmp_path)
    assert listing.inputs["media"].to_pylist() == [media] * len(NAMES[media].split())


SCRIPTS = {
    "a.mp4": b"ffconcat version 1.0\nfile b.mp4\n",
    "a.m4v": b"# a list\nfile 'b.mp4'\n",
    "a.mkv": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:2,\nb.mp4\n#EXT-X-ENDLIST\n",
    "a.mov": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "a.webm": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>b.mp4</BaseURL></MPD>",
    "a.avi": b"# VobSub index file, v7\n",
    "a.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='b.mp4'/></svg>",
    "a.ts": b"#EXTM3U\n#EXTINF:2,\nb.mp4\n",
    "a.png": b"ffconcat version 1.0\nfile b.mp4\n",
    "a.pdf": b"#EXTM3U\nb.mp4\n",
    "list.m3u8": b"#EXTM3U\n#EXTINF:2,\nb.mp4\n",
    "list": b"ffconcat version 1.0\nfile b.mp4\n",
}


def test_a_script_that_names_its_neighbor_is_no_video_whatever_it_is_called(tmp_path: Path, probe: Probe) -> None:
    write_clip(tmp_path / "b.mp4", range(0, 1000, 40))
    for name, script in SCRIPTS.items():
        (tmp_path / name).write_bytes(script)
    kinds = {kind for *_, kind in units(probe, listed(*(tmp_path / name for name in SCRIPTS)))}
    assert kinds == {"malformed", "unknown_type"}


def test_screens_of_an_episode_are_pictures_whatever_they_are_called(tmp_path: Path, probe: Probe) -> None:
    folder = tmp_path / "episode"
    folder.mkdir()
    write_image(folder / "1.png")
    write_image(folder / "2.png").rename(folder / "2.jpg")
    write_image(folder / "3.png").rename(folder / "3")
    write_clip(folder / "5.mp4", range(0, 400, 40)).rename(folder / "4.png")  # no picture: its row will say so
    (folder / "notes").write_text("of the recording")
    (folder / "notes.txt").write_text("of the recording")
    (tmp_path / "list.csv").write_text("path\nepisode\n")
    rows = probe(listed(tmp_path / "list.csv").inputs.select(tables.INPUTS.names)).to_pylist()
    assert [(row["media"], row["unit_kind"], row["page"]) for row in rows] == [
        ("episode", "image", page) for page in (1, 2, 3, 4)
    ]
    sandbox = Sandbox(SETTINGS)
    batches = sandbox.decode(str(folder), "episode", [Locator(page=page) for page in (1, 2, 3, 4)])
    errors = [batch.column("error")[0].as_py() for batch in batches]
    sandbox.close()
    assert [error and error["kind"] for error in errors] == [None, None, None, "malformed"]


def test_the_media_of_a_row_that_cannot_be_opened_is_what_its_name_says(tmp_path: Path, probe: Probe) -> None:
    (tmp_path / "a.pdf").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"garbage")
    names = ("a.pdf", "b.png", "c.mp4", "d")
    assert units(probe, listed(*(tmp_path / name for name in names))) == [
        ("a.pdf", "document", "empty_file"),
        ("b.png", "image", "malformed"),
        ("c.mp4", "video", "not_found"),
        ("d", None, "not_found"),
    ]


FAULTS = shared("faults")


@pytest.mark.skipif(not FAULTS.is_dir(), reason="no shared faults")
@pytest.mark.parametrize(
    ("place", "media", "fault"),
    [
        ("documents/pictures/really_png.pdf", "image", False),
        ("documents/pictures/really_pdf.jpg", "document", False),
        ("documents/pictures/photo.jfif", "image", False),
        ("documents/pictures/photo.avif", "image", False),
        ("documents/pictures/tiles.heic", "image", False),
        ("videos/CAM0001.MTS", "video", False),
        ("videos/concat_rel.mp4", "video", True),
    ],
)
def test_the_shared_faults(probe: Probe, tmp_path: Path, place: str, media: str, fault: bool) -> None:
    (tmp_path / Path(place).name).symlink_to(FAULTS / place)
    ((_, as_media, kind),) = units(probe, listed(tmp_path))
    assert as_media == media
    assert (kind is not None) == fault


def test_no_more_than_the_beginning_is_read_to_know_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole: Callable[..., Any] = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, place: sizes.append(size) or whole(fd, size, place))
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    assert listed(tmp_path).inputs.num_rows == 0
    assert sizes == [HEAD_BYTES]
