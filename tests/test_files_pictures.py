"""Pictures with odd metadata, cut off or damaged, of odd sizes: what a viewer shows, and a word where it is not all."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from operators.media.image import images
from operators.media.image.stored import Loaded, Stored
from operators.media.image.tiff_pages import TiffPages
from operators.media.image.upright import on_white, shown_at
from operators.media.source import opened_file
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from tests.support.decoded import Eye, Pixels, eye
from tests.support.samples import needs_samples, shared

SETTINGS = DecodeSettings(image_min_px=32 * 32, image_max_px=512 * 512, timeout_s=120)
WIDTH, HEIGHT = 192, 96


@pytest.fixture(scope="module")
def looking() -> Iterator[Eye]:
    with eye(SETTINGS) as opened:
        yield opened


def scan() -> Image.Image:
    """Dark print on white, unlike itself however it is turned."""
    page = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(page)
    draw.text((8, 6), "The committee met", fill=0)
    draw.rectangle((8, 40, 60, 60), fill=96)
    draw.rectangle((150, 70, 180, 90), fill=0)
    return page.convert("RGB")


def noise(side_px: int = 256) -> Image.Image:
    grain = np.random.default_rng(0).integers(0, 200, (side_px, side_px, 3), np.uint8)
    return Image.fromarray(grain).resize((256, 256), Image.Resampling.BICUBIC)


def assert_shows(pixels: Pixels, expected: Image.Image, most: float = 2.0) -> None:
    assert pixels.shape == (expected.height, expected.width, 3)
    assert np.abs(pixels.astype(int) - np.asarray(expected).astype(int)).mean() < most


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_of(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def jpeg_of(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **{"quality": 92, "subsampling": 0, **options})
    return file.getvalue()


def with_chunk(png: bytes, added: bytes, place: str) -> bytes:
    """place: before or behind the pixels."""
    at = 33 if place == "before" else png.rindex(b"IEND") - 4
    return png[:at] + added + png[at:]


# metadata

ODD_CHUNKS = {
    "a text of 3 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 3_000_000)),
    "an international text of 3 MB": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"a" * 3_000_000)),
    "a profile of 1.5 MB": chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(1_500_000))),
    "a profile that is none": chunk(b"iCCP", b"ICC\0\7nonsense"),
    "a text with a wrong checksum": chunk(b"tEXt", b"Comment\0hello", 0x12345678),
    "a density with a wrong checksum": chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1), 1),
    "EXIF that is none": chunk(b"eXIf", b"no EXIF at all"),
    "EXIF with a wild offset": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "a profile of EXIF that is none": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  20\nzz"),
    "a text that is no Unicode": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0\xff\xfe\xff"),
    "gamma of no length": chunk(b"gAMA", b""),
    "a density of no length": chunk(b"pHYs", b"\0"),
    "text without a keyword": chunk(b"zTXt", b""),
}


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("kind", ODD_CHUNKS)
def test_what_lies_beside_a_png_does_not_cost_it(tmp_path: Path, looking: Eye, kind: str, place: str) -> None:
    (tmp_path / "a.png").write_bytes(with_chunk(png_of(scan()), ODD_CHUNKS[kind], place))
    row = looking.row(tmp_path / "a.png")
    assert_shows(row.pixels, scan(), 0.1)
    assert row.notes == ()


def exif_of(orientation: int, *entries: bytes, order: str = "<") -> bytes:
    """entries: 12 bytes each, behind the orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tags = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0), *entries
    start = mark + struct.pack(order + "IH", 8, len(tags))
    return start + b"".join(tags) + bytes(4)


ODD_TAGS = {
    "a negative number where none may be": struct.pack("<HHIi", 0x9286, 9, 1, -5),
    "text where a number belongs": struct.pack("<HHI4s", 282, 2, 4, b"abc\0"),
    "a type that is none": struct.pack("<HHII", 33434, 99, 1, 7),
    "a value outside of it": struct.pack("<HHII", 33434, 5, 1, 0xFFFFFFF0),
    "a count beyond all": struct.pack("<HHII", 33434, 5, 0xFFFFFFFF, 8),
    "an inner directory outside of it": struct.pack("<HHII", 34665, 4, 1, 0xFFFFFF00),
    "an inner directory that is itself": struct.pack("<HHII", 34665, 4, 1, 8),
}


@pytest.mark.parametrize("kind", ODD_TAGS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_picture_is_upright_whatever_else_its_exif_says(tmp_path: Path, looking: Eye, form: str, kind: str) -> None:
    stored = scan().transpose(Image.Transpose.ROTATE_90)  # what a camera held upright stores
    exif = exif_of(6, ODD_TAGS[kind])
    file = io.BytesIO()
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(form, {})
    stored.save(file, form, **options, **({} if form == "AVIF" else {"exif": b"Exif\0\0" + exif}))
    data = file.getvalue()
    if form == "AVIF":  # which says it in its own way; the plug-in only passes on what is good
        stored.save(file := io.BytesIO(), form, exif=exif_of(6))
        data = file.getvalue().replace(exif_of(6)[:24], exif[:24])
    (tmp_path / "a.bin").write_bytes(data)
    row = looking.row(tmp_path / "a.bin")
    assert row.size == (WIDTH, HEIGHT)
    assert_shows(row.pixels, scan(), 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "raw profile", "XMP"])
def test_every_orientation_of_every_format(tmp_path: Path, looking: Eye, form: str, orientation: int) -> None:
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = scan().transpose(back[orientation]) if orientation > 1 else scan()
    exif = exif_of(orientation, order=">")
    if form == "raw profile":
        text = f"\nexif\n{len(exif) + 6:8}\n{(b'Exif' + bytes(2) + exif).hex()}\n".encode()
        data = with_chunk(png_of(stored), chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)), "behind")
    elif form == "XMP":
        xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
        data = with_chunk(png_of(stored), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp), "behind")
    else:
        options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(form, {})
        stored.save(file := io.BytesIO(), form, exif=b"Exif\0\0" + exif, **options)
        data = file.getvalue()
    (tmp_path / "a.bin").write_bytes(data)
    row = looking.row(tmp_path / "a.bin")
    assert row.size == (WIDTH, HEIGHT)
    assert_shows(row.pixels, scan(), 4)


def test_segments_that_lead_astray_do_not_cost_a_jpeg(tmp_path: Path, looking: Eye) -> None:
    jpeg = jpeg_of(scan(), exif=b"Exif\0\0" + exif_of(1))
    odd = {
        "EXIF longer than the file": jpeg.replace(
            b"\xff\xe1" + jpeg[jpeg.index(b"\xff\xe1") + 2 :][:2], b"\xff\xe1\xff\xf0"
        ),
        "a JFIF segment of nothing": b"\xff\xd8\xff\xe0\0\2" + jpeg[2:],
        "an empty profile": b"\xff\xd8\xff\xe2\0\x10ICC_PROFILE\0\1" + jpeg[2:],
        "a profile of no number": b"\xff\xd8\xff\xe2\0\x0eICC_PROFILE\0" + jpeg[2:],
        "Adobe's of nothing": b"\xff\xd8\xff\xee\0\2" + jpeg[2:],
        "pictures of several that are none": b"\xff\xd8\xff\xe2\0\x08MPF\0II" + jpeg[2:],
    }
    for kind, data in odd.items():
        (tmp_path / "a.jpg").write_bytes(data)
        row = looking.row(tmp_path / "a.jpg")
        assert_shows(row.pixels, scan(), 3)
        assert row.notes == (), kind


# damage


def test_a_missing_end_marker_is_no_fault(tmp_path: Path, looking: Eye) -> None:
    for options in ({}, {"progressive": True}, {"subsampling": 2}):
        jpeg = jpeg_of(noise(64), **options)
        (tmp_path / "a.jpg").write_bytes(jpeg)
        full = looking.row(tmp_path / "a.jpg").pixels
        for cut in (1, 2):
            (tmp_path / "a.jpg").write_bytes(jpeg[:-cut])
            row = looking.row(tmp_path / "a.jpg")
            assert np.array_equal(row.pixels, full)
            assert row.notes == ()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_of_a_jpeg_that_breaks_off_what_is_there(tmp_path: Path, looking: Eye, mode: str, progressive: bool) -> None:
    jpeg = jpeg_of(noise(64).convert(mode), progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    full = looking.row(tmp_path / "a.jpg").pixels.astype(int)
    (tmp_path / "a.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    row = looking.row(tmp_path / "a.jpg")
    assert (row.notes, row.size) == (("truncated",), (256, 256))
    if not progressive:
        assert np.array_equal(row.pixels[:104], full[:104])
        assert np.ptp(row.pixels[-64:].reshape(-1, 3), axis=0).max() == 0  # of one color, and no rubbish
    (tmp_path / "a.jpg").write_bytes(jpeg[: len(jpeg) - len(jpeg) // 30])
    assert looking.row(tmp_path / "a.jpg").notes == ("truncated",)


def test_of_a_jpeg_next_to_nothing_is_a_failure(tmp_path: Path, looking: Eye) -> None:
    jpeg = jpeg_of(noise())
    start = jpeg.index(b"\xff\xda")
    for cut in (start + 40, start - 30, 20):
        (tmp_path / "a.jpg").write_bytes(jpeg[:cut])
        assert [row.kind for row in looking.rows(tmp_path / "a.jpg")] == ["truncated"]


def test_a_large_jpeg_that_breaks_off_is_reduced_as_well(tmp_path: Path, looking: Eye) -> None:
    large = noise().resize((2048, 2048))
    jpeg = jpeg_of(large)
    (tmp_path / "a.jpg").write_bytes(jpeg[: len(jpeg) * 3 // 4])
    row = looking.row(tmp_path / "a.jpg")
    assert (row.notes, row.size) == (("truncated",), (2048, 2048))
    assert_shows(row.pixels[:360], large.resize((512, 512), Image.Resampling.BICUBIC).crop((0, 0, 512, 360)), 12)


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "PPM", "transparent PNG", "palette PNG"])
def test_of_a_picture_that_breaks_off_what_is_there(tmp_path: Path, looking: Eye, form: str) -> None:
    picture = noise()
    if form in ("GIF", "palette PNG"):
        picture = picture.quantize(200)
    if form == "transparent PNG":
        picture.putalpha(255)
    picture.save(file := io.BytesIO(), form.split()[-1], **({"interlace": 0} if form == "GIF" else {}))
    data = file.getvalue()
    (tmp_path / "a.bin").write_bytes(data[: len(data) * 6 // 10])
    row = looking.row(tmp_path / "a.bin")
    assert row.notes == ("truncated",)
    expected = picture.convert("RGB")
    there, lost = (slice(0, 128), slice(180, 256)) if form != "BMP" else (slice(128, 256), slice(0, 76))
    assert_shows(row.pixels[there], Image.fromarray(np.asarray(expected)[there]), 0.5)
    assert row.pixels[lost].min() == 255
    (tmp_path / "a.bin").write_bytes(data[: len(data) // 50 + (800 if form in ("GIF", "palette PNG") else 60)])
    assert [row.kind for row in looking.rows(tmp_path / "a.bin")] == ["truncated"]


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "JPEG2000"])
def test_what_gives_no_part_of_itself_says_that_it_breaks_off(tmp_path: Path, looking: Eye, form: str) -> None:
    noise().save(file := io.BytesIO(), form)
    for part in (0.2, 0.9):
        (tmp_path / "a.bin").write_bytes(file.getvalue()[: int(len(file.getvalue()) * part)])
        assert [row.kind for row in looking.rows(tmp_path / "a.bin")] == ["truncated"]


def interlaced_png(gray: Pixels) -> bytes:
    """Pillow writes none. Adam7 (PNG §8)."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [row for y, x, down, across in passes for row in gray[y::down, x::across]]
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 0)
    head = struct.pack(">IIBBBBB", gray.shape[1], gray.shape[0], 8, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_what_came_of_an_interlaced_picture_stands_for_the_rest(tmp_path: Path, looking: Eye, form: str) -> None:
    blurred = noise(16).convert("L")
    blurred.save(file := io.BytesIO(), "GIF", interlace=1)
    data = interlaced_png(np.asarray(blurred)) if form == "PNG" else file.getvalue()
    (tmp_path / "a.bin").write_bytes(data)
    assert_shows(looking.row(tmp_path / "a.bin").pixels, blurred.convert("RGB"), 0.5)
    (tmp_path / "a.bin").write_bytes(data[: len(data) * 6 // 10])
    row = looking.row(tmp_path / "a.bin")
    assert row.notes == ("truncated",)
    assert_shows(row.pixels, blurred.convert("RGB"), 12)


def test_pixels_of_a_png_that_are_damaged_are_told(tmp_path: Path, looking: Eye) -> None:
    png = bytearray(png_of(noise(), compress_level=0))
    at = png.index(b"IDAT") + 4
    wrong_crc = png.copy()
    end = at + int.from_bytes(png[at - 8 : at - 4], "big")
    wrong_crc[end : end + 4] = b"abcd"
    (tmp_path / "a.png").write_bytes(wrong_crc)
    row = looking.row(tmp_path / "a.png")
    assert row.notes == ("damaged",)
    assert_shows(row.pixels, noise(), 0.1)
    broken = bytearray(png_of(noise()))
    at = broken.index(b"IDAT") + 4 + 100_000
    broken[at : at + 400] = b"\xff" * 400
    (tmp_path / "a.png").write_bytes(broken)
    row = looking.row(tmp_path / "a.png")
    assert row.notes == ("damaged",)
    assert_shows(row.pixels[:100], noise().crop((0, 0, 256, 100)), 0.1)


def test_a_palette_with_a_wrong_checksum_is_read_and_told(tmp_path: Path, looking: Eye) -> None:
    png = bytearray(png_of(scan().quantize(16)))
    at = png.index(b"PLTE") - 4
    size = int.from_bytes(png[at : at + 4], "big")
    png[at + 8 + size] ^= 0xFF
    (tmp_path / "a.png").write_bytes(png)
    row = looking.row(tmp_path / "a.png")
    assert row.notes == ("damaged",)
    assert_shows(row.pixels, scan(), 6)


# frames


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "AVIF"])
def test_every_frame_of_an_animation_is_a_unit(tmp_path: Path, looking: Eye, form: str) -> None:
    frames = [Image.new("RGB", (64, 64), color) for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    frames[0].save(tmp_path / "a.bin", form, save_all=True, append_images=frames[1:], duration=100)
    rows = looking.rows(tmp_path / "a.bin")
    assert [int(row.pixels[32, 32].argmax()) for row in rows] == [0, 1, 2]


def test_frames_that_nobody_has_are_not_planned(tmp_path: Path, looking: Eye) -> None:
    png = with_chunk(png_of(scan()), chunk(b"acTL", struct.pack(">II", 0x7FFFFFFF, 0)), "before")
    (tmp_path / "a.png").write_bytes(png)
    rows = looking.rows(tmp_path / "a.png")
    assert len(rows) == 1
    assert rows[0].kind in (None, "too_large")


# sizes


def test_pixels_that_are_no_squares(tmp_path: Path, looking: Eye) -> None:
    density = chunk(b"pHYs", struct.pack(">IIB", 2000, 1000, 0))
    (tmp_path / "a.png").write_bytes(with_chunk(png_of(scan()), density, "before"))
    assert looking.row(tmp_path / "a.png").size == (WIDTH, 2 * HEIGHT)
    near = chunk(b"pHYs", struct.pack(">IIB", 2834, 2835, 1))
    (tmp_path / "a.png").write_bytes(with_chunk(png_of(scan()), near, "before"))
    assert looking.row(tmp_path / "a.png").size == (WIDTH, HEIGHT)
    scan().save(tmp_path / "a.bmp", dpi=(98, 204))
    assert looking.row(tmp_path / "a.bmp").size == (round(WIDTH * 204 / 98), HEIGHT)
    scan().save(tmp_path / "a.jpg", dpi=(204, 98))
    assert looking.row(tmp_path / "a.jpg").size == (WIDTH, round(HEIGHT * 204 / 98))
    scan().save(tmp_path / "a.jpg", dpi=(1, 4))
    assert looking.row(tmp_path / "a.jpg").size == (WIDTH, HEIGHT)


def test_a_thin_picture_says_that_it_is_thin(tmp_path: Path, looking: Eye) -> None:
    Image.new("L", (2000, 5)).save(tmp_path / "a.png")
    (row,) = looking.rows(tmp_path / "a.png")
    assert (row.kind, row.message) == ("too_large", "2000 x 5 px: one side is more than 200 times the other")


MODES = {"RGB": (2, 3, 8), "RGBA": (6, 4, 8), "L": (0, 1, 8), "LA": (4, 2, 8), "I;16": (0, 2, 16), "RGB;16": (2, 6, 16)}


def large_png(side_px: int, mode: str) -> bytes:
    color, size, bits = MODES[mode]
    packer = zlib.compressobj(1)
    row = b"\0" + bytes([200, 100, 50, 128, 60, 70][:size]) * side_px
    data = b"".join([*(packer.compress(row) for _ in range(side_px)), packer.flush()])
    head = struct.pack(">IIBBBBB", side_px, side_px, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", MODES)
def test_what_max_source_px_admits_memory_mb_holds(
    tmp_path: Path, mode: str, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """Whole: 178 megapixels in the default memory. Small: a sixteenth of the pixels in a sixteenth of what is left."""
    side_px, memory_mb = amount(3340, 13_370), amount(220 + 120, 2048)
    (tmp_path / "a.png").write_bytes(large_png(side_px, mode))
    settings = DecodeSettings(memory_mb=memory_mb, timeout_s=280, image_max_px=amount(1 << 20, 1 << 24))
    with eye(settings) as bounded:
        row = bounded.row(tmp_path / "a.png")
    assert row.size == (side_px, side_px)
    figure(f"{mode} of {side_px} x {side_px}: decoded in {memory_mb} MB")


def test_what_memory_does_not_hold_is_refused_with_its_key(tmp_path: Path) -> None:
    scan().resize((4000, 3000)).save(tmp_path / "a.webp", quality=10)
    with eye(DecodeSettings(memory_mb=300, image_max_px=1 << 18, timeout_s=60)) as bounded:
        (row,) = bounded.rows(tmp_path / "a.webp")
    assert row.kind == "too_large"
    assert row.message.startswith("4000 x 3000 pixels take ")
    assert row.message.endswith("memory_mb allows 300")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "1"])
def test_in_bands_as_at_once(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    picture = noise().resize((331, 257)).convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(scan().convert("L").resize((331, 257)))
    at_once = shown_at(picture, (160, 96), 6)
    monkeypatch.setattr("operators.media.image.upright._AT_ONCE_PX", 331 * 40)
    in_bands = shown_at(picture, (160, 96), 6)
    assert np.abs(np.asarray(at_once).astype(int) - np.asarray(in_bands)).max() <= 1


def test_a_color_that_stands_for_nothing_lies_on_white() -> None:
    picture = Image.new("RGB", (8, 8), (1, 2, 3))
    picture.info["transparency"] = (1, 2, 3)
    assert np.asarray(on_white(picture)).min() == 255


# errors


def test_whatever_a_picture_raises_costs_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("L", (64, 64), level) for level in (10, 20, 30)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    stored = TiffPages._stored

    def odd(self: TiffPages, directory: Any) -> Stored:
        whole = stored(self, directory)

        def load(needed: tuple[int, int]) -> Loaded:
            loaded = whole.load(needed)
            if np.asarray(loaded.picture)[0, 0] == 20:
                raise RecursionError("of a library")
            return loaded

        return Stored(whole.size, load)

    monkeypatch.setattr(TiffPages, "_stored", odd)
    with opened_file(tmp_path / "a.tif") as source:
        results = list(images.decode(source, images.probe(source, SETTINGS), SETTINGS))
    assert [type(result) for result in results] == [Decoded, InputError, Decoded]
    assert str(results[1]) == "not a readable picture: of a library"


def test_a_probe_raises_nothing_but_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_: object) -> list[Planned]:
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr(TiffPages, "planned", odd)
    scan().save(tmp_path / "a.tif")
    with opened_file(tmp_path / "a.tif") as source, pytest.raises(InputError) as raised:
        images.probe(source, SETTINGS)
    assert raised.value.kind == "malformed"


# the files that showed the faults

SHARED: dict[str, tuple[tuple[int, int], float]] = {
    "exif6_neg_slong.jpg": ((600, 400), 240),
    "ztxt_2mb.png": ((600, 400), 240),
    "crc_text.png": ((600, 400), 240),
    "exif_garbage.png": ((600, 400), 240),
    "plain.png": ((600, 400), 240),
    "no_eoi.jpg": ((600, 400), 240),
    "photo.jfif": ((600, 400), 240),
    "photo.avif": ((600, 400), 240),
}


@needs_samples
@pytest.mark.parametrize("name", SHARED)
def test_the_files_that_showed_the_faults(tmp_path: Path, looking: Eye, name: str) -> None:
    path = tmp_path / "a.png"  # of a name that lets it pass as a picture
    path.write_bytes(shared(f"faults/documents/pictures/{name}").read_bytes())
    row = looking.row(path)
    assert row.size == SHARED[name][0]
    assert row.mean == pytest.approx(SHARED[name][1], abs=3)
    assert row.notes == ()


def test_pillow_still_gives_up_what_is_read_here(tmp_path: Path) -> None:
    """Else what works around it may go."""
    data = with_chunk(png_of(scan()), ODD_CHUNKS["a text of 3 MB"], "before")
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(data)).load()
    assert PngImagePlugin.MAX_TEXT_CHUNK < 3_000_000
