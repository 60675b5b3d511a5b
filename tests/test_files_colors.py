"""Colors of videos reach the model as a player shows them: on white, by the right matrix, HDR brought down, and without
what is cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from operators.media.sandbox import Sandbox
from operators.media.source import opened_file
from operators.media.video import matroska_tracks
from operators.media.video.frame_color import ycgco_to_rgb
from tests.support.drawn_video import (
    LOSSLESS,
    SETTINGS,
    TO_DESCRIPTION,
    Clip,
    Pixels,
    add_box,
    box,
    corners,
    draw,
    shown_by,
)
from tests.support.samples import shared


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox(SETTINGS)) as sandbox:
        yield sandbox


@pytest.fixture
def show(sandbox: Sandbox) -> Callable[[Path], Clip]:
    """The only clip of a file."""

    def only(path: Path) -> Clip:
        (clip,) = shown_by(sandbox, path)
        return clip

    return only


# alpha


def half_hidden() -> Pixels:
    """Left red that is hidden, right green."""
    picture = np.zeros((64, 96, 4), np.uint8)
    picture[:, :48], picture[:, 48:] = (255, 0, 0, 0), (0, 255, 0, 255)
    return picture


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("a.mov", "qtrle", "argb", {}),
        ("a.mov", "png", "rgba", {}),
        ("a.mov", "prores_ks", "yuva444p10le", {"profile": "4"}),
        ("a.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
        ("a.webm", "libvpx-vp9", "yuva420p", {"auto-alt-ref": "0"}),
        ("a.mkv", "ffv1", "yuva420p", {}),
        ("a.avi", "rawvideo", "bgra", {}),
    ],
)
def test_what_is_transparent_is_white(
    tmp_path: Path, show: Callable[[Path], Clip], name: str, codec: str, pix_fmt: str, options: dict[str, str]
) -> None:
    clip = show(draw(tmp_path / name, [half_hidden()] * 12, codec, pix_fmt, options=options))
    assert len(clip.pictures) == 3
    for picture in clip.pictures:
        assert corners(picture) == "WGWG"
        edge = picture[:, : picture.shape[1] // 2 - 3].min(axis=(0, 1))
        assert edge.min() > 240  # nothing of the red gets in by scaling


def test_frames_that_are_hidden_wholly_are_white(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    hidden = half_hidden()
    hidden[..., 3] = 0
    assert corners(show(draw(tmp_path / "a.mov", [hidden] * 3, "qtrle", "argb")).picture) == "WWWW"
    # of pixels of 32 bits the fourth byte is nothing
    assert corners(show(draw(tmp_path / "a.avi", [hidden] * 3, "rawvideo", "bgra")).picture) == "RGRG"


# color

COLORS = np.array(
    [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 0),
        (128, 128, 128),
        (20, 60, 200),
        (240, 240, 240),
        (9, 9, 9),
    ]
)
KR_KB = {"709": (0.2126, 0.0722), "601": (0.299, 0.114), "2020": (0.2627, 0.0593)}
TAGS = {"709": 1, "601": 6, "2020": 9, None: 2}


def in_yuv(rgb: Pixels, size: tuple[int, int], pix_fmt: str, *, by: str, full: bool, bits: int = 8) -> av.VideoFrame:
    """A frame of eight patches, by the equations of ITU-R BT.601, 709 and 2020. rgb: of each, from 0 to 1."""
    (kr, kb), (height, width) = KR_KB[by], size
    r, g, b = np.moveaxis(np.repeat(np.repeat(rgb.reshape(2, 4, 3), height // 2, 0), width // 4, 1), -1, 0)
    y = kr * r + (1 - kr - kb) * g + kb * b
    planes = [y, (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)]
    step, most = 1 << bits - 8, (1 << bits) - 1
    frame = av.VideoFrame(width, height, pix_fmt)
    for index, plane in enumerate(planes):
        middle = (1 << bits - 1) if index else 0 if full else 16 * step
        levels = plane * (most if full else (224 if index else 219) * step) + middle
        if index and "420" in pix_fmt:
            levels = levels[::2, ::2]
        target = frame.planes[index]
        dtype = np.uint8 if bits == 8 else np.uint16
        rows = np.zeros((target.height, target.line_size // np.dtype(dtype).itemsize), dtype)
        rows[:, : levels.shape[1]] = np.clip(np.rint(levels), 0, most)
        target.update(rows.tobytes())
    return frame


def patches(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    return np.array(
        [picture[height // 4 + height // 2 * (k // 4), width // 8 + width // 4 * (k % 4)] for k in range(8)], int
    )


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("tag", "size", "right"),
    [
        (None, (720, 1280), "709"),
        (None, (480, 1280), "709"),
        (None, (768, 576), "709"),
        (None, (576, 720), "601"),
        ("601", (720, 1280), "601"),
        ("709", (240, 320), "709"),
        ("2020", (240, 320), "2020"),
    ],
)
@pytest.mark.parametrize(("pix_fmt", "bits"), [("yuv420p", 8), ("yuv420p10le", 10), ("yuv444p12le", 12)])
def test_colors_are_those_of_the_matrix(
    tmp_path: Path,
    show: Callable[[Path], Clip],
    tag: str | None,
    size: tuple[int, int],
    right: str,
    full: bool,
    pix_fmt: str,
    bits: int,
) -> None:
    frame = in_yuv(COLORS / 255, size, pix_fmt, by=right, full=full, bits=bits)
    frame.colorspace, frame.color_range = TAGS[tag], 2 if full else 1
    tags = {"colorspace": frame.colorspace, "color_range": frame.color_range}
    clip = show(draw(tmp_path / "a.mkv", [frame], "ffv1", pix_fmt, **tags))
    assert np.abs(patches(clip.picture) - COLORS).max() <= 4


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mkv", "libx264rgb", "rgb24"),
        ("a.mkv", "ffv1", "gbrp10le"),
        ("a.avi", "rawvideo", "bgr24"),
        ("a.mov", "png", "rgb48be"),
        ("a.mov", "mjpeg", "yuvj444p"),
    ],
)
def test_rgb_and_jpeg_stay_as_they_are_in_hd(
    tmp_path: Path, show: Callable[[Path], Clip], name: str, codec: str, pix_fmt: str
) -> None:
    rgb = np.repeat(np.repeat(COLORS.astype(np.uint8).reshape(2, 4, 3), 360, 0), 320, 1)
    options = LOSSLESS if "x264" in codec else {}
    clip = show(draw(tmp_path / name, [rgb] * 2, codec, pix_fmt, options=options))
    assert np.abs(patches(clip.picture) - COLORS).max() <= 4


def test_gray_is_gray(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    levels = np.repeat(COLORS[:, :1], 3, axis=1)
    frame = np.repeat(np.repeat(levels.astype(np.uint8).reshape(2, 4, 3), 360, 0), 320, 1)
    for pix_fmt in ("gray", "ya8"):
        clip = show(draw(tmp_path / "a.mov", [frame] * 2, "png", pix_fmt))
        assert np.abs(patches(clip.picture) - levels).max() <= 2


@pytest.mark.parametrize("full", [False, True])
def test_ycgco(tmp_path: Path, show: Callable[[Path], Clip], full: bool) -> None:
    """The one matrix of screen recordings that FFmpeg's scaler refuses."""
    r, g, b = np.moveaxis(np.repeat(np.repeat(COLORS.reshape(2, 4, 3) / 255, 120, 0), 80, 1), -1, 0)
    planes = (r / 4 + g / 2 + b / 4, -r / 4 + g / 2 - b / 4, r / 2 - b / 2)
    frame = av.VideoFrame(320, 240, "yuv444p")
    for index, plane in enumerate(planes):
        scale, low = (255, 128 if index else 0) if full else (224 if index else 219, 128 if index else 16)
        frame.planes[index].update(np.rint(np.clip(plane * scale + low, 0, 255)).astype(np.uint8).tobytes())
    frame.colorspace, frame.color_range = 8, 2 if full else 1
    tags = {"colorspace": 8, "color_range": frame.color_range}
    clip = show(draw(tmp_path / "a.mp4", [frame] * 2, "libx264", "yuv444p", options=LOSSLESS, **tags))
    assert np.abs(patches(clip.picture) - COLORS).max() <= 4
    assert ycgco_to_rgb(np.full((1, 1, 3), 128, np.uint8), limited=False).tolist() == [[[128, 128, 128]]]


# HDR

NITS = np.array([(w, w, w) for w in (203, 100, 26, 1000)] + [(203, 0, 0), (0, 203, 0), (0, 0, 203), (1, 1, 1)])
"""Light of BT.709's colors."""
FROM_BT709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""ITU-R BT.2087."""


def pq(nits: Pixels) -> Pixels:
    power = (nits / 10_000) ** (2610 / 16384)
    coded: Pixels = ((3424 / 4096 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return coded


def hlg(nits: Pixels) -> Pixels:
    luma = np.maximum(nits @ (0.2627, 0.6780, 0.0593) / 1000, 1e-7)[:, None]
    scene = np.clip(nits / 1000 / luma ** (0.2 / 1.2), 0, 1)
    logarithmic = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithmic)


@pytest.mark.parametrize(("transfer", "coded"), [(16, pq), (18, hlg)])
def test_hdr_is_brought_down_to_what_a_model_sees(
    tmp_path: Path, show: Callable[[Path], Clip], transfer: int, coded: Callable[[Pixels], Pixels]
) -> None:
    light = np.clip(NITS @ FROM_BT709.T, 0, None)
    frame = in_yuv(coded(light), (240, 320), "yuv420p10le", by="2020", full=False, bits=10)
    tags: dict[str, Any] = {"colorspace": 9, "color_range": 1, "color_trc": transfer, "color_primaries": 9}
    for name, value in tags.items():
        setattr(frame, name, value)
    clip = show(draw(tmp_path / "a.mkv", [frame], "ffv1", "yuv420p10le", **tags))
    assert clip.notes == ("hdr_tone_mapped",)
    white, paper, gray, sun, red, green, blue, night = patches(clip.picture)
    for neutral, low, high in ((white, 215, 240), (paper, 170, 200), (gray, 85, 115), (sun, 250, 255), (night, 10, 40)):
        assert neutral.max() - neutral.min() <= 4
        assert low <= neutral.mean() <= high
    for channel, color in enumerate((red, green, blue)):
        assert color[channel] > 220
        assert np.delete(color, channel).max() < 40  # as saturated as it is


# what is not to be shown


def halves() -> Pixels:
    """Red and green."""
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:, :80, 0], picture[:, 80:, 1] = 255, 255
    return picture


def test_the_clean_aperture_of_a_track(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.mp4", [halves()] * 3)
    numbers = (80, 1, 96, 1, 40, 1, 0, 1)  # width, height, right of the center, below
    clap = box(b"clap", b"".join(number.to_bytes(4, "big") for number in numbers))
    path.write_bytes(add_box(path.read_bytes(), TO_DESCRIPTION, clap))
    clip = show(path)
    assert clip.size_px == (96, 80)
    assert corners(clip.picture) == "GGGG"
    # one that makes no sense cuts off nothing
    path.write_bytes(path.read_bytes().replace(clap, clap[:8] + b"\x7f" + clap[9:]))
    assert corners(show(path).picture) == "RGRG"


@pytest.mark.parametrize("edge", [0, 2])
def test_pixel_crop(tmp_path: Path, show: Callable[[Path], Clip], edge: int) -> None:
    path = draw(tmp_path / "a.mkv", [halves()] * 3)
    data = path.read_bytes()
    crop = (b"\x54\xcc\x81\x50", b"\x54\xbb\x81\x50", b"\x54\xdd\x81\x50")[edge]
    assert data.count(b"\x54\xb2\x81\x04") == 1  # its display unit
    path.write_bytes(data.replace(b"\x54\xb2\x81\x04", crop))
    clip = show(path)
    assert clip.size_px == (96, 80)
    assert corners(clip.picture) == ("GGGG" if edge == 0 else "RRRR")


def test_colors_of_dolby_vision_are_noted(tmp_path: Path, show: Callable[[Path], Clip]) -> None:
    path = draw(tmp_path / "a.mp4", [halves()] * 3)
    for profile, notes in ((5, ("dolby_vision",)), (8, ())):
        record = box(b"dvcC", bytes((1, 0, profile << 1, 0x35)) + bytes(20))
        (tmp_path / "b.mp4").write_bytes(add_box(path.read_bytes(), TO_DESCRIPTION, record))
        assert show(tmp_path / "b.mp4").notes == notes


def test_dolby_vision_in_matroska(tmp_path: Path) -> None:
    record = bytes((1, 0, 5 << 1, 0x35)) + bytes(20)
    mapping = element("41e7", b"dvcC") + element("41ed", record)
    sound = element("ae", element("83", b"\2"))
    video = element("ae", element("83", b"\1") + element("41e4", mapping))
    header = element("1a45dfa3", b"") + element("18538067", element("1654ae6b", sound + video))
    (tmp_path / "a.mkv").write_bytes(header)
    with opened_file(tmp_path / "a.mkv") as source:
        (facts,) = matroska_tracks.read(source)
    assert facts.dolby_vision == 5


def element(kind: str, content: bytes) -> bytes:
    """Of EBML, with a size of four bytes."""
    return bytes.fromhex(kind) + (0x10000000 | len(content)).to_bytes(4, "big") + content


# the shared files

FAULTS = shared("faults/videos")
needs_faults = pytest.mark.skipif(not FAULTS.is_dir(), reason="no shared faults")


@needs_faults
def test_shared_alpha(show: Callable[[Path], Clip]) -> None:
    picture = show(FAULTS / "alpha_qtrle.mov").picture
    assert not ((picture[..., 0] > 200) & (picture[..., 1] < 60)).any()


@needs_faults
def test_shared_colors(show: Callable[[Path], Clip]) -> None:
    clip = show(FAULTS / "col_709lim_untagged_hd.mp4")
    assert clip.size_px == (720, 1280)
