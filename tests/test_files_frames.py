"""Frames of videos reach the model as a player shows them: which way up, of one size, without combs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from operators.media.sandbox import Sandbox
from tests.support.drawn_video import (
    LOSSLESS,
    RATE,
    SETTINGS,
    Clip,
    Pixels,
    by_filter,
    corners,
    draw,
    draw_parts,
    frame_of,
    quarters,
    shown,
    shown_by,
)
from tests.support.samples import shared

ONE = 1 << 16


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox(SETTINGS)) as box:
        yield box


@pytest.fixture
def show(sandbox: Sandbox) -> Callable[[Path], Clip]:
    """The only clip of a file."""

    def only(path: Path) -> Clip:
        (clip,) = shown_by(sandbox, path)
        return clip

    return only


def matrix(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    return a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, ONE << 14


# which way up


@pytest.mark.parametrize(
    ("turned", "letters"),
    [
        (matrix(1, 0, 0, 1), "RGBY"),
        (matrix(0, 1, -1, 0), "BRYG"),  # a quarter clockwise
        (matrix(-1, 0, 0, -1), "YBGR"),
        (matrix(0, -1, 1, 0), "GYRB"),
        (matrix(-1, 0, 0, 1), "GRYB"),
        (matrix(1, 0, 0, -1), "BYRG"),
        (matrix(0, 1, 1, 0), "RBGY"),  # transposed
        (matrix(0, -1, -1, 0), "YGBR"),
    ],
)
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(4, 3)])
def test_all_eight_display_matrices(
    tmp_path: Path, show: Callable[[Path], Clip], turned: tuple[int, ...], letters: str, aspect: Fraction
) -> None:
    path = draw(tmp_path / "a.mp4", [quarters(96, 128)] * 3, matrix=turned, sample_aspect_ratio=aspect)
    clip = show(path)
    assert corners(clip.picture) == letters
    size_px = (96, round(128 * aspect))
    assert clip.size_px == (size_px if turned[1] == 0 else size_px[::-1])
    assert (clip.picture.shape[0] > clip.picture.shape[1]) == (turned[1] != 0)


@pytest.mark.parametrize(("degrees", "letters"), [(3, "RGBY"), (-87, "BRYG"), (91.5, "GYRB"), (178, "YBGR")])
def test_an_angle_is_taken_for_the_nearest_quarter(
    tmp_path: Path, show: Callable[[Path], Clip], degrees: float, letters: str
) -> None:
    """degrees: counter-clockwise."""
    sine, cosine = np.sin(np.radians(-degrees)), np.cos(np.radians(-degrees))
    turned = (*(round(value * ONE) for value in (cosine, sine, 0, -sine, cosine, 0, 0, 0)), ONE << 14)
    assert corners(show(draw(tmp_path / "a.mp4", [quarters(96, 128)] * 3, matrix=turned)).picture) == letters


def test_a_matrix_of_nothing_turns_nothing(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    clip = show(draw(tmp_path / "a.mp4", [quarters(96, 128)] * 3, matrix=(0,) * 9))
    assert corners(clip.picture) == "RGBY"


# one size


@pytest.mark.parametrize(
    ("codec", "suffix", "parts", "right"),
    [
        # turned midway: the first of two that are as large
        ("libx264", ".ts", [(96, 160, 10), (160, 96, 10)], 0),
        # a stream that begins small, as live ones do, is seen as it goes on
        ("libvpx", ".webm", [(48, 80, 10), (96, 160, 10), (192, 320, 10)], 2),
        ("libx264", ".ts", [(96, 160, 10), (192, 320, 10), (48, 80, 10)], 1),
        ("libvpx-vp9", ".webm", [(96, 160, 30), (192, 320, 5)], 0),
        ("libvpx-vp9", ".webm", [(96, 96, 10), (96, 160, 10)], 1),
    ],
)
def test_all_pictures_of_a_clip_have_one_size(
    tmp_path: Path,
    show: Callable[[Path], Clip],
    codec: str,
    suffix: str,
    parts: list[tuple[int, int, int]],
    right: int,
) -> None:
    """parts: height, width and number of frames. right: the part whose size it is."""
    drawn = [[quarters(height, width)] * count for height, width, count in parts]
    clip = show(draw_parts(tmp_path / f"a{suffix}", drawn, codec))
    size_px = parts[right][:2]
    assert clip.size_px == size_px
    assert {picture.shape for picture in clip.pictures} == {clip.picture.shape}
    assert clip.notes == ("sizes_differ",)
    sizes = [part[:2] for part in parts for _ in range(0, part[2], RATE // 2)]
    for picture, size in zip(clip.pictures, sizes, strict=True):
        # the frame in the middle, with its shape; black beside it
        scale = min(size_px[0] / size[0], size_px[1] / size[1])
        rows, columns = (picture.shape[axis] / size_px[axis] * size[axis] * scale for axis in (0, 1))
        top, left = (picture.shape[0] - rows) / 2, (picture.shape[1] - columns) / 2
        inner = picture[round(top) : round(top + rows), round(left) : round(left + columns)]
        assert corners(inner) == "RGBY", size
        beside = picture.copy()
        beside[max(0, round(top) - 2) : round(top + rows) + 2, max(0, round(left) - 2) : round(left + columns) + 2] = 0
        assert not beside.any()


def test_pixels_that_change_their_shape(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    """As broadcasts do between 4:3 and 16:9."""
    square = draw(tmp_path / "a.ts", [quarters(96, 96)] * 10).read_bytes()
    later = {"output_ts_offset": "1"}
    wide = draw(tmp_path / "b.ts", [quarters(96, 96)] * 5, container=later, sample_aspect_ratio=Fraction(5, 3))
    (tmp_path / "c.ts").write_bytes(square + wide.read_bytes())
    clip = show(tmp_path / "c.ts")
    assert clip.size_px == (96, 96)
    assert "sizes_differ" in clip.notes  # and its packets are not numbered on
    first, last = clip.pictures[0], clip.pictures[-1]
    assert first[2].any()
    assert not last[2].any()  # wider than the first, so black above
    assert corners(last[last.shape[0] * 2 // 10 : last.shape[0] * 8 // 10]) == "RGBY"


def test_sizes_that_change_between_clips_of_a_file(tmp_path: Path, sandbox: Sandbox) -> None:
    parts = [[quarters(96, 160)] * 300, [quarters(160, 96)] * 50]
    first, second = shown_by(sandbox, draw_parts(tmp_path / "a.ts", parts))
    assert (first.size_px, second.size_px) == ((96, 160), (160, 96))
    assert first.notes == second.notes == ()
    assert second.picture.shape[0] > second.picture.shape[1]
    assert corners(second.picture) == "RGBY"


# fields


def bars(height: int, width: int, at: int) -> Pixels:
    """Upright bars that move, over lines that stand still and are one line high."""
    picture = np.full((height, width, 3), 220, np.uint8)
    picture[: height // 3 : 6, 20:-20] = 20
    for left in range(at % 40, width, 40):
        picture[height // 2 :, left : left + 12] = 20
    return picture


def woven(first: Pixels, second: Pixels, top_first: bool) -> Pixels:
    picture = first.copy()
    picture[top_first::2] = second[top_first::2]
    return picture


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_fields_are_taken_apart(tmp_path: Path, show: Callable[[Path], Clip], order: str, pix_fmt: str) -> None:
    moments = [bars(288, 352, 5 * k) for k in range(20)]
    fields = [woven(*moments[2 * k : 2 * k + 2], top_first=order == "tff") for k in range(10)]
    options = {**LOSSLESS, "x264-params": f"{order}=1"}
    flagged = [by_filter(frame_of(field).reformat(format=pix_fmt), f"setfield=mode={order}") for field in fields]
    clip = show(draw(tmp_path / "fields.mp4", flagged, "libx264", pix_fmt, options=options))
    right = show(draw(tmp_path / "right.mp4", moments[::2], "libx264", pix_fmt, options=LOSSLESS))
    combs = show(draw(tmp_path / "combs.mp4", fields, "libx264", pix_fmt, options=LOSSLESS))
    assert clip.notes == ("deinterlaced",)
    assert right.notes == ()
    for picture, truth, comb in zip(clip.pictures, right.pictures, combs.pictures, strict=True):
        assert difference(picture, truth) < 0.15 * difference(comb, truth)
        rows = slice(0, truth.shape[0] // 3)
        assert difference(picture[rows], truth[rows]) < 1  # lines that stand still keep their sharpness


def test_fields_of_many_lines_are_seen_one_at_a_time(tmp_path: Path) -> None:
    """Where fewer lines are seen than a field has."""
    moments = [bars(576, 704, 9 * k) for k in range(10)]
    fields = [woven(*moments[2 * k : 2 * k + 2], top_first=True) for k in range(5)]
    flagged = [by_filter(frame_of(field).reformat(format="yuv420p"), "setfield=mode=tff") for field in fields]
    small = replace(SETTINGS, video_max_px=2 * 320 * 256)
    options = {**LOSSLESS, "x264-params": "tff=1"}
    (clip,) = shown(draw(tmp_path / "fields.mp4", flagged, options=options), small)
    (right,) = shown(draw(tmp_path / "right.mp4", moments[::2], options=LOSSLESS), small)
    (combs,) = shown(draw(tmp_path / "combs.mp4", fields, options=LOSSLESS), small)
    assert clip.notes == ("deinterlaced",)
    assert clip.picture.shape[0] < 288
    assert difference(clip.picture, right.picture) < 0.3 * difference(combs.picture, right.picture)


def test_progressive_frames_that_are_flagged_otherwise_do_not_suffer(
    tmp_path: Path, show: Callable[[Path], Clip]
) -> None:
    rng = np.random.default_rng(5)
    soft = np.repeat(np.repeat(rng.integers(0, 255, (72, 88, 3), np.uint8), 4, 0), 4, 1)
    frames = [np.where(bars(288, 352, 9 * k) < 100, bars(288, 352, 9 * k), soft) for k in range(10)]
    flagged = {**LOSSLESS, "x264-params": "tff=1"}
    clip = show(draw(tmp_path / "psf.mp4", frames, "libx264", "yuv420p", options=flagged))
    with av.open(str(tmp_path / "psf.mp4")) as file:
        assert next(file.decode(video=0)).interlaced_frame
    right = show(draw(tmp_path / "right.mp4", frames, "libx264", "yuv420p", options=LOSSLESS))
    assert max(map(difference, clip.pictures, right.pictures)) < 0.5


def difference(picture: Pixels, other: Pixels) -> float:
    """Mean, in levels."""
    return float(np.abs(picture.astype(int) - other.astype(int)).mean())


# the shared files

FAULTS = shared("faults/videos")
needs_faults = pytest.mark.skipif(not FAULTS.is_dir(), reason="no shared faults")


@needs_faults
@pytest.mark.parametrize(("name", "letters"), [("mx_hflip.mp4", "GRYB"), ("mx_transpose.mp4", "RBGY")])
def test_shared_mirrors(show: Callable[[Path], Clip], name: str, letters: str) -> None:
    picture = show(FAULTS / name).picture
    height, width = picture.shape[:2]
    ends = picture[[height // 16, -height // 16]][:, [width // 16, -width // 16]]  # the clip is a counter inside
    assert corners(ends) == letters


@needs_faults
def test_shared_frames_of_two_sizes(show: Callable[[Path], Clip]) -> None:
    clip = show(FAULTS / "g_turned_midway.mkv")
    assert {picture.shape for picture in clip.pictures} == {(192, 320, 3)}
    assert clip.notes == ("sizes_differ",)


@needs_faults
def test_shared_fields(show: Callable[[Path], Clip]) -> None:
    fields, right = show(FAULTS / "interlaced.mp4"), show(FAULTS / "progressive_ref.mp4")
    assert fields.notes == ("deinterlaced",)
    assert max(map(difference, fields.pictures, right.pictures)) < 0.6  # yadif with its neighbors: 0.5
