"""TIFF pages of depths that Pillow does not read, or not as a viewer shows them: whole numbers of 1 to 64 bits, signed
or not, floats of 16 to 64, gray or in colors, the samples of a pixel together or in planes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from operators.media.image.depths import Values, range_of, to_8_bits
from operators.media.image.stored import Loaded, check_share
from operators.media.image.tiff_blocks import (
    BITS,
    COLOR_MAP,
    COMPRESSION,
    EXTRA_SAMPLES,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    RAISED,
    SAMPLE_FORMAT,
    SAMPLES,
    Block,
    Grid,
    block_bytes,
    grid_of,
    lost_note,
    page_size,
)
from operators.media.image.tiff_tags import Directory, Read
from schemas.errors import InputError

_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 8: 3}
"""Samples that stand for color, by photometric interpretation: white is zero, black is zero, RGB, a palette, CMYK,
CIE L*a*b*."""
_WHITE_IS_ZERO, _PALETTE, _LAB = 0, 3, 8
_UNPACKED = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions of bytes, whatever these mean: none, LZW, deflate, PackBits, LZMA, Zstandard."""
_PREDICTED = (5, 8, 32946, 34925, 50000)
_OF_NEIGHBORS, _OF_FLOATS = 2, 3
_SIGNED, _FLOAT, _UNDEFINED = 2, 3, 4
_PREMULTIPLIED, _STRAIGHT, _UNTOLD = 1, 2, -1
_MOST_SAMPLES = 16


@dataclass(frozen=True)
class Layout:
    """bits, kind: of every sample; kind as SampleFormat has it. samples: of a pixel, colors of them come first.
    together: of which a block holds all. photometric: what the colors mean."""

    bits: int
    kind: int
    samples: int
    colors: int
    together: int
    photometric: int

    @property
    def dtype(self) -> np.dtype[np.generic]:
        letter = {_SIGNED: "i", _FLOAT: "f"}.get(self.kind, "u")
        least = next(size for size in (1, 2, 4, 8) if self.bits <= 8 * size)
        return np.dtype(f"{letter}{max(least, 2) if letter == 'f' else least}")

    def row_bytes(self, width: int) -> int:
        return (width * self.together * self.bits + 7) // 8


def layout_of(directory: Directory) -> Layout | None:
    """None for what cannot be read so."""
    samples = directory.integer(SAMPLES, 1)
    photometric = directory.integer(PHOTOMETRIC, 2 if samples >= 3 else 1)
    bits = set(directory.values(BITS)) or {1}
    kinds = set(directory.values(SAMPLE_FORMAT)) or {1}
    if len(bits) > 1 or len(kinds) > 1 or photometric not in _COLORS:
        return None
    (depth,), (kind,) = (int(value) for value in bits), (int(value) for value in kinds)
    if kind not in (1, _SIGNED, _FLOAT, _UNDEFINED) or not _COLORS[photometric] <= samples <= _MOST_SAMPLES:
        return None
    if not 1 <= depth <= 64 or (kind == _FLOAT and depth not in (16, 24, 32, 64)):
        return None
    if photometric in (_PALETTE, _LAB) and (depth > 16 or (photometric == _LAB and depth not in (8, 16))):
        return None
    if directory.integer(COMPRESSION, 1) not in _UNPACKED:
        return None
    kind = 1 if kind == _UNDEFINED or photometric in (_PALETTE, _LAB) else kind
    together = 1 if directory.integer(PLANAR, 1) == 2 else samples
    return Layout(depth, kind, samples, _COLORS[photometric], together, photometric)


def is_read_by_pillow(layout: Layout) -> bool:
    """As bytes with a color in each, or as less of them; what is deeper it cuts off, or takes for something else."""
    if layout.kind != 1:
        return False
    return layout.bits == 8 or (layout.bits in (1, 2, 4) and layout.samples == 1)


def bytes_per_px(layout: Layout) -> float:
    return layout.dtype.itemsize * layout.samples + 2 * layout.colors + 4


def load_samples(directory: Directory, layout: Layout, read: Read, file_bytes: int) -> Loaded:
    """In mode L, RGB or CMYK, alpha on white, what is lost in white. Raises InputError."""
    width, height = page_size(directory)
    samples = np.zeros((height, width, layout.samples), layout.dtype)
    is_there = np.zeros((height, width), bool)
    grid = grid_of(directory, file_bytes)
    for block in grid.blocks:
        try:
            values = _block_values(directory, layout, read, grid, block)
        except RAISED:
            continue  # the others are read
        if values is None:
            continue
        columns, rows = block.size[0], min(block.size[1], values.shape[0])
        place = (slice(block.y, block.y + rows), slice(block.x, block.x + columns))
        samples[(*place, slice(block.plane, block.plane + layout.together))] = values[:rows, :columns]
        is_there[place] = True
    check_share(float(is_there.mean()))
    eight = _eight_bits(directory, layout, samples)
    if is_there.all():
        return Loaded(_picture(eight, layout))
    eight[~is_there] = 0 if layout.colors == 4 else 255
    return Loaded(_picture(eight, layout), (lost_note(directory, file_bytes),))


def _block_values(directory: Directory, layout: Layout, read: Read, grid: Grid, block: Block) -> Values | None:
    """[rows, columns, samples of a block]; None where it is not in the file."""
    width = grid.block[0] if grid.is_tiled else block.size[0]
    row_bytes = layout.row_bytes(width)
    data = block_bytes(directory, read, grid, block, row_bytes)
    if data is None:
        return None
    raw = np.frombuffer(data, np.uint8).reshape(-1, row_bytes)
    shape = (raw.shape[0], width, layout.together)
    predictor = directory.integer(PREDICTOR, 1) if directory.integer(COMPRESSION, 1) in _PREDICTED else 1
    if predictor == _OF_FLOATS and layout.kind == _FLOAT:
        return _of_floats(raw, layout, shape)
    numbers = unpacked(raw, layout.bits, directory.form.order, width * layout.together).reshape(shape)
    if predictor == _OF_NEIGHBORS:
        numbers = np.cumsum(numbers, axis=1, dtype=numbers.dtype)
        if layout.bits < 8 * numbers.dtype.itemsize:
            numbers &= numbers.dtype.type((1 << layout.bits) - 1)
    return _interpreted(numbers, layout)


def unpacked(raw: Values, bits: int, order: str, count: int) -> Values:
    """Unsigned numbers of that many bits, `count` from each row of bytes. Those that do not fill bytes follow each
    other from the highest bit on, whatever the order of bytes."""
    if bits in (8, 16, 32, 64):
        return raw[:, : count * bits // 8].copy().view(f"{order}u{bits // 8}").astype(f"u{bits // 8}")
    dtype = np.dtype(next(f"u{size}" for size in (1, 2, 4, 8) if bits <= 8 * size))
    numbers = np.zeros((raw.shape[0], count), dtype)
    if bits % 8 == 0:
        parts = raw[:, : count * bits // 8].reshape(raw.shape[0], count, bits // 8)
        for place in range(bits // 8):
            numbers = (numbers << dtype.type(8)) | parts[..., place if order == ">" else -1 - place].astype(dtype)
        return numbers
    for y, row in enumerate(raw):
        digits = np.unpackbits(row)[: count * bits].reshape(count, bits)
        for place in range(bits):
            numbers[y] = (numbers[y] << dtype.type(1)) | digits[:, place]
    return numbers


def _interpreted(numbers: Values, layout: Layout) -> Values:
    if layout.kind == _FLOAT:
        return float24(numbers) if layout.bits == 24 else numbers.view(f"f{layout.bits // 8}")
    if layout.kind == _SIGNED:
        spare = numbers.dtype.type(8 * numbers.dtype.itemsize - layout.bits)
        shifted: Values = (numbers << spare).view(layout.dtype) >> layout.dtype.type(spare)
        return shifted
    return numbers


def _of_floats(raw: Values, layout: Layout, shape: tuple[int, int, int]) -> Values:
    """Their bytes apart, the highest first, as differences (Adobe Photoshop TIFF Technical Note 3)."""
    rows, width, together = shape
    size = layout.bits // 8
    sums = np.cumsum(raw.reshape(rows, width * size, together), axis=1, dtype=np.uint8)
    planes = sums.reshape(rows, size, width * together)
    together_again = np.ascontiguousarray(planes.transpose(0, 2, 1)).reshape(rows, -1)
    return _interpreted(unpacked(together_again, layout.bits, ">", width * together).reshape(shape), layout)


def float24(numbers: Values) -> Values:
    """1 bit of sign, 7 of exponent (bias 63), 16 of fraction (Photoshop TIFF Technical Note 3)."""
    sign, exponent, fraction = numbers >> 23 & 1, numbers >> 16 & 0x7F, numbers & 0xFFFF
    exponent = np.where(exponent == 0x7F, 0xFF, np.where(exponent == 0, 0, exponent + 64))
    return (sign << 31 | exponent << 23 | fraction << 7).astype(np.uint32).view(np.float32)


def _eight_bits(directory: Directory, layout: Layout, samples: Values) -> Values:
    """[height, width, colors], on white."""
    colors = samples[..., : layout.colors]
    if layout.photometric == _PALETTE:
        return _looked_up(directory, colors[..., 0])
    if layout.photometric == _LAB:
        highest: Values = (colors >> colors.dtype.type(layout.bits - 8)).astype(np.uint8)
        return highest
    limits = range_of(colors, layout.bits)
    if layout.bits <= 8 and layout.kind == 1:
        limits = 0.0, float((1 << layout.bits) - 1)
    eight = to_8_bits(colors, limits)
    if layout.photometric == _WHITE_IS_ZERO:
        np.subtract(255, eight, out=eight)
    extra = directory.values(EXTRA_SAMPLES)
    kind = extra[0] if extra else _UNTOLD if layout.samples == 4 else 0
    if layout.samples > layout.colors and layout.colors < 4 and kind in (_PREMULTIPLIED, _STRAIGHT, _UNTOLD):
        opaque = 1.0 if layout.kind == _FLOAT else limits[1]
        alpha = to_8_bits(samples[..., layout.colors : layout.colors + 1], (0.0, opaque))
        _lay_on_white(eight, alpha, is_premultiplied=kind == _PREMULTIPLIED)
    return eight


def _looked_up(directory: Directory, places: Values) -> Values:
    """The colors of a palette, of 16 bits or, as some writers have it, of 8."""
    colors = np.array(directory.values(COLOR_MAP), np.int64)
    count = len(colors) // 3
    if not count:
        raise InputError("malformed", "not a readable picture: a palette without colors")
    table = colors[: 3 * count].reshape(3, count).T
    table = table >> 8 if table.max() > 255 else table
    looked_up: Values = table.astype(np.uint8)[np.minimum(places, count - 1)]
    return looked_up


def _lay_on_white(eight: Values, alpha: Values, *, is_premultiplied: bool) -> None:
    for y in range(eight.shape[0]):
        color, cover = eight[y].astype(np.uint32), alpha[y].astype(np.uint32)
        shown = color if is_premultiplied else (color * cover + 127) // 255
        eight[y] = np.minimum(shown + 255 - cover, 255)


def _picture(eight: Values, layout: Layout) -> Image.Image:
    if layout.photometric == _LAB:
        return Image.frombytes("LAB", (eight.shape[1], eight.shape[0]), eight.tobytes())
    if eight.shape[2] == 1:
        return Image.fromarray(eight[..., 0])
    if eight.shape[2] == 3:
        return Image.fromarray(eight)
    return Image.frombytes("CMYK", (eight.shape[1], eight.shape[0]), eight.tobytes())
