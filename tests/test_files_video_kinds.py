"""Neighbors of the videos that once failed: other containers, and other places of the same faults."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operators.media.source import opened_file
from operators.media.video import pyav_clips
from operators.units import Decoded
from schemas.decode import DecodeSettings
from tests.support.counter_clips import read_counter, write_counters
from tests.support.drawn_video import box

SETTINGS = DecodeSettings(video_max_px=64 * 192 * 128, video_clip_s=5.0)


def clips_of(path: Path, settings: DecodeSettings = SETTINGS) -> list[Decoded]:
    """All of them can be read."""
    with opened_file(path) as source:
        units = pyav_clips.probe(source, settings)
        clips = list(pyav_clips.decode(source, units, settings))
    decoded = [clip for clip in clips if isinstance(clip, Decoded)]
    assert len(decoded) == len(clips), clips
    return decoded


def seen(clips: list[Decoded]) -> list[tuple[float, int]]:
    """(time, counter) of each picture."""
    return [
        (time_s, read_counter(frame)) for clip in clips for time_s, frame in zip(clip.times_s, clip.frames, strict=True)
    ]


def notes_of(clips: list[Decoded]) -> set[str]:
    return {note for clip in clips for note in clip.input_notes}


@pytest.mark.parametrize(
    ("form", "codec"), [("vob", "mpeg2video"), ("dvd", "mpeg2video"), ("mpeg", "mpeg1video"), ("svcd", "mpeg2video")]
)
def test_every_frame_of_a_disc_has_its_time(tmp_path: Path, form: str, codec: str) -> None:
    path = write_counters(tmp_path / "disc.mpg", 300, codec=codec, gop=15, b_frames=2, form=form)
    clips = clips_of(path, replace(SETTINGS, video_fps=25.0))
    shown = seen(clips)
    assert [number for _, number in shown] == list(range(300))
    assert all(abs(time_s - number / 25) < 0.001 for time_s, number in shown)
    assert notes_of(clips) == set()
    assert {clip.damaged_frames for clip in clips} == {0}


def with_edits(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    """An MP4 file, whose `moov` is its last box, with another edit list. edits: (milliseconds, first media time)."""
    entries = b"".join(struct.pack(">IiI", *edit, 0x10000) for edit in edits)
    new = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + entries))
    at = data.index(b"edts") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    changed = bytearray(data[:at] + new + data[at + size :])
    for kind in (b"moov", b"trak"):
        place = changed.index(kind) - 4
        struct.pack_into(">I", changed, place, int.from_bytes(changed[place : place + 4], "big") + len(new) - size)
    return bytes(changed)


@pytest.mark.parametrize("order", [(0, 6), (6, 0), (1, 1)])
def test_an_edit_list_that_leaves_out_or_turns_around(tmp_path: Path, order: tuple[int, int]) -> None:
    path = write_counters(tmp_path / "edits.mp4", 250, gop=50, b_frames=3)
    data = path.read_bytes()
    delay = int.from_bytes(data[data.index(b"elst") + 16 :][:4], "big")
    path.write_bytes(with_edits(data, [(3000, delay + begin_s * 12800) for begin_s in order]))
    clips = clips_of(path)
    right = {part * 3 + k / 25: begin_s * 25 + k for part, begin_s in enumerate(order) for k in range(75)}
    shown: list[tuple[float, Any]] = [(round(time_s, 3), number) for time_s, number in seen(clips)]
    assert len(shown) == 12
    assert shown == [(time_s, right[time_s]) for time_s, _ in shown]
    assert notes_of(clips) == set()


def write_jump(path: Path, jump_ms: int, **options: Any) -> list[tuple[float, int]]:
    """Six seconds of a clip whose clock goes on that much later from its second half on; (time, counter) of each."""
    times_ms = [40 * number + (jump_ms if number >= 80 else 0) for number in range(150)]
    write_counters(path, times_ms, gop=50, **options)
    return [(time_ms / 1000, number) for number, time_ms in enumerate(times_ms)]


def on_screen(right: list[tuple[float, int]], time_s: float) -> int:
    return [number for begins_s, number in right if begins_s <= time_s + 0.001][-1]


@pytest.mark.parametrize("jump_ms", [7_000, 100_000, 20_000_000])
def test_a_broadcast_that_pauses_amid_a_group(tmp_path: Path, jump_ms: int) -> None:
    right = write_jump(tmp_path / "pause.ts", jump_ms, b_frames=3)
    clips = clips_of(tmp_path / "pause.ts")
    assert [(time_s, number) for time_s, number in seen(clips) if on_screen(right, time_s) != number] == []
    assert {number for _, number in seen(clips)} > {100, 112, 125, 137}
    assert notes_of(clips) & {"damaged", "time_gap"}


def test_slides_of_a_transport_stream(tmp_path: Path) -> None:
    times_ms = [0, 2000, 70_000, 71_000, 130_000, 200_000, 205_000]
    path = write_counters(tmp_path / "slides.ts", times_ms, gop=3, b_frames=0)
    right = [(time_ms / 1000, number) for number, time_ms in enumerate(times_ms)]
    clips = clips_of(path)
    assert [(time_s, number) for time_s, number in seen(clips) if on_screen(right, time_s) != number] == []
    assert {number for _, number in seen(clips)} == set(range(7))


@pytest.mark.parametrize("jump_ms", [0, 100_000])
def test_a_clip_has_the_same_notes_with_and_without_its_index(tmp_path: Path, jump_ms: int) -> None:
    write_jump(tmp_path / "pause.mkv", jump_ms)
    settings = replace(SETTINGS, video_clip_s=2.0)
    with opened_file(tmp_path / "pause.mkv") as source:
        units = pyav_clips.probe(source, settings)
        anew = [replace(unit, index=None) for unit in units]
        notes, others = (
            [clip.input_notes for clip in pyav_clips.decode(source, order, settings) if isinstance(clip, Decoded)]
            for order in (units, anew)
        )
    assert len(notes) == len(units) > 1
    assert notes == others
    assert bool(jump_ms) == any("time_gap" in note for note in notes)


@pytest.mark.parametrize("codec", ["libx265", "mpeg2video"])
def test_a_recording_that_begins_amid_an_open_group_is_not_damaged(tmp_path: Path, codec: str) -> None:
    path = write_counters(tmp_path / "begins.ts", 150, codec=codec, gop=50, b_frames=2)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 188 // 5 * 188 :])
    clips = clips_of(path)
    shown = seen(clips)
    assert {number - round(time_s * 25) for time_s, number in shown} == {shown[0][1] - round(shown[0][0] * 25)}
    assert 50 <= shown[0][1] < 65
    assert {clip.damaged_frames for clip in clips} == {0}


def test_a_wiped_stretch_of_av1_is_told(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "wiped.mp4", 100, codec="libsvtav1", gop=50)
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    middle = begin + (len(data) - begin) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    assert any(clip.damaged_frames and "damaged" in clip.input_notes for clip in clips_of(path))


@pytest.mark.parametrize("rate", [24, 25, 30])
def test_a_stream_of_mpeg_1_has_the_rate_that_it_states(tmp_path: Path, rate: int) -> None:
    path = write_counters(tmp_path / "raw.m1v", 75, codec="mpeg1video", gop=15, form="mpeg1video", rate=rate)
    shown = seen(clips_of(path))
    assert len(shown) == -(-75 * 2 // rate)
    assert all(number == int(time_s * rate + 0.01) for time_s, number in shown)
