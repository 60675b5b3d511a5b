"""What is damaged is told and not shown; what is missing at the end is told too; and what is whole is not doubted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from operators.media.source import opened_file
from operators.media.video import pyav_clips
from operators.units import Decoded
from schemas.decode import DecodeSettings
from tests.support.counter_clips import FRAGMENTED, write_counters
from tests.support.media import cut, spoil
from tests.support.samples import shared
from tests.test_files_seeks import shown

SETTINGS = DecodeSettings(video_max_px=64 * 192 * 128, video_clip_s=5.0)
FRAMES, RATE = 500, 25

FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "mkv": ("a.mkv", {}),
    "mp4": ("a.mp4", {"options": {"movflags": "faststart"}}),
    "ts": ("a.ts", {}),
    "hevc.ts": ("a.ts", {"codec": "libx265"}),
    "hevc.mkv": ("a.mkv", {"codec": "libx265"}),
    "ps": ("a.mpg", {"codec": "mpeg2video", "form": "mpeg"}),
    "flv": ("a.flv", {}),
    "avi": ("a.avi", {"codec": "mpeg4", "b_frames": 0}),
    "wmv": ("a.wmv", {"codec": "wmv2", "form": "asf", "b_frames": 0}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9"}),
    "av1": ("a.mkv", {"codec": "libsvtav1"}),
}


def write(folder: Path, kind: str) -> Path:
    name, options = FILES[kind]
    return write_counters(folder / name, FRAMES, gop=50, **options)


@pytest.mark.parametrize("kind", FILES)
def test_a_hole_is_told_and_nothing_old_is_shown_as_new(tmp_path: Path, kind: str) -> None:
    """A tenth of the file is zeros. What refers to it shows what was there before: none of that is shown under its
    time, but the last good frame again, and only in the clips that the row calls damaged."""
    path = spoil(write(tmp_path, kind), 0.45, 0.55)
    told = 0
    for unit, result, counters in shown(path, SETTINGS):
        assert isinstance(result, Decoded), (unit.start_s, result)
        assert result.damaged_frames is not None
        assert (result.damaged_frames > 0) == ("damaged" in result.input_notes)
        assert len(counters) == 10
        right = [int(time_s * RATE + 0.01) for time_s in result.times_s]
        if counters != right:
            assert result.damaged_frames > 0
        late = [counter for counter, expected in zip(counters, right, strict=True) if counter != expected]
        assert all(counter <= expected for counter, expected in zip(counters, right, strict=True))
        assert len({*late}) <= 2, (unit.start_s, counters)
        told += result.damaged_frames
    assert told >= 20


@pytest.mark.parametrize("kind", FILES)
def test_what_is_whole_is_not_called_damaged(tmp_path: Path, kind: str) -> None:
    for _, result, counters in shown(write(tmp_path, kind), SETTINGS):
        assert isinstance(result, Decoded)
        assert result.damaged_frames == 0
        assert "damaged" not in result.input_notes
        assert counters == [int(time_s * RATE + 0.01) for time_s in result.times_s]


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx-vp9"), ("b.webm", "libvpx")])
def test_a_picture_that_was_wiped_to_its_end_is_not_shown(tmp_path: Path, name: str, codec: str) -> None:
    """Its decoder makes a picture of it all the same, and says nothing."""
    path = write_counters(tmp_path / name, FRAMES, gop=50, codec=codec)
    with av.open(str(path)) as container:
        packets = [bytes(memoryview(packet)) for packet in container.demux(video=0) if packet.size]
    # shown at a wanted time, and no keyframe; half of what may be a few bytes
    wiped = max((137, 162, 187, 212), key=lambda number: len(packets[number]))
    data, whole = path.read_bytes(), packets[wiped]
    assert data.count(whole) == 1
    path.write_bytes(data.replace(whole, whole[: len(whole) // 4] + bytes(len(whole) - len(whole) // 4)))
    shown_at = {}
    damaged = 0
    for _, result, counters in shown(path, SETTINGS):
        assert isinstance(result, Decoded)
        damaged += result.damaged_frames or 0
        shown_at |= dict(zip((int(time_s * RATE + 0.01) for time_s in result.times_s), counters, strict=True))
    assert damaged == 1
    assert wiped not in shown_at  # what was on screen before it, at the time that is wanted
    assert wiped - 1 in shown_at.values()


def test_packets_that_a_broadcast_lost_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "ts")
    data = path.read_bytes()
    first, last = (len(data) * place // 100 // 188 * 188 for place in (30, 36))
    path.write_bytes(data[:first] + data[last:])
    rows = list(shown(path, SETTINGS))
    assert sum(result.damaged_frames or 0 for _, result, _ in rows if isinstance(result, Decoded)) >= 20
    for _, result, counters in rows:
        assert isinstance(result, Decoded)
        for time_s, counter in zip(result.times_s, counters, strict=True):
            assert counter == int(time_s * RATE + 0.01) or result.damaged_frames


def test_flipped_bits_are_told(tmp_path: Path, amount: Callable[[int, int], int]) -> None:
    """One in 5,000 bytes. A frame of which the decoder says that it is damaged is not shown."""
    for seed in range(amount(1, 20)):
        path = write(tmp_path, "mkv")
        data = bytearray(path.read_bytes())
        for place in range(5000, len(data) - 5000, 5000):
            data[place] ^= 1 << random.Random(seed + place).randrange(8)
        path.write_bytes(bytes(data))
        rows = [result for _, result, _ in shown(path, SETTINGS)]
        assert all(isinstance(result, Decoded) for result in rows)
        assert sum(result.damaged_frames or 0 for result in rows if isinstance(result, Decoded)) > 0


def test_frames_of_a_varying_rate_are_not_missing(tmp_path: Path) -> None:
    """A recording of a screen: mostly 30 a second, now and then nothing for a while."""
    drawn = random.Random(3)
    times_ms, now = [], 0
    for _ in range(400):
        times_ms.append(now)
        now += 33 if drawn.random() < 0.95 else drawn.randrange(100, 3000)
    for name in ("a.mkv", "a.mp4", "a.webm"):
        codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
        path = write_counters(tmp_path / name, times_ms, codec=codec)
        for _, result, _ in shown(path, SETTINGS):
            assert isinstance(result, Decoded)
            assert result.damaged_frames == 0


CUTS = {
    "avi": ("a.avi", {"codec": "mpeg4"}),
    "avi of h264": ("a.avi", {}),
    "avi of jpegs": ("a.avi", {"codec": "mjpeg", "b_frames": 0}),
    "wmv": ("a.wmv", {"codec": "wmv2", "form": "asf", "b_frames": 0}),
    "mkv": ("a.mkv", {}),
    "mov": ("a.mov", {"options": {"movflags": "faststart"}}),
    "flv": ("a.flv", {}),
    "webm": ("a.webm", {"codec": "libvpx-vp9"}),
}


@pytest.mark.parametrize("kind", CUTS)
def test_a_missing_end_is_a_row(tmp_path: Path, kind: str) -> None:
    name, options = CUTS[kind]
    path = cut(write_counters(tmp_path / name, FRAMES, gop=50, **options), 0.6)
    with opened_file(path) as source:
        *clips, rest = pyav_clips.probe(source, SETTINGS)
    assert rest.error is not None
    assert rest.error["kind"] == "truncated"
    assert rest.end_s == pytest.approx(20.0, abs=0.1)
    assert rest.start_s == clips[-1].end_s
    assert 9 < (rest.start_s or 0) < 16
    for _, result, counters in shown(path, SETTINGS):
        assert isinstance(result, Decoded)
        if not result.damaged_frames:
            assert counters == [int(time_s * RATE + 0.01) for time_s in result.times_s]


@pytest.mark.parametrize("options", [{}, FRAGMENTED])
def test_what_does_not_say_how_long_it_is_gives_what_is_there(tmp_path: Path, options: dict[str, str]) -> None:
    name = "a.mp4" if options else "a.ts"
    path = cut(write_counters(tmp_path / name, FRAMES, gop=50, options=options), 0.6)
    rows = list(shown(path, SETTINGS))
    assert len(rows) >= 2
    for _, result, counters in rows[:-1]:
        assert isinstance(result, Decoded)
        assert counters == [int(time_s * RATE + 0.01) for time_s in result.times_s]


_FOLDER = shared("faults/videos")


@pytest.mark.skipif(not _FOLDER.is_dir(), reason="the shared files are not here")
def test_the_shared_file_of_flipped_bits_is_told() -> None:
    rows = [result for _, result, _ in shown(_FOLDER / "biterrors.mp4", DecodeSettings())]
    assert all(isinstance(row, Decoded) and row.damaged_frames and "damaged" in row.input_notes for row in rows)
