"""HEIC and HEIF as phones write them: tiles, turns, mirrors, transparency, and what else lies in such a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from operators.media.image.heif import is_heif
from schemas.decode import DecodeSettings
from tests.support.decoded import Eye, Pixels, eye
from tests.support.heif_file import (
    ALPHA,
    CORNERS,
    CORNERS_10,
    DEPTH,
    LEFT,
    Item,
    box,
    exif_item,
    grid_item,
    heif_of,
    imir,
    irot,
    pasp,
)
from tests.support.samples import needs_samples, shared

SETTINGS = DecodeSettings(image_min_px=32 * 32, image_max_px=512 * 512, timeout_s=60)
UPRIGHT = "RGBK"
EXIF_6 = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"


@pytest.fixture(scope="module")
def looking() -> Iterator[Eye]:
    with eye(SETTINGS) as opened:
        yield opened


def corners(pixels: Pixels) -> str:
    """Colors of the quarters, row by row."""
    height, width, _ = pixels.shape
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (0, 0, 0): "K", (1, 1, 1): "W"}
    seen = ""
    for y, x in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        red, green, blue = pixels[int(height * y), int(width * x)]
        seen += names.get((int(red > 110), int(green > 110), int(blue > 110)), "?")
    return seen


def write(path: Path, *items: Item, **options: object) -> Path:
    path.write_bytes(heif_of(*items, **options))  # type: ignore[arg-type]
    return path


TURNS = {
    "not at all": ([], "RGBK"),
    "a quarter": ([irot(1)], "GKRB"),  # counterclockwise
    "a half": ([irot(2)], "KBGR"),
    "three quarters": ([irot(3)], "BRKG"),
    "mirrored across": ([imir(1)], "GRKB"),
    "mirrored down": ([imir(0)], "BKRG"),
    "a quarter, then mirrored": ([irot(1), imir(1)], "KGBR"),
    "mirrored, then a quarter": ([imir(1), irot(1)], "RBGK"),
}


@pytest.mark.parametrize("turn", TURNS)
def test_turns_and_mirrors_happen_once(tmp_path: Path, looking: Eye, turn: str) -> None:
    properties, expected = TURNS[turn]
    for others in ([], [exif_item(EXIF_6, of=1)]):  # what EXIF says is what was done already
        path = write(tmp_path / "a.heic", Item(CORNERS, properties=properties), *others)
        row = looking.row(path)
        assert (row.size, corners(row.pixels)) == ((64, 64), expected)


@pytest.mark.parametrize("coded", [CORNERS, CORNERS_10])
def test_tiles_are_one_picture(tmp_path: Path, looking: Eye, coded: object) -> None:
    tiles = [Item(coded, hidden=True) for _ in range(6)]  # type: ignore[arg-type]
    path = write(tmp_path / "a.heic", grid_item(3, 2, range(2, 8)), *tiles)
    row = looking.row(path)
    assert row.size == (192, 128)
    for y in (0, 64):
        for x in (0, 64, 128):
            assert corners(row.pixels[y : y + 64, x : x + 64]) == UPRIGHT
    turned = looking.row(write(tmp_path / "b.heic", grid_item(3, 2, range(2, 8), [irot(3)]), *tiles))
    assert (turned.size, corners(turned.pixels[:64, :64])) == ((128, 192), "BRKG")


def test_transparency_lies_on_white(tmp_path: Path, looking: Eye) -> None:
    alpha = Item(LEFT, properties=[ALPHA], refers=[(b"auxl", [1])], hidden=True)
    row = looking.row(write(tmp_path / "a.heic", Item(CORNERS), alpha))
    assert corners(row.pixels) == "RWBW"


def test_thumbnails_and_depth_are_no_pictures(tmp_path: Path, looking: Eye) -> None:
    thumbnail = Item(LEFT, refers=[(b"thmb", [1])])
    depth = Item(LEFT, properties=[DEPTH], refers=[(b"auxl", [1])])
    row = looking.row(write(tmp_path / "a.heic", Item(CORNERS), thumbnail, depth))
    assert corners(row.pixels) == UPRIGHT


def test_pictures_side_by_side_are_units_but_for_the_same_again(tmp_path: Path, looking: Eye) -> None:
    path = write(tmp_path / "a.heic", Item(CORNERS), Item(LEFT), Item(CORNERS_10))
    for indexed in (True, False):
        rows = looking.rows(path, indexed=indexed)
        assert [corners(row.pixels) for row in rows] == [UPRIGHT, "WKWK", UPRIGHT]
    stereo = write(tmp_path / "b.heic", Item(CORNERS), Item(LEFT), primary=2, groups=[(b"ster", [1, 2])])
    assert corners(looking.row(stereo).pixels) == "WKWK"


def test_pixels_that_are_no_squares(tmp_path: Path, looking: Eye) -> None:
    assert looking.row(write(tmp_path / "a.heic", Item(CORNERS, properties=[pasp(2, 1)]))).size == (128, 64)


def test_what_breaks_off_or_is_none_is_a_typed_row(tmp_path: Path, looking: Eye) -> None:
    data = heif_of(Item(CORNERS))
    for size in range(40, len(data), 37):
        (tmp_path / "a.heic").write_bytes(data[:size])
        assert {row.kind for row in looking.rows(tmp_path / "a.heic")} <= {"truncated", None}, size
    (tmp_path / "a.heic").write_bytes(data[:-40] + bytes(40))
    assert {row.kind for row in looking.rows(tmp_path / "a.heic")} <= {"malformed", None}
    (tmp_path / "a.heic").write_bytes(box(b"ftyp", b"heic", bytes(4), b"mif1") + box(b"meta", bytes(30)))
    assert [row.kind for row in looking.rows(tmp_path / "a.heic")] == ["malformed"]


def test_a_picture_too_large_for_the_memory_says_so(tmp_path: Path) -> None:
    tiles = [Item(CORNERS, hidden=True)] * 900
    path = write(tmp_path / "a.heic", grid_item(30, 30, range(2, 902)), *tiles)
    with eye(DecodeSettings(memory_mb=260, image_max_px=1 << 18, timeout_s=60)) as bounded:
        (row,) = bounded.rows(path)
    assert row.kind == "too_large"
    assert row.message.endswith("memory_mb allows 260")


def test_more_tiles_than_anybody_reads(tmp_path: Path, looking: Eye) -> None:
    path = write(tmp_path / "a.heic", grid_item(48, 48, [2] * 48**2), Item(CORNERS, hidden=True))
    assert [row.kind for row in looking.rows(path)] == ["too_large"]


def test_the_brand_tells() -> None:
    assert is_heif(heif_of(Item(CORNERS))[:64])
    assert is_heif(box(b"ftyp", b"mif1", bytes(4), b"heix"))
    assert not is_heif(box(b"ftyp", b"avif", bytes(4), b"mif1"))
    assert not is_heif(b"\xff\xd8\xff")


def test_av1_that_does_not_say_so_is_read_all_the_same(tmp_path: Path, looking: Eye) -> None:
    Image.new("RGB", (64, 64), (0, 200, 0)).save(file := io.BytesIO(), "AVIF")
    (tmp_path / "a.heif").write_bytes(
        file.getvalue().replace(b"ftypavif", b"ftypmif1").replace(b"avifmif1", b"mif1mif1")
    )
    row = looking.row(tmp_path / "a.heif")
    assert row.pixels[32, 32].argmax() == 1


@needs_samples
def test_the_file_that_showed_the_fault(tmp_path: Path, looking: Eye) -> None:
    row = looking.row(shared("faults/documents/pictures/tiles.heic"))
    assert row.size == (1500, 1000)
    assert row.mean == pytest.approx(240, abs=3)
    assert np.asarray(row.pixels).min() < 60
