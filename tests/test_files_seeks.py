"""Right frames at right times, whatever the container, the codec and where its keyframes lie: the matrix of containers,
codecs, GOPs, B-frames, starts and rates, in clips short enough that most begin amid a GOP."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from operators.media.source import opened_file
from operators.media.video import pyav_clips
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from tests.support.counter_clips import FRAGMENTED, read_counter, write_counters

SETTINGS = DecodeSettings(video_max_px=64 * 192 * 128, video_clip_s=2.0)


@dataclass(frozen=True)
class Case:
    form: str
    codec: str
    gop: int
    b_frames: int
    start_s: Fraction
    rate: Fraction

    def __str__(self) -> str:
        return "-".join(map(str, (self.form, self.codec, self.gop, self.b_frames, self.start_s, self.rate)))


FORMS: dict[str, tuple[str, str, dict[str, str]]] = {
    # name -> suffix, FFmpeg's name, options
    "mp4": (".mp4", "mp4", {}),
    "fragmented": (".mp4", "mp4", FRAGMENTED),
    "mov": (".mov", "mov", {}),
    "mkv": (".mkv", "matroska", {}),
    "live": (".mkv", "matroska", {"live": "1"}),  # without cues
    "webm": (".webm", "webm", {}),
    "ts": (".ts", "mpegts", {}),
    "m2ts": (".m2ts", "mpegts", {"mpegts_m2ts_mode": "1"}),
    "ps": (".mpg", "mpeg", {}),
    "vob": (".mpg", "vob", {}),
    "avi": (".avi", "avi", {}),
    "flv": (".flv", "flv", {}),
    "asf": (".wmv", "asf", {}),
    "ogg": (".ogg", "ogg", {}),
    "m2v": (".m2v", "mpeg2video", {}),
    "m4v": (".m4v", "m4v", {}),
}
_ISO = ("libx264", "libx265", "mpeg4", "libsvtav1", "libvpx-vp9")
CODECS: dict[str, tuple[str, ...]] = {
    "mp4": _ISO,
    "fragmented": _ISO,
    "mov": ("libx264", "libx265", "mpeg4", "mjpeg"),
    "mkv": (*_ISO, "mpeg2video", "libvpx"),
    "live": ("libx264", "libvpx-vp9"),
    "webm": ("libvpx", "libvpx-vp9", "libsvtav1"),
    "ts": ("libx264", "libx265", "mpeg2video", "mpeg4"),
    "m2ts": ("libx264", "libx265", "mpeg2video"),
    "ps": ("mpeg1video", "mpeg2video", "libx264"),
    "vob": ("mpeg2video",),
    "avi": ("libx264", "mpeg4", "mjpeg", "msmpeg4v3"),
    "flv": ("libx264", "flv1"),
    "asf": ("wmv2", "libx264", "msmpeg4v3"),
    "ogg": ("libvpx",),
    "m2v": ("mpeg2video",),
    "m4v": ("mpeg4",),
}
_NO_B_FRAMES = {"mjpeg", "flv1", "wmv2", "msmpeg4v3", "libvpx", "libvpx-vp9", "libsvtav1"}
_NO_START = {"avi", "ogg", "m2v", "m4v", "asf"}
"""They count from zero, or the muxer does."""
_RATES = (Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(50))


def matrix() -> list[Case]:
    cases = []
    for form, codecs in CODECS.items():
        for codec, gop, b_frames, start_s, rate in itertools.product(
            codecs, (1, 12, 50, 250), (0, 2, 3), (Fraction(0), Fraction(10), Fraction(95443)), _RATES
        ):
            if (b_frames and (codec in _NO_B_FRAMES or gop == 1)) or (start_s and form in _NO_START):
                continue
            if gop > 12 and codec in ("mpeg1video", "mpeg2video") and rate != 25:
                continue
            if (codec == "mjpeg" and gop != 1) or (codec in ("libx265", "libsvtav1") and gop == 1):
                continue
            cases.append(Case(form, codec, gop, b_frames, start_s, rate))
    return cases


def write(case: Case, folder: Path, frames: int) -> Path:
    suffix, form, options = FORMS[case.form]
    return write_counters(
        folder / f"clip{suffix}",
        frames,
        rate=case.rate,
        codec=case.codec,
        gop=case.gop,
        b_frames=case.b_frames,
        start_s=case.start_s,
        form=form,
        options=options,
    )


def shown(
    path: Path, settings: DecodeSettings = SETTINGS, *, with_index: bool = True
) -> Iterator[tuple[Planned, Decoded | InputError, list[int]]]:
    """Each clip, what was decoded, and the counters of its frames."""
    with opened_file(path) as source:
        units = [unit for unit in pyav_clips.probe(source, settings) if unit.error is None]
        if not with_index:
            units = [replace(unit, index=None) for unit in units]
        for unit, result in zip(units, pyav_clips.decode(source, units, settings), strict=True):
            frames = result.frames if isinstance(result, Decoded) else ()
            yield unit, result, [read_counter(frame) for frame in frames]


def wrong(path: Path, frames: int, rate: Fraction, settings: DecodeSettings = SETTINGS, **options: Any) -> list[str]:
    """What is not as it should be: frames, times to a millisecond, clips, notes."""
    faults = []
    ends = 0.0
    for unit, result, counters in shown(path, settings, **options):
        assert unit.start_s is not None
        assert unit.end_s is not None
        where = f"{unit.start_s:.2f}-{unit.end_s:.2f}"
        if isinstance(result, InputError):
            faults.append(f"{where}: {result}")
            continue
        if abs(unit.start_s - ends) > 1e-6:
            faults.append(f"{where}: a gap before it")
        ends = unit.end_s
        if result.damaged_frames or {*result.input_notes} - {"times_by_rate"}:
            faults.append(f"{where}: {result.damaged_frames} damaged, {result.input_notes}")
        count = max(1, -int(-(unit.end_s - unit.start_s - 1e-6) * settings.video_fps // 1))
        if len(counters) != count:
            faults.append(f"{where}: {len(counters)} frames, not {count}")
        for place, (time_s, counter) in enumerate(zip(result.times_s, counters, strict=True)):
            wanted_s = unit.start_s + place / settings.video_fps
            begins_s = float(counter / rate)
            right = {int((wanted_s + slack) * rate) for slack in (-0.0005, 0.0, 0.0005)}  # mkv rounds to 1 ms
            if counter not in {min(value, frames - 1) for value in right}:
                faults.append(f"{where}: at {wanted_s} s frame {counter}, not {right}")
            elif abs(time_s - begins_s) > 0.001 and not (time_s == wanted_s and begins_s < wanted_s):
                faults.append(f"{where}: frame {counter} of {begins_s} s at {time_s} s")
            if not unit.start_s <= time_s < unit.end_s:
                faults.append(f"{where}: {time_s} s lies outside")
    if abs(ends - frames / rate) > 0.05:
        faults.append(f"it ends at {ends} s, not at {float(frames / rate)}")
    return faults


@pytest.mark.timeout(5000)
def test_every_container_codec_gop_start_and_rate_gives_the_right_frames(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    cases = matrix()
    picked = random.Random(16).sample(cases, amount(30, len(cases)))
    # every container with every codec is among them
    once = {
        (case.form, case.codec): case
        for case in random.Random(7).sample(cases, len(cases))
        if case.gop == 50 or case.codec == "mjpeg"
    }
    faults = {}
    tried = dict.fromkeys([*once.values(), *picked])
    for case in tried:
        path = write(case, tmp_path, 140)
        if lines := wrong(path, 140, case.rate):
            faults[str(case)] = lines[:3]
        path.unlink()
    figure(f"{len(faults)} of {len(tried)} cases of the matrix ({len(cases)}) show a wrong frame or time")
    assert not faults


# where keyframes are not what they seem


def faults_of(path: Path, frames: int = 250, **options: Any) -> list[str]:
    return [*wrong(path, frames, Fraction(25), **options), *wrong(path, frames, Fraction(25), with_index=False)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(
    "parameters",
    [
        "keyint=100:min-keyint=100:scenecut=0:open-gop=1:bframes=3",
        "keyint=50:min-keyint=50:scenecut=0:bframes=7:b-pyramid=normal:ref=5",
        "keyint=40:scenecut=0:intra-refresh=1:bframes=0",
        "keyint=3:min-keyint=3:scenecut=0:bframes=2",
        "keyint=1000:scenecut=0:bframes=3",
    ],
)
def test_every_structure_of_groups_gives_the_right_frames(tmp_path: Path, suffix: str, parameters: str) -> None:
    path = write_counters(tmp_path / f"a.{suffix}", 250, b_frames=7, codec_options={"x264-params": parameters})
    assert not faults_of(path)


def test_nothing_is_lost_where_the_first_frame_is_not_called_a_keyframe(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "a.mp4", 250, gop=100)
    data = bytearray(path.read_bytes())
    place = data.index(b"stss") + 8
    count = int.from_bytes(data[place : place + 4], "big")
    data[place : place + 4] = (count - 1).to_bytes(4, "big")
    data[place + 4 : place + 4 * count] = data[place + 8 : place + 4 + 4 * count]
    path.write_bytes(bytes(data))
    assert not faults_of(path)


def test_nothing_is_lost_where_no_frame_or_every_one_is_called_a_keyframe(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "a.mp4", 250, gop=100)
    data = path.read_bytes()
    place = data.index(b"stss")
    path.write_bytes(data[:place] + b"free" + data[place + 4 :])  # then all are
    assert not faults_of(path)


def test_frames_that_are_cut_off_by_an_edit_list_are_not_shown(tmp_path: Path) -> None:
    """As cutting without encoding leaves them: the keyframe lies before the beginning."""
    plain = write_counters(tmp_path / "plain.mp4", 350, gop=100)
    path = tmp_path / "cut.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None:
                shift = round(Fraction(30, 25) / packet.time_base)  # 30 frames
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                target.mux(packet)
    for _, result, counters in shown(path):
        assert isinstance(result, Decoded)
        assert counters == [int(time_s * 25 + 0.01) + 30 for time_s in result.times_s]
        assert result.damaged_frames == 0


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_frames_that_are_never_shown_are_no_frames(tmp_path: Path, codec: str) -> None:
    """Those that encoders of VP8 and VP9 make for others to refer to."""
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "5"}
    path = write_counters(tmp_path / "a.webm", 120, codec=codec, gop=60, codec_options=options, size=(96, 64))
    assert not faults_of(path, 120)


def test_several_streams_and_sound_between_change_nothing(tmp_path: Path) -> None:
    from tests.test_files_times import with_sound

    plain = write_counters(tmp_path / "plain.mkv", 250)
    assert not faults_of(with_sound(plain, tmp_path / "a.mkv", 10))
    assert not faults_of(with_sound(plain, tmp_path / "a.mov", 10))
