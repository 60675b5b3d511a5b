"""What is not decoded changes nothing: frames that are wanted here and there, and by several decoders at once, are bit
for bit those of who decodes every packet from the first, at the same times, whatever lies between."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.prompts.rgb import unpack
from operators.media.full_input import FullInputs
from operators.media.opened import Opened
from operators.media.source import opened_file
from operators.media.video import packed_index, pyav_clips
from operators.media.video.frame_picture import ClipPictures
from operators.media.video.frame_times import on_screen, targets
from operators.media.video.open_container import opened
from operators.media.video.packed_index import FrameIndex
from operators.media.video.packet_reader import demuxed
from operators.media.video.shares import share_of
from operators.units import Decoded, Planned
from pipelines.catalogue import find
from pipelines.chunking import with_full_inputs
from pipelines.job import prepare
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from schemas.request import Clip
from schemas.spec import JobSpec
from schemas.tables import UNIT_COLUMNS
from tests.support.counter_clips import FRAGMENTED, write_counters
from tests.support.world import write_recording
from tests.test_files_times import planned

SIZE = (96, 64)
FORMS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    # name -> suffix, options of the container, codecs
    "mp4": (".mp4", {}, ("libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1")),
    "fragmented": (".mp4", FRAGMENTED, ("libx264", "libx265")),
    "mkv": (".mkv", {}, ("libx264", "libx265", "mpeg2video", "libvpx")),
    "live": (".mkv", {"live": "1"}, ("libx264",)),
    "ts": (".ts", {}, ("libx264", "libx265", "mpeg2video")),
}


def some_video(chance: random.Random, folder: Path, number: int) -> Path:
    """Of any form, codec and structure of groups; closed, open, with pyramids, or renewed part by part."""
    suffix, options, codecs = FORMS[chance.choice(list(FORMS))]
    codec, gop = chance.choice(codecs), chance.choice((2, 7, 12, 25, 60, 250))
    b_frames = chance.choice((0, 1, 3)) if codec in ("libx264", "libx265", "mpeg2video", "mpeg4") else 0
    frames: Any = chance.randrange(40, 320)
    if chance.random() < 0.3 and suffix != ".ts" and codec in ("libx264", "libx265", "libvpx", "libvpx-vp9"):
        # of a variable rate
        frames = list(itertools.accumulate(chance.choice((20, 40, 40, 900)) for _ in range(frames)))
    more = {}
    if codec == "libx264":
        structure = chance.choice(
            ("", ":open-gop=1", ":b-pyramid=normal:ref=4", ":b-pyramid=none:ref=1", ":intra-refresh=1:bframes=0")
        )
        more = {"x264-params": f"keyint={gop}:min-keyint={max(1, gop // 2)}:bframes={b_frames}{structure}"}
    if codec == "libx265":
        gop = max(gop, 7)
        keys = f"log-level=none:pools=none:frame-threads=1:keyint={gop}:min-keyint={gop}:bframes={b_frames}"
        more = {"x265-params": f"{keys}:open-gop={chance.choice((0, 1))}"}
    path = folder / f"{number}{suffix}"
    return write_counters(
        path, frames, codec=codec, gop=gop, b_frames=b_frames, options=options, codec_options=more, size=SIZE
    )


def damage(chance: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    if chance.random() < 0.5:
        del data[chance.randrange(len(data) // 2, len(data)) :]
    for _ in range(chance.choice((0, 3, 40))):
        data[chance.randrange(len(data) // 10, len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(data))


def one_after_the_other(path: Path, unit: Planned, index: FrameIndex, settings: DecodeSettings) -> list[Any]:
    """(frame, time) for each that is wanted, from a decoder that gets every packet of the file and skips nothing."""
    assert unit.start_s is not None
    assert unit.end_s is not None
    chosen = on_screen(index.times_s, targets(unit.start_s, unit.end_s, settings.video_fps))
    wanted = {index.order[place] for place, _ in chosen}
    shown: dict[int, Any] = {}
    with opened_file(path) as source, opened(source) as (container, stream):
        pictures = ClipPictures(stream, len(chosen), settings)
        packets = enumerate(demuxed(container, stream))
        for number, packet in itertools.chain(packets, [(-1, None)]):
            if packet is not None:
                packet.pts, packet.dts = number, None
            for frame in stream.codec_context.decode(packet):
                if frame.pts in wanted:
                    shown[frame.pts] = pictures.picture(frame)
    return [(shown[index.order[place]], time_s) for place, time_s in chosen]


def test_frames_here_and_there_are_those_of_who_decodes_everything(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    chance = random.Random(22)
    compared = 0
    for number in range(amount(12, 150)):
        path = some_video(chance, tmp_path, number)
        settings = DecodeSettings(
            video_fps=chance.choice((0.1, 0.5, 2.0, 7.0)), video_clip_s=chance.choice((1.5, 5.0, 60.0))
        )
        with opened_file(path) as source:
            units = pyav_clips.probe(source, settings)
            results = list(pyav_clips.decode(source, units, settings))
        for unit, result in zip(units, results, strict=True):
            index = packed_index.unpacked(unit.index)
            assert index is not None
            assert isinstance(result, Decoded), f"{path.name}: {result}"
            right = one_after_the_other(path, unit, index, settings)
            assert [time_s for _, time_s in right] == list(result.times_s)
            for (frame, time_s), ours in zip(right, result.frames, strict=True):
                assert np.array_equal(frame, ours), f"{path.name} at {time_s}"
                compared += 1
        path.unlink()
    figure(f"{compared} frames of {number + 1} videos are bit for bit those of sequential decoding")


def answer(opened_input: Opened) -> tuple[Any, ...]:
    """All that a video's answer holds, but for how long it took."""
    columns = {name: value for name, value in opened_input.columns.items() if name != "decode_s"}
    frames = []
    if opened_input.unit is not None:
        assert isinstance(opened_input.unit.content, Clip)
        frames = [unpack(frame).tobytes() for frame in opened_input.unit.content.frames]
    return opened_input.error, columns, frames


def test_a_video_by_several_decoders_is_answered_as_by_one(
    tmp_path: Path, amount: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound ones, damaged ones, and those that end before they say so."""
    monkeypatch.setattr("operators.media.full_input.SHARE_S", 1.0)
    divided: list[Opened | None] = []
    in_shares = FullInputs._in_shares

    def watched(*args: Any) -> Opened | None:
        divided.append(in_shares(*args))
        return divided[-1]

    monkeypatch.setattr(FullInputs, "_in_shares", watched)
    chance = random.Random(7)
    settings = DecodeSettings(full_input_tokens=4000, video_clip_s=3.0)
    alone, together = FullInputs(settings, shares=1), FullInputs(settings, shares=3)
    try:
        for number in range(amount(6, 60)):
            path = some_video(chance, tmp_path, number)
            if number % 2:
                damage(chance, path)
            with contextlib.suppress(InputError):  # what damage has left of it may be no video
                rows = list(with_full_inputs(planned(path, settings), [find("video_qa")]))
                row = {**dict.fromkeys(UNIT_COLUMNS), "input_uri": str(path), "decode_s": 0.0, **rows[-1]}
                assert answer(together.open(row)) == answer(alone.open(row)), path.name
    finally:
        alone.close()
        together.close()
    assert any(divided)


def test_shares_begin_at_keyframes_and_hold_each_frame_once(tmp_path: Path) -> None:
    path = write_counters(tmp_path / "a.mp4", 400, gop=50, size=SIZE)
    settings = DecodeSettings(video_clip_s=60.0)
    with opened_file(path) as source:
        (unit,) = pyav_clips.probe(source, settings)
    index = packed_index.unpacked(unit.index)
    assert index is not None
    places = list(range(0, 400, 12))
    for count in (2, 3, 4):
        shares = [share_of(index, places, number, count) for number in range(count)]
        assert list(itertools.chain(*shares)) == places
        assert all(share[0] // 50 > before[-1] // 50 for before, share in itertools.pairwise(shares))
    assert [share_of(replace(index, keys=index.keys[:1]), places, number, 2) for number in range(2)] == [[], []]


def test_by_how_many_a_video_is_decoded_is_no_part_of_what_a_task_is(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "replies.jsonl", {"task": "video_qa", "reply": "{}"})
    job = prepare(
        JobSpec.model_validate(
            {
                "name": "test",
                "inputs": [str(tmp_path)],
                "tasks": [{"name": "video_qa", "parameters": {"question": "What?"}}],
                "engine": {"kind": "scripted", "recording": str(recording)},
                "output": str(tmp_path / "out"),
            }
        )
    )
    for identity in (job.identity["decode"], job.definitions["video_qa"]["decode"]):
        assert "video_fps" in identity
        assert "video_share" not in identity
