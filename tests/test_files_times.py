"""What is shown when: gaps, joined recordings, clocks that begin late, and formats that carry no times."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from operators.media.source import opened_file
from operators.media.video import packed_index, pyav_clips
from operators.units import Decoded, Planned
from pipelines.catalogue import find
from pipelines.chunking import with_full_inputs
from schemas.decode import DecodeSettings
from tests.support.counter_clips import write_counters
from tests.support.samples import shared
from tests.test_files_seeks import SETTINGS, shown

LONG = DecodeSettings(video_max_px=64 * 192 * 128)


def clips(path: Path, settings: DecodeSettings = LONG) -> list[tuple[Planned, Decoded, list[int]]]:
    rows = []
    for unit, result, counters in shown(path, settings):
        assert isinstance(result, Decoded), result
        rows.append((unit, result, counters))
    return rows


def spans(path: Path, settings: DecodeSettings = LONG) -> list[tuple[float | None, float | None]]:
    return [(unit.start_s, unit.end_s) for unit, _, _ in clips(path, settings)]


def check_times(path: Path, settings: DecodeSettings = LONG) -> None:
    """All lie in their clips, ascend, are never minus zero, and are no farther apart than the step and a tenth."""
    for unit, result, _ in clips(path, settings):
        assert unit.start_s is not None
        assert unit.end_s is not None
        assert all(unit.start_s <= time_s < unit.end_s for time_s in result.times_s)
        assert not any(str(time_s).startswith("-") for time_s in result.times_s)
        for before_s, after_s in pairwise(result.times_s):
            assert 0 < after_s - before_s <= 1 / settings.video_fps + 0.1


# gaps


@pytest.mark.parametrize("form", ["mp4", "mkv"])
def test_slides_are_on_screen_as_long_as_they_are(tmp_path: Path, form: str) -> None:
    path = write_counters(tmp_path / f"slides.{form}", [0, 2000, 70_000, 71_000, 130_000, 200_000, 205_000])
    assert [start_s for start_s, _ in spans(path)] == [0, 60, 120, 180]
    check_times(path)
    for unit, result, counters in clips(path):
        assert len(counters) >= 50  # at each wanted time
        assert counters == [sum(time_s >= begin for begin in (2, 70, 71, 130, 200, 205)) for time_s in result.times_s]
        assert "time_gap" in result.input_notes, unit


def test_a_few_frames_over_days_are_a_few_rows(tmp_path: Path) -> None:
    """As a file of some kilobytes may say, to be asked about as often as it likes."""
    path = write_counters(tmp_path / "a.mkv", [0, 200_000_000, 400_000_000])
    rows = clips(path)
    assert len(rows) == 3
    assert [counters[-1] for _, _, counters in rows] == [0, 1, 2]
    assert all("time_gap" in result.input_notes for _, result, _ in rows)
    assert sum(len(counters) for _, _, counters in rows) <= 3 * 60
    check_times(path, DecodeSettings(video_max_px=64 * 192 * 128, video_fps=0.5))


def test_a_sample_of_any_duration_costs_no_more_rows_than_frames(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "a.mp4", 3, rate=1, b_frames=0)
    data = bytearray(path.read_bytes())
    place = data.index(b"stts")
    entries = int.from_bytes(data[place + 8 : place + 12], "big")
    for entry in range(entries):
        data[place + 16 + 8 * entry : place + 20 + 8 * entry] = (0x7FFFFFFF).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    with opened_file(path) as source:
        units = pyav_clips.probe(source, LONG)
    assert 1 <= len([unit for unit in units if unit.error is None]) <= 3
    assert all(unit.end_s is not None and unit.end_s < 1e9 for unit in units)


def test_a_frame_a_minute_is_a_row_a_frame(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "lapse.mp4", range(0, 20 * 60_000, 60_000))
    assert len(clips(path)) == 20
    check_times(path)


def test_before_the_first_frame_nothing_is_shown(tmp_path: Path) -> None:
    """The picture begins 45 s after the sound."""
    plain = write_counters(tmp_path / "plain.mkv", 250, start_s=45)
    path = with_sound(plain, tmp_path / "late.mkv")
    rows = clips(path)
    assert [unit.start_s for unit, _, _ in rows] == [30]
    ((_, result, counters),) = rows
    assert (result.times_s[0], counters[0]) == (pytest.approx(45.0, abs=0.03), 0)
    assert "time_gap" in result.input_notes


def with_sound(video: Path, path: Path, seconds: int = 60) -> Path:
    """The video with silence beside it, which begins at zero."""
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        picture = target.add_stream_from_template(source.streams.video[0])
        sound: Any = target.add_stream("pcm_s16le", rate=8000)
        sound.layout = "mono"
        for number in range(seconds):
            frame = av.AudioFrame(format="s16", layout="mono", samples=8000)
            frame.planes[0].update(bytes(16_000))
            frame.sample_rate, frame.pts, frame.time_base = 8000, number * 8000, Fraction(1, 8000)
            target.mux(sound.encode(frame))
        for packet in source.demux(video=0):
            if packet.pts is not None:
                packet.stream = picture
                target.mux(packet)
    return path


# clocks


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "libx265"])
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("start_s", [0, 1000, 26 * 3600])
def test_recordings_end_to_end_go_on(tmp_path: Path, codec: str, b_frames: int, start_s: int) -> None:
    """The clock of the second begins anew, or anywhere."""
    options: dict[str, Any] = {"codec": codec, "b_frames": b_frames, "gop": 25}
    first = write_counters(tmp_path / "1.ts", 130, start_s=1000, **options)
    second = write_counters(tmp_path / "2.ts", 120, first=2000, start_s=start_s, **options)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    rows = clips(path, SETTINGS)
    check_times(path, SETTINGS)
    expected = [*range(130), *range(2000, 2120)]
    for _, result, counters in rows:
        assert counters == [expected[int(time_s * 25 + 0.01)] for time_s in result.times_s]
        assert {*result.input_notes} == {"joined"}
        assert result.damaged_frames == 0
    assert rows[-1][0].end_s == pytest.approx(10.0, abs=0.1)


def test_a_clock_that_runs_over_is_none_that_is_set(tmp_path: Path) -> None:
    """33 bits of 90 kHz: after 26.5 hours."""
    path = write_counters(tmp_path / "a.ts", 500, start_s=Fraction(2**33, 90_000) - 10 - Fraction(1, 3))
    rows = clips(path, SETTINGS)
    counters = [counter for _, _, counters in rows for counter in counters]
    times_s = [time_s for _, result, _ in rows for time_s in result.times_s]
    assert counters == [int(time_s * 25 + 0.01) for time_s in times_s]
    assert len(counters) == 40


@pytest.mark.parametrize("start_s", [Fraction(0), Fraction(127_995, 15_360), Fraction(1_000_000)])
def test_times_begin_at_zero_and_never_before_it(tmp_path: Path, start_s: Fraction) -> None:
    path = write_counters(tmp_path / "a.mp4", 60, rate=30, start_s=start_s)
    ((_, result, counters),) = clips(path)
    assert (result.times_s[0], str(result.times_s[0]), counters[0]) == (0.0, "0.0", 0)
    check_times(path)


# no times


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.avi", "avi", "libx264"),
        ("a.avi", "avi", "mpeg4"),
        ("a.wmv", "asf", "libx264"),
        ("a.m4v", "m4v", "mpeg4"),
        ("a.m2v", "mpeg2video", "mpeg2video"),
    ],
)
def test_what_carries_no_times_is_timed_by_its_rate(tmp_path: Path, name: str, form: str, codec: str) -> None:
    path = write_counters(tmp_path / name, 200, codec=codec, form=form, gop=30, b_frames=3)
    for _, result, counters in clips(path, SETTINGS):
        assert counters == [int(time_s * 25 + 0.01) for time_s in result.times_s]
        assert result.input_notes == ("times_by_rate",)
    path = write_counters(tmp_path / name, 50, codec=codec, form=form, gop=30, b_frames=0)
    notes = {note for _, result, _ in clips(path, SETTINGS) for note in result.input_notes}
    assert notes <= ({"times_by_rate"} if form in ("m4v", "mpeg2video", "asf", "avi") else set())


# the index


def test_an_index_says_after_its_journey_what_it_said_before(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "a.ts", 400)
    with opened_file(path) as source:
        units = pyav_clips.probe(source, SETTINGS)
    for unit in units:
        assert unit.index is not None
        assert len(unit.index) < 500
        index = packed_index.unpacked(unit.index)
        assert index is not None
        assert index.packed() == unit.index


@pytest.mark.parametrize("text", ["", "x" * 99, None, "\x00", "é", "0" * 5_000_000])
def test_a_nonsense_index_is_none(tmp_path: Path, text: str | None) -> None:
    assert packed_index.unpacked(text) is None


def test_an_index_that_says_anything_does_no_harm(tmp_path: Path) -> None:
    """It comes from a child that met a hostile file."""
    import base64
    import zlib

    path = write_counters(tmp_path / "a.mp4", 60)
    with opened_file(path) as source:
        (unit,) = pyav_clips.probe(source, SETTINGS)[:1]
        assert unit.index is not None
        good = json.loads(zlib.decompress(base64.b85decode(unit.index)))
        wild: list[Any] = [None, -1, 2**61, "x", [], [2**61], {}, 1.5, [[1, 2]], [1, 0]]
        for name in good:
            for value in wild:
                text = base64.b85encode(zlib.compress(json.dumps({**good, name: value}).encode())).decode()
                index = packed_index.unpacked(text)
                if index is None or index.stream != 0:
                    continue
                (result,) = pyav_clips.decode(source, [Planned(start_s=0.0, end_s=1.0, index=text)], SETTINGS)
                assert result is not None
        bomb = base64.b85encode(zlib.compress(b"[" * 100_000_000)).decode()
        assert packed_index.unpacked(bomb) is None


def planned(path: Path, settings: DecodeSettings) -> list[dict[str, Any]]:
    """Rows as the probe's table has them."""
    with opened_file(path) as source:
        units = pyav_clips.probe(source, settings)
    same = {"input_id": "i", "media": "video", "unit_kind": "clip", "unit_count": len(units)}
    return [{**same, "unit_index": index, **vars(unit)} for index, unit in enumerate(units)]


def test_a_whole_video_is_decoded_by_the_indexes_of_its_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_counters(tmp_path / "a.ts", 400, gop=30)
    (unit,) = with_full_inputs(planned(path, SETTINGS), [find("video_qa")])
    monkeypatch.setattr(pyav_clips.frame_index, "read", lambda *_: pytest.fail("the file was read through once more"))
    with opened_file(path) as source:
        whole = Planned(start_s=unit["start_s"], end_s=unit["end_s"], index=unit["index"])
        (result,) = pyav_clips.decode(source, [whole], DecodeSettings(video_max_px=10**7, video_fps=1.0))
    assert isinstance(result, Decoded)
    assert result.times_s == pytest.approx(range(16), abs=0.001)


def test_a_whole_video_without_an_end_says_so(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "a.mkv", 400, gop=30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    rows = planned(path, SETTINGS)
    assert rows[-1]["error"]["kind"] == "truncated"
    (unit,) = with_full_inputs(rows, [find("video_qa")])
    for index in (unit["index"], None):
        with opened_file(path) as source:
            whole = Planned(start_s=unit["start_s"], end_s=unit["end_s"], index=index)
            (result,) = pyav_clips.decode(source, [whole], DecodeSettings(video_max_px=10**7, video_clip_s=2.0))
        assert isinstance(result, Decoded)
        assert "truncated" in result.input_notes


# the shared files

_FOLDER = shared("faults/videos")


@pytest.mark.skipif(not _FOLDER.is_dir(), reason="the shared files are not here")
@pytest.mark.parametrize(
    "name", ["g_ts_gop250.ts", "g_intra_refresh.mp4", "g_first_not_sync.mp4", "g_h264.avi", "cut_fs.mp4", "g_cut.avi"]
)
def test_shared_files_show_their_frames(name: str) -> None:
    for unit, result, counters in clips(_FOLDER / name):
        assert counters == [int(time_s * 25 + 0.01) for time_s in result.times_s]
        assert result.times_s[0] == unit.start_s
