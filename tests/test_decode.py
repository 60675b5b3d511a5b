"""Decoding: the right pictures at the right times, and one typed failure for whatever cannot be read."""

from __future__ import annotations

import contextlib
import errno
import importlib
import itertools
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.prompts.rgb import unpack
from operators.media.decode import Decode
from operators.media.formats import FORMATS, format_of
from operators.media.probe import Probe
from operators.media.sandbox import Sandbox
from operators.media.source import opened_file
from operators.media.video import decord_clips
from operators.media.video.frame_times import HOLD_S, LABEL_S, clip_bounds, on_screen, targets
from operators.processes.channel import Channel
from operators.processes.messages import Bounds, Messages
from operators.units import Decoded, Planned
from pipelines.listing import list_inputs
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import ChildDied, InputError
from schemas.request import Picture
from schemas.unit import Locator
from tests.support.counter_clips import read_counter, write_counters
from tests.support.decord2 import BACKENDS, needs_decord2
from tests.support.media import (
    cut,
    endless_page,
    gray_of,
    huge_page,
    spoil,
    write_clip,
    write_encrypted_pdf,
    write_pdf_of,
)
from tests.support.samples import SAMPLES, needs_samples
from tests.support.world import ROOT, write_image, write_pdf

SMALL = DecodeSettings(image_min_px=32 * 32, image_max_px=512 * 512, video_max_px=64 * 96 * 400, timeout_s=30)


def probe(*paths: Path, settings: DecodeSettings = SMALL) -> list[dict[str, Any]]:
    operator = Probe(settings, workers=2)
    try:
        listed = list_inputs(tuple(map(str, paths)), Path("/nowhere")).inputs
        return operator(listed).to_pylist()
    finally:
        operator.close()


def decode(*paths: Path, settings: DecodeSettings = SMALL) -> list[dict[str, Any]]:
    """All units of the files in one chunk, decoded; pictures as arrays."""
    units = probe(*paths, settings=settings)
    chunk = {"chunk_id": "c", "tasks": ["ocr"], "passthrough": b"", "units": units}
    operator = Decode(settings)
    try:
        table = operator(pa.Table.from_pylist([chunk], schema=tables.CHUNKS))
    finally:
        operator.close()
    assert table.schema.equals(tables.DECODED_CHUNKS)
    rows: list[dict[str, Any]] = table.column("units")[0].as_py()
    assert [(row["input_id"], row["unit_index"]) for row in rows] == [
        (unit["input_id"], unit["unit_index"]) for unit in units
    ]
    for row in rows:
        row["pictures"] = [unpack(Picture(**picture)) for picture in row["pictures"] or []]
    return rows


def kinds(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["error"] and row["error"]["kind"] for row in rows]


def test_a_chunk_without_units_decodes_to_none() -> None:
    chunk = {"chunk_id": "", "tasks": [], "passthrough": b"", "units": []}
    table = Decode(SMALL)(pa.Table.from_pylist([chunk], schema=tables.CHUNKS))
    assert table.schema.equals(tables.DECODED_CHUNKS)
    assert table.column("units").to_pylist() == [[]]
    assert [call["stage"] for call in table.column("spent")[0].as_py()] == ["decode"]


# pages


def test_files_that_came_with_a_frame_that_breaks_off_are_closed() -> None:
    messages = Messages(Bounds(fds=2))
    for text in (b"{", b"nonsense!"):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        channel = Channel(ours)
        before = len(list(Path("/proc/self/fd").iterdir()))
        socket.send_fds(theirs, [struct.pack("!II", 9, 0) + text], [0, 0])
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ChildDied):  # of the nonsense
            assert channel.receive(messages, time.monotonic() + 5) is None
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        channel.close()
        theirs.close()


def test_pages_come_in_order_at_the_models_size(tmp_path: Path) -> None:
    rows = decode(write_pdf(tmp_path / "a.pdf", pages=3))
    assert [(row["page"], row["unit_count"]) for row in rows] == [(1, 3), (2, 3), (3, 3)]
    for row in rows:
        (page,) = row["pictures"]
        height, width, _ = page.shape
        assert height % 32 == width % 32 == 0
        assert height * width <= SMALL.image_max_px
        assert (row["width_px"], row["height_px"]) == (1190, 1684)  # A4 at 144 dpi
        assert page.mean() > 200  # black on white
        assert page.min() < 100


def test_a_page_as_large_as_a_wall_costs_no_more(tmp_path: Path) -> None:
    (row,) = decode(write_pdf_of(tmp_path / "wall.pdf", [b"0 0 9999 9999 re f"], size_pt=(14_400, 14_400)))
    assert row["error"] is None
    assert row["width_px"] == 28_800
    assert row["pictures"][0].shape == (512, 512, 3)


def test_a_turned_page_is_upright(tmp_path: Path) -> None:
    wide = write_pdf_of(tmp_path / "a.pdf", [b"0 0 1 rg 0 0 100 20 re f"], size_pt=(100, 200), extra=b"/Rotate 90")
    (row,) = decode(wide)
    assert row["width_px"] > row["height_px"]
    page = row["pictures"][0]
    assert page[5, 5].tolist() == [0, 0, 255]  # the bottom edge is now the left one
    assert page[5, -5].tolist() == [255, 255, 255]


# pictures


def image_of(rows: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    assert kinds(rows) == [None]
    picture: np.ndarray[Any, Any] = rows[0]["pictures"][0]
    return picture


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (128, 64), "white")
    picture.paste((255, 0, 0), (0, 0, 64, 64))
    exif = picture.getexif()
    exif[0x0112] = 6  # shown turned clockwise
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    rows = decode(tmp_path / "a.jpg")
    shown_as = image_of(rows)
    assert (rows[0]["width_px"], rows[0]["height_px"]) == (64, 128)
    assert shown_as.shape[:2] == (128, 64)
    assert shown_as[10, 30, 1] < 40  # red, on top
    assert shown_as[-10, 30].min() > 230


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_white(tmp_path: Path, mode: str) -> None:
    if mode == "P":
        picture = Image.new("P", (64, 64), 0)
        picture.putpalette([10, 20, 30, 200, 0, 0])
        picture.save(tmp_path / "a.png", transparency=0)
    else:
        Image.new(mode, (64, 64)).save(tmp_path / "a.png")  # all zero: transparent black
    assert image_of(decode(tmp_path / "a.png")).min() == 255


def test_16_bit_gray_is_not_white(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    shown_as = image_of(decode(tmp_path / "a.png"))
    assert abs(float(shown_as.mean()) - 127.5) < 2


def test_cmyk_is_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = image_of(decode(tmp_path / "a.jpg"))[5, 5]
    assert red > 200
    assert max(green, blue) < 60


def test_every_frame_of_a_tiff_and_a_gif_is_a_unit(tmp_path: Path) -> None:
    rows = decode(write_image(tmp_path / "a.tiff", frames=3), write_image(tmp_path / "b.gif", frames=2))
    assert [row["page"] for row in rows] == [1, 2, 3, 1, 2]
    assert kinds(rows) == [None] * 5
    assert not np.array_equal(rows[0]["pictures"][0], rows[1]["pictures"][0])


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.linspace(0, 255, 4096), np.linspace(0, 255, 3072))
    source = np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)
    Image.fromarray(source).save(tmp_path / "a.jpg", quality=95)
    rows = decode(tmp_path / "a.jpg")
    shown_as = image_of(rows)
    assert (rows[0]["width_px"], rows[0]["height_px"]) == (4096, 3072)
    height, width, _ = shown_as.shape
    expected = Image.fromarray(source).resize((width, height), Image.Resampling.BICUBIC)
    assert np.abs(shown_as.astype(int) - np.asarray(expected)).mean() < 1.5


def test_a_picture_larger_than_the_bound_is_refused_unopened(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert kinds(probe(tmp_path / "bomb.png")) == ["too_large"]


# clips


def greys(row: dict[str, Any]) -> list[int]:
    return [round(float(frame.mean())) for frame in row["pictures"]]


VFR_MS = [0, 40, 90, 480, 510, 1700, 1733, 1801, 2950, 3000, 3017, 4499, 4600]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["mp4", "mkv"])
def test_a_variable_frame_rate_gives_the_frames_on_screen_and_their_times(
    tmp_path: Path, backend: Any, form: str
) -> None:
    path = write_clip(tmp_path / f"vfr.{form}", VFR_MS)
    (row,) = decode(path, settings=replace(SMALL, video_backend=backend))
    # on screen at 0, 0.5, …, 4.5 s; under their own times where they have just begun
    expected = [0, 3, 4, 4, 7, 7, 9, 10, 10, 11]
    times_s = [0.0, 0.48, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.499]
    assert row["error"] is None
    assert row["times_s"] == pytest.approx(times_s, abs=0.001)
    assert greys(row) == pytest.approx([gray_of(place) for place in expected], abs=2)


@needs_decord2
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1"])
def test_decord_gives_the_frames_on_screen(tmp_path: Path, codec: str) -> None:
    path = write_counters(tmp_path / "a.mp4", 60, codec=codec, rate=10, gop=25)
    settings = DecodeSettings(video_backend="decord", video_fps=10, video_clip_s=2)
    rows = decode(path, settings=settings)
    assert kinds(rows) == [None] * 3
    assert [read_counter(picture) for row in rows for picture in row["pictures"]] == list(range(60))


def test_the_old_decord_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frames of HEVC are wrong, and it does not say so."""
    monkeypatch.setitem(sys.modules, "decord", SimpleNamespace(__version__="0.6.0"))
    with opened_file(write_clip(tmp_path / "a.mp4", range(0, 1000, 100))) as source:
        units = [Planned(start_s=0, end_s=1)]
        with pytest.raises(InputError, match=r"decord 0\.6\.0 gives wrong frames; .* pip install decord2"):
            next(decord_clips.decode(source, units, replace(SMALL, video_backend="decord")))


def test_times_count_from_where_the_file_starts(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "late.mkv", range(0, 4000, 40), offset_ms=10_000)
    (row,) = decode(path)
    assert row["start_s"] == 0
    assert row["end_s"] == pytest.approx(4.0, abs=0.05)
    assert row["times_s"] == pytest.approx([0, 0.48, 1.0, 1.48, 2.0, 2.48, 3.0, 3.48], abs=0.001)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9", "libx265"])
def test_clips_cut_a_video_without_gaps(tmp_path: Path, codec: str) -> None:
    path = write_clip(tmp_path / "a.mkv", range(0, 9500, 50), codec=codec, gop=37)
    rows = decode(path, settings=replace(SMALL, video_clip_s=3.0))
    slack = 5 if codec == "mpeg4" else 2  # neighbors are 3 apart, samples 30; MPEG-4 is coarse
    edges = [(row["start_s"], row["end_s"]) for row in rows]
    assert edges[0][0] == 0
    assert [end for _, end in edges[:-1]] == [start for start, _ in edges[1:]] == [3.0, 6.0]
    assert edges[-1][1] == pytest.approx(9.5, abs=0.06)
    for row in rows:
        assert row["times_s"][0] == pytest.approx(row["start_s"], abs=0.001)
        assert greys(row) == pytest.approx([gray_of(round(time_s / 0.05)) for time_s in row["times_s"]], abs=slack)


def test_a_turned_clip_is_upright(tmp_path: Path) -> None:
    import av

    plain = write_clip(tmp_path / "plain.mp4", range(0, 1000, 100), size=(128, 64))
    with av.open(str(plain)) as source, av.open(str(tmp_path / "turned.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    # the display matrix of the track header, set to 90 degrees counter-clockwise
    data = bytearray((tmp_path / "turned.mp4").read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    zero = bytes(4)
    data[place : place + 36] = zero + minus + zero + one + zero + zero + zero + zero + (1 << 30).to_bytes(4, "big")
    (tmp_path / "turned.mp4").write_bytes(bytes(data))
    (row,) = decode(tmp_path / "turned.mp4")
    assert (row["width_px"], row["height_px"]) == (64, 128)
    assert row["pictures"][0].shape[0] > row["pictures"][0].shape[1]


def test_a_slow_video_that_is_whole_is_not_truncated(tmp_path: Path) -> None:
    """FLV does not say how long its last frame stays."""
    times_ms = [*range(0, 60_000, 10_000), 53_000]
    path = write_clip(tmp_path / "a.flv", times_ms, codec="flv1", b_frames=0, rate=Fraction(1, 10))
    assert set(kinds(decode(path))) == {None}


@pytest.mark.parametrize("form", ["mp4", "mkv"])
def test_a_truncated_video_gives_what_is_there_and_one_row_for_the_rest(tmp_path: Path, form: str) -> None:
    options = {"movflags": "faststart"} if form == "mp4" else {}
    times = range(0, 12_000, 40)
    path = write_clip(tmp_path / f"a.{form}", times, size=(320, 240), codec="mpeg4", options=options)
    cut(path, 0.6)
    rows = decode(path, settings=replace(SMALL, video_clip_s=2.0))
    assert kinds(rows)[-1] == "truncated"
    assert set(kinds(rows)[:-1]) == {None}
    readable_s = rows[-1]["start_s"]
    assert 4 < readable_s < 10
    assert rows[-1]["end_s"] == pytest.approx(12, abs=0.1)
    assert rows[-2]["end_s"] == pytest.approx(readable_s)
    assert {row["unit_count"] for row in rows} == {len(rows)}


def test_damage_in_the_middle_costs_only_what_it_covers(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", range(0, 12_000, 40), gop=25, size=(160, 120))
    spoil(path, 0.45, 0.55)
    rows = decode(path, settings=replace(SMALL, video_clip_s=2.0))
    assert kinds(rows)[0] is None
    assert kinds(rows)[-1] is None
    assert kinds(rows).count(None) >= 4


# formats


def test_formats_of_one_medium_have_units_of_one_kind_and_no_extension_is_two_formats() -> None:
    for media in {kind.media for kind in FORMATS}:
        assert len({(kind.unit_kind, kind.full_input_kind) for kind in FORMATS if kind.media == media}) == 1
    extensions = [extension for kind in FORMATS for extension in kind.extensions]
    assert len(extensions) == len(set(extensions))


@pytest.mark.parametrize(
    "name",
    ["a.pdf", "a.png", "a.tiff", "a.mp4", "a.ts", pytest.param("decord.mkv", marks=needs_decord2)],
)
def test_a_decoder_gets_an_open_file_and_needs_no_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    match path.suffix:
        case ".pdf":
            write_pdf(path, pages=2)
        case ".png" | ".tiff":
            write_image(path, frames=1 + (path.suffix == ".tiff"))
        case _:
            write_clip(path, range(0, 2000, 40))
    settings = replace(SMALL, video_backend="decord" if path.stem == "decord" else "pyav")
    with opened_file(path) as source:
        path.unlink()
        kind = format_of(name, None, b"")
        assert kind is not None
        assert kind.module is not None
        module = importlib.import_module(kind.module)
        units = module.probe(source, settings)
        assert units
        assert all(isinstance(result, Decoded) for result in module.decode(source, units, settings))


def test_a_file_that_cannot_be_read_as_a_video_is_named_by_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"x" * 999)
    (row,) = probe(tmp_path / "a.mp4")
    assert row["error"]["message"].endswith(f"Invalid data found when processing input: '{tmp_path / 'a.mp4'}'")


def test_a_pipe_that_nobody_writes_to_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pdf")
    assert kinds(probe(tmp_path / "a.pdf")) == ["unknown_type"]


# what cannot be read


def test_every_kind_of_unreadable_input_is_one_typed_unit(tmp_path: Path) -> None:
    garbage = random.Random(3).randbytes(4096)
    for name in ("a.pdf", "a.jpg", "a.mp4", "a.tiff"):
        (tmp_path / name).write_bytes(garbage)
    (tmp_path / "html.pdf").write_text("<html><body>404</body></html>")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.pdf").mkdir()
    (tmp_path / "scan.bin").write_bytes(garbage)
    write_encrypted_pdf(tmp_path / "locked.pdf")
    expected = {
        "a.pdf": "malformed",
        "a.jpg": "malformed",
        "a.mp4": "malformed",
        "a.tiff": "malformed",
        "html.pdf": "malformed",
        "empty.png": "empty_file",
        "scan.bin": "unknown_type",
        "locked.pdf": "encrypted",
        "gone.pdf": "not_found",
    }
    rows = probe(*(tmp_path / name for name in expected))
    assert {Path(row["input_uri"]).name: row["error"] and row["error"]["kind"] for row in rows} == expected
    assert len(rows) == len(expected)
    assert all(row["unit_count"] == 1 and row["error"]["message"] for row in rows)


def test_a_named_file_of_unknown_name_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", pages=1).rename(tmp_path / "upload.bin")
    (row,) = probe(tmp_path / "upload.bin")
    assert (row["media"], row["unit_kind"], row["error"]) == ("document", "page", None)


def test_of_a_truncated_picture_what_is_there_is_shown_and_told(tmp_path: Path) -> None:
    pixels_in = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    Image.fromarray(pixels_in).save(tmp_path / "a.jpg")
    cut(tmp_path / "a.jpg", 0.5)
    (row,) = decode(tmp_path / "a.jpg")
    assert (row["error"], row["input_notes"]) == (None, ["truncated"])
    cut(tmp_path / "a.jpg", 0.02)
    assert kinds(decode(tmp_path / "a.jpg")) == ["truncated"]


def test_a_page_that_never_ends_is_one_row_and_its_neighbors_are_read(tmp_path: Path) -> None:
    path = write_pdf_of(tmp_path / "a.pdf", [b"0 0 9 9 re f", endless_page(), b"0 0 9 9 re f"])
    rows = decode(path, write_image(tmp_path / "b.png"), settings=replace(SMALL, timeout_s=3))
    assert kinds(rows) == [None, "timeout", None, None]
    assert rows[1]["error"]["attempts"] == 2  # the second without the form that a document may have


def test_a_page_that_eats_memory_is_one_row_and_its_neighbors_are_read(tmp_path: Path) -> None:
    path = write_pdf_of(tmp_path / "a.pdf", [b"0 0 9 9 re f", huge_page(0.75), b"0 0 9 9 re f"])
    rows = decode(path, settings=replace(SMALL, memory_mb=700))
    assert rows[0]["error"] is None
    assert rows[2]["error"] is None
    # PDFium gives up by itself or takes its process along; never the job
    assert kinds(rows)[1] in ("crashed", "out_of_memory", "malformed", None)


def test_pages_behind_others_that_never_end_are_read(tmp_path: Path) -> None:
    path = write_pdf_of(tmp_path / "a.pdf", [*[endless_page()] * 5, b"0 0 9 9 re f"])
    rows = decode(path, settings=replace(SMALL, timeout_s=3))
    assert kinds(rows) == ["timeout"] * 5 + [None]
    assert rows[4]["error"]["message"].endswith("4 others of this file hung or crashed before")


def test_a_decoder_killed_from_outside_costs_nothing(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", pages=24)
    sandbox = Sandbox(SMALL)
    units = [Locator(page=number) for number in range(1, 25)]
    batches = sandbox.decode(str(path), "document", units)
    first = [next(batches) for _ in range(3)]
    assert sandbox.child_pid is not None
    os.kill(sandbox.child_pid, signal.SIGKILL)
    rows = [*first, *batches]
    sandbox.close()
    assert len(rows) == 24
    assert {row.column("error")[0].as_py() for row in rows} == {None}


def test_what_is_left_of_an_order_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", pages=9)
    write_image(tmp_path / "b.png")
    sandbox = Sandbox(SMALL)
    batches = sandbox.decode(str(tmp_path / "a.pdf"), "document", [Locator(page=number) for number in range(1, 10)])
    next(batches)
    batches.close()
    (picture,) = sandbox.decode(str(tmp_path / "b.png"), "image", [Locator()])
    sandbox.close()
    assert picture.column("width_px")[0].as_py() == 320


def test_a_decoder_may_be_far_ahead_of_who_reads(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "pages.pdf", pages=60)
    with contextlib.closing(Sandbox(replace(SMALL, page_dpi=18))) as sandbox:
        rows = sandbox.decode(str(path), "document", [Locator(page=number + 1) for number in range(60)])
        errors = [next(rows)["error"][0].as_py()]
        time.sleep(2)  # the others lie in the socket by then, each with a descriptor that nobody has taken
        errors += [row["error"][0].as_py() for row in rows]
        assert errors == [None] * 60
        assert sandbox._orders == 1


def test_a_descriptor_that_the_kernel_lets_nobody_send_now_is_sent_later(monkeypatch: pytest.MonkeyPatch) -> None:
    really = socket.send_fds
    refusals = iter(range(3))

    def refusing(*arguments: Any) -> int:
        if next(refusals, None) is not None:
            raise OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))
        return really(*arguments)

    monkeypatch.setattr(socket, "send_fds", refusing)
    ours, theirs = socket.socketpair()
    with ours, theirs, (ROOT / "README.md").open() as file:
        Channel(ours).send({"a": 1}, fds=[file.fileno()])
        frame = Channel(theirs).recv()
        assert frame is not None
        assert frame.head == {"a": 1}
        for fd in frame.fds:
            os.close(fd)
        refusals = itertools.count()
        with pytest.raises(TimeoutError):
            Channel(ours).send({}, fds=[file.fileno()], deadline=time.monotonic() + 0.1)


def test_closing_leaves_no_child(tmp_path: Path) -> None:
    sandbox = Sandbox(SMALL)
    sandbox.probe(str(write_pdf(tmp_path / "a.pdf", pages=1)), "document")
    pid = sandbox.child_pid
    sandbox.close()
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_parent_takes_its_decoder_along(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", pages=1)
    code = (
        "import time; from operators.media.sandbox import Sandbox; from schemas.decode import DecodeSettings\n"
        f"s = Sandbox(DecodeSettings()); s.probe({str(tmp_path / 'a.pdf')!r}, 'document')\n"
        "print(s.child_pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    """PDEATHSIG follows the spawning thread; ours all come from one that stays."""
    sandbox = Sandbox(SMALL)
    path = str(write_pdf(tmp_path / "a.pdf", pages=1))
    asking = threading.Thread(target=sandbox.probe, args=(path, "document"))
    asking.start()
    asking.join()
    pid = sandbox.child_pid
    time.sleep(0.3)
    assert "units" in sandbox.probe(path, "document")
    assert sandbox.child_pid == pid
    sandbox.close()


@needs_samples
def test_every_shared_sample_is_read() -> None:
    rows = decode(SAMPLES, settings=replace(SMALL, video_clip_s=30))
    assert set(kinds(rows)) == {None}
    assert {row["unit_kind"] for row in rows} == {"page", "image", "clip"}
    assert sum(row["unit_kind"] == "page" for row in rows) == 25


# sampling

ascending = st.lists(st.integers(0, 20_000), min_size=1, max_size=60, unique=True).map(
    lambda values: [value / 1000 for value in sorted(values)]
)


@given(ascending, st.floats(0.1, 30), st.floats(0, 5), st.floats(0.1, 20))
def test_samples_are_the_frames_on_screen_at_times_of_their_clip(
    times_s: list[float], fps: float, start_s: float, length_s: float
) -> None:
    end_s = start_s + length_s
    wanted = targets(start_s, end_s, fps)
    chosen = on_screen(times_s, wanted)
    assert chosen
    visible = [wanted_s for wanted_s in wanted if wanted_s >= times_s[0] - 1e-6]
    assert len(chosen) == max(1, len(visible))
    for wanted_s, (place, shown_s) in zip(visible, chosen, strict=False):
        begun = [place for place, time_s in enumerate(times_s) if time_s <= wanted_s + 1e-6]
        assert place == begun[-1]
        assert shown_s in (wanted_s, times_s[place])
        assert start_s <= shown_s <= wanted_s + 1e-6
        assert wanted_s - shown_s <= LABEL_S
    shown = [shown_s for _, shown_s in chosen]
    assert shown == sorted({*shown})


def test_what_stands_for_hours_is_not_shown_all_the_time() -> None:
    chosen = on_screen([0.0, 50_000.0], targets(0.0, 100_000.0, 0.01))
    assert len(chosen) == 2 * (HOLD_S // 100 + 2)
    assert all(first[0] == second[0] for first, second in zip(chosen[::2], chosen[1::2], strict=True))


@given(st.lists(st.floats(0, 10_000), max_size=40), st.floats(0.04, 10_000), st.floats(0.5, 600))
def test_clips_cover_every_frame_once_and_none_is_without_one(
    times_s: list[float], stay_s: float, clip_s: float
) -> None:
    times_s = sorted([0.0, *times_s])
    end_s = times_s[-1] + stay_s
    clips = clip_bounds(times_s, end_s, clip_s)
    assert clips[0][0] == 0
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(clips))
    assert all(0 < end - start <= 2 * clip_s for start, end in clips)
    for time_s in times_s:
        assert sum(start - 1e-6 <= time_s < end for start, end in clips) >= 1
    for start, end in clips:
        assert any(start - 1e-5 <= time_s < end for time_s in times_s)


@given(st.floats(1, 10_000), st.floats(0.5, 600))
def test_clips_of_a_video_without_gaps_leave_none(end_s: float, clip_s: float) -> None:
    step_s = min(0.5, clip_s / 4)  # a longer one would be a gap of the shortest clips
    times_s = [step * step_s for step in range(int(end_s / step_s) + 1) if step * step_s < end_s]
    clips = clip_bounds(times_s, end_s, clip_s)
    assert clips[0][0] == 0
    assert clips[-1][1] == end_s
    assert all(first[1] == second[0] for first, second in itertools.pairwise(clips))
