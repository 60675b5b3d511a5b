"""TIFF as scanners, fax machines, cameras and microscopes write it: the page as a viewer shows it, one row for each."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from operators.media.sandbox import Sandbox
from schemas.decode import DecodeSettings, LineReader
from tests.support.decoded import Eye, Pixels, eye
from tests.support.samples import needs_samples, shared
from tests.support.tiff_file import LONG, RATIONAL, SHORT, TiffPage, page_of, tiff_of

# no bounds on sizes that these pages reach, so that pixels can be compared one by one
SETTINGS = DecodeSettings(image_min_px=32 * 32, image_max_px=512 * 512, timeout_s=60)
WIDTH, HEIGHT = 192, 96
ORDERS = ("<", ">")


@pytest.fixture(scope="module")
def looking() -> Iterator[Eye]:
    with eye(SETTINGS) as opened:
        yield opened


def scan(seed: int = 0) -> Pixels:
    """Dark print on white, [height, width] in 8 bits, unlike itself however it is turned."""
    page = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(page)
    draw.text((8, 6), f"page {seed}", fill=0)
    draw.rectangle((8, 40, 60, 60), fill=96)
    draw.rectangle((150, 70, 180, 90), fill=0)
    return np.asarray(page)


def assert_shows(pixels: Pixels, expected: Pixels, most: float = 2.0) -> None:
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected.astype(int)).mean() < most


def stored_as(upright: Pixels, orientation: int) -> Pixels:
    """What a file with that orientation holds of it."""
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(turns[orientation](upright))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_page_is_turned_once(tmp_path: Path, looking: Eye, orientation: int, compression: str) -> None:
    stored = stored_as(scan(), orientation)
    path = tmp_path / "a.tif"
    Image.fromarray(stored).save(path, compression=compression, tiffinfo={274: orientation})
    row = looking.row(path)
    assert row.size == (WIDTH, HEIGHT)
    assert_shows(row.pixels, scan())


def test_boxes_of_lines_lie_in_the_upright_page(tmp_path: Path) -> None:
    boxes = []
    with eye(DecodeSettings(line_reader=LineReader(), timeout_s=60)) as reading:
        for orientation in (1, 6):
            page = Image.new("L", (600, 400), 255)
            ImageDraw.Draw(page).text((40, 60), "The committee met on Tuesday", fill=0, font_size=24)
            path = tmp_path / f"{orientation}.tif"
            stored = Image.fromarray(stored_as(np.asarray(page), orientation))
            stored.save(path, tiffinfo={274: orientation})
            (line, *_) = reading.row(path).facts["line_images"]
            boxes.append(line["bbox_px"])
    assert boxes[0] == pytest.approx(boxes[1], abs=1.5)
    assert boxes[0][0] == pytest.approx(40, abs=6)


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_picture_for_crops_is_turned_as_well(tmp_path: Path, orientation: int) -> None:
    upright = np.asarray(Image.fromarray(scan()).resize((WIDTH * 4, HEIGHT * 4)))
    Image.fromarray(stored_as(upright, orientation)).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    settings = DecodeSettings(image_max_px=64 * 64, image_min_px=32 * 32, full_res_max_px=1 << 20, timeout_s=60)
    with eye(settings) as large:
        full_res = large.row(tmp_path / "a.tif").facts["full_res"]
    assert (full_res["width_px"], full_res["height_px"]) == (WIDTH * 4, HEIGHT * 4)


@pytest.mark.parametrize("order", ORDERS)
def test_a_palette_of_8_bit_values_is_not_black(tmp_path: Path, looking: Eye, order: str) -> None:
    colors = [*range(256)] * 3
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(page_of(scan(), order, t262=(SHORT, [3]), t320=(SHORT, colors)), order=order))
    assert_shows(looking.row(path).pixels, scan())
    path.write_bytes(
        tiff_of(page_of(scan(), order, t262=(SHORT, [3]), t320=(SHORT, [c * 257 for c in colors])), order=order)
    )
    assert_shows(looking.row(path).pixels, scan())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", [1, 4, 8, 16, 32])
def test_white_is_zero(tmp_path: Path, looking: Eye, bits: int, order: str) -> None:
    gray = np.where(scan() > 128, 255, 0).astype(np.uint8) if bits == 1 else scan()
    top = (1 << bits) - 1
    values = np.round((255 - gray) / 255 * top).astype(f"u{max(1, bits // 8)}")
    page = page_of(values, order, t262=(SHORT, [0]), t258=(SHORT, [bits]))
    if bits < 8:
        page.strips = [packed(values[y : y + 16], bits) for y in range(0, HEIGHT, 16)]
    (tmp_path / "a.tif").write_bytes(tiff_of(page, order=order))
    assert_shows(looking.row(tmp_path / "a.tif").pixels, gray, 9 if bits == 4 else 2)


def packed(values: Pixels, bits: int) -> bytes:
    digits = (values[..., None].astype(np.uint64) >> np.arange(bits - 1, -1, -1, dtype=np.uint64)) & np.uint64(1)
    return np.packbits(digits.reshape(values.shape[0], -1).astype(np.uint8), axis=1).tobytes()


GRAY = scan().astype(np.float64) / 255
ODD = GRAY.astype(np.float32).copy()
ODD[0, :3] = np.nan, np.inf, -np.inf
NO_DATA = (GRAY * 255).astype(np.float32)
NO_DATA[::2][GRAY[::2] == 0] = -9999

DEPTHS: dict[str, Pixels] = {
    "16 bits": (GRAY * 65535).astype(np.uint16),
    "8 bits in 16": (GRAY * 255).astype(np.uint16),
    "10 bits in 16": (GRAY * 1023).astype(np.uint16),
    "12 bits in 16": (GRAY * 4095).astype(np.uint16),
    "14 bits in 16": (GRAY * 16383).astype(np.uint16),
    "16 bits in 32": (GRAY * 65535).astype(np.uint32),
    "32 bits": (GRAY * 4294967295).astype(np.uint32),
    "64 bits": (GRAY * ((1 << 53) - 1)).astype(np.uint64) << np.uint64(11),
    "signed, above 0": (GRAY * 32767).astype(np.int16),
    "signed, around 0": (GRAY * 60000 - 30000).astype(np.int16),
    "signed 8": (GRAY * 254 - 127).astype(np.int8),
    "signed 32": (GRAY * 2e9 - 1e9).astype(np.int32),
    "float 0 to 1": GRAY.astype(np.float32),
    "float a little over 1": (GRAY * 1.01).astype(np.float32),
    "float 0 to 255": (GRAY * 255).astype(np.float32),
    "float 0 to 65535": (GRAY * 65535).astype(np.float32),
    "float of some measure": (GRAY * 9 - 4).astype(np.float32),
    "float with NaN and infinities": ODD,
    "float with a number for no data": NO_DATA,
    "double": GRAY.astype(np.float64),
    "half": GRAY.astype(np.float16),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_shows_the_same(tmp_path: Path, looking: Eye, depth: str, order: str) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_of(page_of(DEPTHS[depth], order), order=order))
    row = looking.row(tmp_path / "a.tif")
    assert_shows(row.pixels, scan(), 3)
    assert not row.facts["blank"]


@pytest.mark.parametrize("bits", [2, 6, 10, 12, 14, 20, 24])
def test_bits_that_fill_no_bytes(tmp_path: Path, looking: Eye, bits: int) -> None:
    values = np.round(GRAY * ((1 << bits) - 1)).astype(np.uint32)
    page = page_of(values, t258=(SHORT, [bits]))
    page.strips = [
        values[y : y + 16].astype("<u4")[..., None].view(np.uint8)[..., :3].tobytes()
        if bits == 24
        else packed(values[y : y + 16], bits)
        for y in range(0, HEIGHT, 16)
    ]
    (tmp_path / "a.tif").write_bytes(tiff_of(page))
    assert_shows(looking.row(tmp_path / "a.tif").pixels, scan(), 12 if bits == 2 else 3)


@pytest.mark.parametrize("kind", ["together", "in planes", "tiles", "neighbors", "floats"])
def test_colors_of_16_bits_and_floats(tmp_path: Path, looking: Eye, kind: str) -> None:
    colors = np.stack([scan(), scan(1), np.full_like(scan(), 200)], axis=2)
    values = colors.astype(np.uint16) * 257
    page = page_of(values, ">")
    if kind == "in planes":
        page.strips = [values[..., plane].astype(">u2").tobytes() for plane in range(3)]
        page.tags |= {278: (LONG, [HEIGHT]), 284: (SHORT, [2])}
    elif kind == "tiles":
        corners = [(y, x) for y in range(0, HEIGHT, 64) for x in range(0, WIDTH, 128)]
        tall = np.pad(values, ((0, 32), (0, 64), (0, 0)))
        page.strips = [tall[y : y + 64, x : x + 128].astype(">u2").tobytes() for y, x in corners]
        del page.tags[278]
        page.tags |= {322: (SHORT, [128]), 323: (SHORT, [64])}
        page.tiled = True
    elif kind == "neighbors":
        page.tags |= {259: (SHORT, [8]), 317: (SHORT, [2])}
        steps = np.diff(values, axis=1, prepend=np.zeros_like(values[:, :1]))
        page.strips = [zlib.compress(steps[y : y + 16].astype(">u2").tobytes()) for y in range(0, HEIGHT, 16)]
    elif kind == "floats":
        floats = (colors / 255).astype(np.float32)
        page = page_of(floats, ">", t259=(SHORT, [8]), t317=(SHORT, [3]))
        page.strips = [zlib.compress(split_floats(floats[y : y + 16])) for y in range(0, HEIGHT, 16)]
    (tmp_path / "a.tif").write_bytes(tiff_of(page, order=">"))
    assert_shows(looking.row(tmp_path / "a.tif").pixels, colors)


def split_floats(values: Pixels) -> bytes:
    """As the predictor for floats wants them: bytes of a row by their worth, as differences."""
    rows, width, samples = values.shape
    planes = values.astype(">f4").reshape(rows, -1, 1).view(np.uint8).transpose(0, 2, 1).reshape(rows, -1)
    apart = planes.reshape(rows, -1, samples)
    steps = np.diff(apart, axis=1, prepend=np.zeros_like(apart[:, :1]))
    assert steps.shape == (rows, width * 4, samples)
    return steps.astype(np.uint8).tobytes()


def test_transparency_of_16_bits_lies_on_white(tmp_path: Path, looking: Eye) -> None:
    values = np.zeros((64, 64, 4), np.uint16)
    values[:, 32:, 3] = 65535
    (tmp_path / "a.tif").write_bytes(tiff_of(page_of(values, t338=(SHORT, [2]))))
    pixels = looking.row(tmp_path / "a.tif").pixels
    assert (pixels[32, 10].tolist(), pixels[32, 54].tolist()) == ([255] * 3, [0] * 3)


def test_lab_and_cmyk_keep_their_colors(tmp_path: Path, looking: Eye) -> None:
    lab = np.zeros((64, 64, 3), np.uint8)
    lab[:] = 138, 81, 70  # red in CIE L*a*b*, L of 255 steps
    (tmp_path / "lab.tif").write_bytes(tiff_of(page_of(lab, t262=(SHORT, [8]))))
    cmyk = np.zeros((64, 64, 4), np.uint16)
    cmyk[:] = 0, 65535, 65535, 0
    (tmp_path / "cmyk.tif").write_bytes(tiff_of(page_of(cmyk, t262=(SHORT, [5]))))
    for name in ("lab.tif", "cmyk.tif"):
        red, green, blue = looking.row(tmp_path / name).pixels[32, 32].tolist()
        assert (red > 220, green < 40, blue < 40) == (True, True, True), name


@pytest.mark.parametrize(
    ("resolution", "size"),
    [((204, 98), (192, 200)), ((98, 204), (400, 96)), ((204, 196), (192, 96)), ((3000, 10), (192, 96)), ((0, 0), (192, 96))],  # noqa: E501
)  # fmt: skip
def test_pixels_that_are_no_squares(
    tmp_path: Path, looking: Eye, resolution: tuple[int, int], size: tuple[int, int]
) -> None:
    across, down = resolution
    page = page_of(scan(), t282=(RATIONAL, [across, 1]), t283=(RATIONAL, [down, 1]))
    (tmp_path / "a.tif").write_bytes(tiff_of(page))
    assert looking.row(tmp_path / "a.tif").size == size
    page.tags[274] = (SHORT, [6])
    (tmp_path / "b.tif").write_bytes(tiff_of(page))
    assert looking.row(tmp_path / "b.tif").size == size[::-1]


def test_reduced_pages_and_masks_are_no_pages(tmp_path: Path, looking: Eye) -> None:
    small = page_of(scan(9)[::2, ::2], t254=(LONG, [1]))
    old_small = page_of(scan(9)[::2, ::2], t255=(SHORT, [2]))
    mask = page_of(scan(9), t254=(LONG, [4]), t262=(SHORT, [4]))
    (tmp_path / "a.tif").write_bytes(
        tiff_of(small, page_of(scan(1)), old_small, mask, page_of(scan(2), t254=(LONG, [2])))
    )
    for indexed in (True, False):
        rows = looking.rows(tmp_path / "a.tif", indexed=indexed)
        assert [row.kind for row in rows] == [None, None]
        for number, row in enumerate(rows, start=1):
            assert_shows(row.pixels, scan(number))
    (tmp_path / "b.tif").write_bytes(tiff_of(small))
    assert looking.row(tmp_path / "b.tif").size == (96, 48)  # there is nothing else


def test_an_odd_page_costs_one_row(tmp_path: Path, looking: Eye) -> None:
    raw_sensor = page_of(scan(), t262=(SHORT, [32803]))
    no_size = page_of(scan())
    del no_size.tags[257]
    no_data = page_of(scan())
    no_data.strips = []
    pages = (page_of(scan(1)), raw_sensor, no_size, no_data, page_of(scan(5)))
    (tmp_path / "a.tif").write_bytes(tiff_of(*pages))
    for indexed in (True, False):
        rows = looking.rows(tmp_path / "a.tif", indexed=indexed)
        assert [row.kind for row in rows] == [None, "malformed", "malformed", "truncated", None]
        assert_shows(rows[4].pixels, scan(5))


def test_an_odd_first_page_costs_one_row(tmp_path: Path, looking: Eye) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_of(page_of(scan(), t262=(SHORT, [32803])), page_of(scan(2))))
    first, second = looking.rows(tmp_path / "a.tif")
    assert (first.kind, second.kind) == ("malformed", None)
    assert_shows(second.pixels, scan(2))


def test_a_chain_that_comes_back_ends_there(tmp_path: Path, looking: Eye) -> None:
    data = bytearray(tiff_of(page_of(scan(1)), page_of(scan(2))))
    (first,) = struct.unpack_from("<I", data, 4)
    struct.pack_into("<I", data, len(data) - 4, first)
    (tmp_path / "a.tif").write_bytes(data)
    assert [row.kind for row in looking.rows(tmp_path / "a.tif")] == [None, None]


def test_more_pages_than_anybody_reads(tmp_path: Path, looking: Eye) -> None:
    count = 100_000
    entry = struct.pack("<HHII", 256, 3, 1, 9)
    links = [struct.pack("<H", 1) + entry + struct.pack("<I", 8 + 18 * (number + 1)) for number in range(count)]
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(links))
    (row,) = looking.rows(tmp_path / "a.tif")
    assert (row.kind, row.message) == ("too_large", "it has more than 65536 pages, which are not read")


def test_a_file_cut_between_its_pages_says_so(tmp_path: Path, looking: Eye) -> None:
    data = tiff_of(page_of(scan(1)), page_of(scan(2)), page_of(scan(3)))
    two = tiff_of(page_of(scan(1)), page_of(scan(2)))
    (tmp_path / "a.tif").write_bytes(data[: len(two) + 100])
    for indexed in (True, False):
        rows = looking.rows(tmp_path / "a.tif", indexed=indexed)
        assert [row.kind for row in rows] == [None, None, "truncated"]


def test_rubbish_behind_the_only_page_is_no_page(tmp_path: Path, looking: Eye) -> None:
    page = page_of(scan())
    page.next = 0x7F3A1299
    (tmp_path / "a.tif").write_bytes(tiff_of(page))
    assert_shows(looking.row(tmp_path / "a.tif").pixels, scan())


@pytest.mark.parametrize("depth", ["8", "16", "fax"])
def test_of_a_page_that_breaks_off_what_is_there(tmp_path: Path, looking: Eye, depth: str) -> None:
    path = tmp_path / "a.tif"
    expected = scan()
    page = page_of(scan() if depth == "8" else scan().astype(np.uint16) * 257)
    if depth == "fax":
        expected = np.where(scan() > 128, 255, 0).astype(np.uint8)
        page = fax_of(expected, path)
    data = tiff_of(page, strips_at=1000)
    path.write_bytes(data[: 1000 + int((len(data) - 1000) * 0.75)])
    row = looking.row(path)
    assert (row.notes, row.size) == (("truncated",), (WIDTH, HEIGHT))
    assert_shows(row.pixels[:32], expected[:32])
    assert row.pixels[-8:].min() == 255
    path.write_bytes(data[:1001])
    assert depth == "fax" or [row.kind for row in looking.rows(path)] == ["truncated"]


def fax_of(black_and_white: Pixels, path: Path) -> TiffPage:
    """Group 4, a strip for every 16 rows."""
    strips = []
    for y in range(0, HEIGHT, 16):
        Image.fromarray(black_and_white[y : y + 16]).convert("1").save(path, compression="group4")
        with Image.open(path) as picture:
            (place,), (size,) = picture.tag_v2[273], picture.tag_v2[279]
            photometric = picture.tag_v2[262]
        strips.append(path.read_bytes()[place : place + size])
    page = page_of(black_and_white, t258=(SHORT, [1]), t259=(SHORT, [4]), t262=(SHORT, [photometric]))
    page.strips = strips
    return page


def test_a_damaged_strip_costs_its_rows(tmp_path: Path, looking: Eye) -> None:
    path = tmp_path / "a.tif"
    rng = np.random.default_rng(0)
    noisy = (scan() - rng.integers(0, 40, scan().shape) * (scan() > 200)).astype(np.uint8)
    Image.fromarray(noisy).save(path, compression="tiff_lzw", strip_size=WIDTH * 16)
    data = bytearray(path.read_bytes())
    with Image.open(path) as opened:
        offsets, counts = opened.tag_v2[273], opened.tag_v2[279]
    assert len(offsets) == 6
    data[offsets[2] : offsets[2] + counts[2]] = b"\xff" * counts[2]
    path.write_bytes(data)
    row = looking.row(path)
    assert row.notes == ("damaged",)
    assert_shows(row.pixels[:32], noisy[:32])
    assert_shows(row.pixels[48:], noisy[48:])
    assert row.pixels[34:46].min() == 255


def test_a_fax_with_bits_that_cannot_be_right_is_told(tmp_path: Path, looking: Eye) -> None:
    path = tmp_path / "a.tif"
    black_and_white = np.where(scan() > 128, 255, 0).astype(np.uint8)
    page = fax_of(black_and_white, path)
    path.write_bytes(tiff_of(page))
    row = looking.row(path)
    assert row.notes == ()
    assert_shows(row.pixels, black_and_white)
    page.strips[0] = page.strips[0][:6] + b"\x03\xff\0\xa5\x5a" * 4 + page.strips[0][26:]
    path.write_bytes(tiff_of(page))
    assert looking.row(path).notes == ("damaged",)


def test_exif_of_a_page_is_not_needed(tmp_path: Path, looking: Eye) -> None:
    page = page_of(stored_as(scan(), 6), t274=(SHORT, [6]), t34665=(LONG, [0xFFFFFFF0]), t34853=(LONG, [3]))
    page.tags[700] = (7, [255] * 40)  # XMP
    page.tags[34675] = (7, [1] * 40)  # ICC
    (tmp_path / "a.tif").write_bytes(tiff_of(page))
    assert_shows(looking.row(tmp_path / "a.tif").pixels, scan())


@pytest.mark.parametrize("order", ORDERS)
def test_big_tiff_of_both_orders(tmp_path: Path, looking: Eye, order: str) -> None:
    pages = [page_of(scan(number), order) for number in (1, 2)]
    (tmp_path / "a.tif").write_bytes(tiff_of(*pages, order=order, big=True))
    rows = looking.rows(tmp_path / "a.tif")
    assert [row.kind for row in rows] == [None, None]
    assert_shows(rows[1].pixels, scan(2))


def test_a_page_of_many_is_opened_where_it_lies(
    tmp_path: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """Not by walking the chain to it again for every chunk."""
    count = amount(400, 5000)
    tiny = page_of(np.full((32, 32), 255, np.uint8))
    (tmp_path / "a.tif").write_bytes(tiff_of(*[tiny] * count))
    sandbox = Sandbox(SETTINGS)
    try:
        units = sandbox.probe(str(tmp_path / "a.tif"), "image")["units"]
    finally:
        sandbox.close()
    assert len(units) == count
    assert len({unit["index"] for unit in units}) == count
    figure(f"TIFF of {count} pages: {len(units)} units, each with its place")


SHARED: dict[str, dict[str, Any]] = {
    "orient6.tif": {"size": (600, 400), "mean": 240},
    "orient8_g4.tif": {"size": (600, 400), "mean": 240},
    "palette8.tif": {"size": (600, 400), "mean": 240},
    "g16_II_photo0.tif": {"size": (600, 400), "mean": 240},
    "f32nan_II.tif": {"size": (600, 400), "mean": 240},
    "pyramid.tif": {"size": (600, 400), "mean": 240},
    "fax_204x98.tif": {"size": (1728, 1099), "mean": 247},
}


@needs_samples
@pytest.mark.parametrize("name", SHARED)
def test_the_files_that_showed_the_faults(looking: Eye, name: str) -> None:
    row = looking.row(shared(f"faults/documents/pictures/{name}"))
    assert row.size == SHARED[name]["size"]
    assert row.mean == pytest.approx(SHARED[name]["mean"], abs=3)
    assert not row.facts["blank"]
    assert row.notes == ()
