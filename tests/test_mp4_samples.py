"""What an MP4 says of its packets in its tables is what its packets say, whole or damaged: the index that comes of the
one is that of the other, without reading the file."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from operators.media.source import opened_file
from operators.media.video import file_packets, frame_index, mp4_samples
from operators.media.video.file_packets import FilePackets
from operators.media.video.open_container import opened
from schemas.errors import InputError
from tests.support.counter_clips import FRAGMENTED, write_counters

SIZE = (64, 48)
TABLES = (b"stts", b"ctts", b"stss", b"stsz", b"stsc", b"stco", b"elst", b"mdhd", b"tkhd", b"mvhd", b"avcC")


def indexed(path: Path, *, by_tables: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, FilePackets | None]:
    """(the index, or how the file is refused; what was foreseen)."""
    foreseen: list[FilePackets | None] = [None]

    def read(*arguments: Any) -> FilePackets | None:
        foreseen[0] = mp4_samples.read(*arguments) if by_tables else None
        return foreseen[0]

    with monkeypatch.context() as patch:
        patch.setattr(frame_index, "mp4_samples", type("Tables", (), {"read": staticmethod(read)}))
        try:
            with opened_file(path) as source, opened(source) as (container, stream):
                return frame_index.read(source, container, stream), foreseen[0]
        except InputError as error:
            return (error.kind, str(error)), foreseen[0]


def foreseen(path: Path) -> FilePackets | None:
    with opened_file(path) as source, opened(source) as (container, stream):
        return mp4_samples.read(source, container, stream)


def with_sound(path: Path, codec: str = "aac") -> Path:
    """A copy with a track of tones beside its pictures, longer than these."""
    other = path.with_name(f"sound-{path.name}")
    with av.open(str(path)) as old, av.open(str(other), "w", options={"movflags": "faststart"}) as new:
        pictures = new.add_stream_from_template(old.streams.video[0])
        sound: Any = new.add_stream(codec, rate=44_100)
        sound.layout = "mono"
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream = pictures
                new.mux(packet)
        for number in range(400):
            tone = np.sin(np.arange(1024) / 9 + number).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44_100, number * 1024, Fraction(1, 44_100)
            new.mux(sound.encode(frame))
        new.mux(sound.encode())
    return other


def clips(folder: Path) -> Iterator[Path]:
    for codec in ("libx264", "libx265"):
        for b_frames in (0, 3):
            path = folder / f"{codec}-{b_frames}.mp4"
            yield write_counters(path, 200, codec=codec, gop=40, b_frames=b_frames, size=SIZE)
    late = folder / "late.mov"
    yield write_counters(late, 120, gop=30, start_s=Fraction(7, 3), options={"movflags": "faststart"}, size=SIZE)
    yield with_sound(folder / "libx264-3.mp4")
    open_gop = {"x264-params": "keyint=30:min-keyint=30:open-gop=1:bframes=3"}
    yield write_counters(folder / "open.mp4", 150, gop=30, codec_options=open_gop, size=SIZE)


def test_the_tables_say_what_the_packets_say(tmp_path: Path) -> None:
    for path in clips(tmp_path):
        with opened_file(path) as source, opened(source) as (container, stream):
            told = mp4_samples.read(source, container, stream)
            read = file_packets.read(container, stream, None)
        assert told is not None or path.stem == "open", path.name
        assert told is None or told == read, path.name
        assert len(read.keys) >= 4


def test_little_of_the_file_is_read(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "a.mp4", 300, gop=50, size=SIZE)
    with opened_file(path) as source, opened(source) as (container, stream):
        told = mp4_samples.read(source, container, stream)
        read = file_packets.read(container, stream, told)
        number = next(packet.pts for packet in container.demux(stream))
    assert read is told
    assert number < 0.5 / stream.time_base * 300 / 25  # its reader is not at the end


def test_what_the_first_packets_show_otherwise_is_not_taken(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "a.mp4", 300, gop=50, size=SIZE)
    with opened_file(path) as source, opened(source) as (container, stream):
        wrong = mp4_samples.read(source, container, stream)
        assert wrong is not None
        assert wrong.pts[7] is not None
        wrong.pts[7] += 1
        read = file_packets.read(container, stream, wrong)
    assert read is not wrong
    assert len(read.pts) == 300


def some_of_a_variable_rate(path: Path) -> Path:
    return write_counters(path, [*range(0, 4000, 40), *range(5000, 9000, 40)], gop=40, size=SIZE)


def in_fragments(path: Path) -> Path:
    return write_counters(path, 200, gop=40, options=FRAGMENTED, size=SIZE)


def cut_off(path: Path) -> Path:
    data = write_counters(path, 200, gop=40, options={"movflags": "faststart"}, size=SIZE).read_bytes()
    path.write_bytes(data[:-200])
    return path


def of_another_codec(path: Path) -> Path:
    return write_counters(path, 100, codec="mpeg4", size=SIZE)


def of_keyframes_alone(path: Path) -> Path:
    return write_counters(path, 100, gop=1, b_frames=0, size=SIZE)


def with_a_keyframe_that_is_none(path: Path) -> Path:
    data = write_counters(path, 200, gop=90, b_frames=0, size=SIZE).read_bytes()
    at = data.index(b"stss") + 12
    assert int.from_bytes(data[at + 4 : at + 8], "big") == 91
    path.write_bytes(data[: at + 4] + (100).to_bytes(4, "big") + data[at + 8 :])
    return path


def with_a_wiped_keyframe(path: Path) -> Path:
    write_counters(path, 200, gop=90, b_frames=0, size=SIZE)
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe][1]
    data = path.read_bytes()
    path.write_bytes(data[:place] + bytes(40) + data[place + 40 :])
    return path


@pytest.mark.parametrize(
    "make",
    [
        some_of_a_variable_rate, in_fragments, cut_off, of_another_codec, of_keyframes_alone,
        with_a_keyframe_that_is_none, with_a_wiped_keyframe,
    ],
)  # fmt: skip
def test_what_tables_do_not_tell_is_read(make: Callable[[Path], Path], tmp_path: Path) -> None:
    assert foreseen(make(tmp_path / "a.mp4")) is None


def broken(data: bytes, chance: random.Random) -> bytes:
    """Flipped in a table, anywhere in `moov`, or among the pictures; or cut off."""
    new = bytearray(data)
    movie = data.rindex(b"moov")
    place = chance.choice(("tables", "tables", "moov", "pictures", "end"))
    if place == "end":
        return data[: chance.randrange(len(data) // 4, len(data))]
    for _ in range(chance.choice((1, 1, 3, 20))):
        if place == "tables":
            table = data.find(chance.choice(TABLES), movie)
            at = table + 4 + chance.randrange(40) if table >= 0 else movie
        else:
            at = chance.randrange(movie, len(data)) if place == "moov" else chance.randrange(len(data))
        if at < len(new):
            new[at] = chance.choice((0, 255, chance.randrange(256), new[at] ^ (1 << chance.randrange(8))))
    return bytes(new)


def test_of_damaged_files_the_index_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    chance = random.Random(13)
    whole = [path.read_bytes() for path in clips(tmp_path)]
    path = tmp_path / "broken.mp4"
    counted: Counter[bool] = Counter()
    for number in range(amount(150, 5000)):
        path.write_bytes(broken(chance.choice(whole), chance))
        ours, told = indexed(path, by_tables=True, monkeypatch=monkeypatch)
        right, _ = indexed(path, by_tables=False, monkeypatch=monkeypatch)
        if told is not None and ours != right:  # a keyframe that the tables leave out costs time, and no picture
            assert {*ours.frames.keys} < {*right.frames.keys}, f"seeded file {number}"
            ours = replace(ours, frames=replace(ours.frames, keys=right.frames.keys))
        assert ours == right, f"seeded file {number}"
        counted[told is not None] += 1
    figure(f"{counted.total()} damaged files: the same index, of {counted[True]} by their tables")
    assert min(counted[True], counted[False]) > 0.1 * counted.total()
