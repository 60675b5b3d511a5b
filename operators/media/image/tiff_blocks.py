"""The strips and tiles of a TIFF page one by one, each as a small TIFF of its own that libtiff unpacks.

For what Pillow does not read as a page: depths that it lacks, and pages with damage in some of their blocks.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import TiffImagePlugin

from operators.media.image.tiff_tags import Directory, Entry, Read
from operators.media.image.upright import Size
from schemas.errors import InputError

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
COLOR_MAP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES = 320, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339

RAISED = (OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error)
"""What Pillow raises for a TIFF that it cannot read."""

_COPIED: tuple[int, ...] = (
    BITS,
    COMPRESSION,
    PHOTOMETRIC,
    FILL_ORDER,
    SAMPLES,
    PLANAR,
    292,
    293,
    PREDICTOR,
    COLOR_MAP,
    EXTRA_SAMPLES,
)
_COPIED += (SAMPLE_FORMAT, 347, 512, 529, 530, 531, 532)
_MOST_BLOCKS = 1 << 17
_MOST_BLOCK_BYTES = 1 << 28


class Page(TiffImagePlugin.TiffImageFile):
    """The first page of a TIFF as it is stored: not turned, and without a look at its EXIF, either of which may
    raise."""

    def _setup(self) -> None:
        super()._setup()
        self._size = self._tile_size

    def load_end(self) -> None:
        pass


@dataclass(frozen=True)
class Block:
    """A strip or tile. x, y: of its corner; size: within the page. plane: of samples that are stored apart; else 0.
    offset, count: of its bytes in the file."""

    x: int
    y: int
    size: Size
    plane: int
    offset: int
    count: int


@dataclass(frozen=True)
class Grid:
    """block: size of a whole one, which tiles have even at the edge."""

    block: Size
    is_tiled: bool
    blocks: list[Block]


def page_size(directory: Directory) -> Size:
    """(width, height) as stored. Raises InputError."""
    size = directory.integer(WIDTH, 0), directory.integer(LENGTH, 0)
    if min(size) < 1 or max(size) > 1 << 24:
        raise InputError("malformed", f"not a readable picture: a page of {size[0]} x {size[1]} pixels")
    return size


def grid_of(directory: Directory, file_bytes: int) -> Grid:
    """Raises InputError."""
    width, height = page_size(directory)
    is_tiled = TILE_WIDTH in directory and TILE_LENGTH in directory
    if is_tiled:
        block_width, block_height = directory.integer(TILE_WIDTH, 0), directory.integer(TILE_LENGTH, 0)
    else:
        block_width, block_height = width, min(directory.integer(ROWS_PER_STRIP, height) or height, height)
    if min(block_width, block_height) < 1 or max(block_width, block_height) > 1 << 24:
        raise InputError("malformed", "not a readable picture: it has no strips or tiles")
    # some writers name tiles as strips
    as_tiles = is_tiled and TILE_OFFSETS in directory
    offsets = [int(value) for value in directory.values(TILE_OFFSETS if as_tiles else STRIP_OFFSETS)]
    counts = [int(value) for value in directory.values(TILE_BYTES if as_tiles else STRIP_BYTES)]
    across, down = math.ceil(width / block_width), math.ceil(height / block_height)
    planes = directory.integer(SAMPLES, 1) if directory.integer(PLANAR, 1) == 2 else 1
    if across * down * planes > _MOST_BLOCKS:
        raise InputError("too_large", f"a page of {across * down * planes} strips or tiles; at most {_MOST_BLOCKS}")
    blocks = []
    for number, offset in enumerate(offsets[: across * down * planes]):
        plane, place = divmod(number, across * down)
        y, x = place // across * block_height, place % across * block_width
        count = counts[number] if number < len(counts) else 0
        if not count:  # old writers leave it out
            behind = offsets[number + 1] if number + 1 < len(offsets) else file_bytes
            count = max(0, behind - offset)
        size = min(block_width, width - x), min(block_height, height - y)
        blocks.append(Block(x, y, size, plane, offset, count))
    return Grid((block_width, block_height), is_tiled, blocks)


def lost_note(directory: Directory, file_bytes: int) -> str:
    """Why some of its blocks cannot be read: their bytes lie behind the end of the file, or are no good."""
    blocks = grid_of(directory, file_bytes).blocks
    return "truncated" if any(block.offset + block.count > file_bytes for block in blocks) else "damaged"


def block_pictures(directory: Directory, read: Read, file_bytes: int) -> Iterator[tuple[Block, Page | None]]:
    """The blocks as pictures of the page's own mode, not loaded yet; None for one that is not in the file."""
    grid = grid_of(directory, file_bytes)
    copied = {tag: entry for tag in _COPIED if (entry := directory.entry(tag)) is not None}
    for block in grid.blocks:
        yield block, _opened(directory, grid, block, read, copied)


def block_bytes(directory: Directory, read: Read, grid: Grid, block: Block, row_bytes: int) -> bytes | None:
    """The samples of a block as they are packed, `row_bytes` for each of its rows; None where it is not in the file.
    Raises what Pillow raises. Differences between neighbors (PREDICTOR) are still in them."""
    order = directory.form.order
    as_bytes = {BITS: _short(order, 8), PHOTOMETRIC: _short(order, 1), SAMPLES: _short(order, 1)}
    for tag in (COMPRESSION, FILL_ORDER):
        if (entry := directory.entry(tag)) is not None:
            as_bytes[tag] = entry
    rows = grid.block[1] if grid.is_tiled else block.size[1]
    one_block = Grid((row_bytes, rows), is_tiled=False, blocks=[])
    picture = _opened(
        directory, one_block, Block(0, 0, (row_bytes, rows), 0, block.offset, block.count), read, as_bytes
    )
    if picture is None:
        return None
    picture.load()
    return picture.tobytes()


def _opened(directory: Directory, grid: Grid, block: Block, read: Read, tags: dict[int, Entry]) -> Page | None:
    if block.count > _MOST_BLOCK_BYTES:
        raise InputError("too_large", f"a strip of {block.count} bytes; at most {_MOST_BLOCK_BYTES} are read")
    data = read(block.count, block.offset)
    if not data:
        return None
    order = directory.form.order
    width, rows = block.size
    if len(data) < block.count and directory.integer(COMPRESSION, 1) == 1 and not grid.is_tiled:
        rows = len(data) * rows // block.count  # as many as there are
        if not rows:
            return None
    place_tags = {WIDTH: _long(order, width), LENGTH: _long(order, rows)}
    place, count = _long(order, 8), _long(order, len(data))
    if grid.is_tiled:
        place_tags |= {TILE_WIDTH: _long(order, grid.block[0]), TILE_LENGTH: _long(order, grid.block[1])}
        place_tags |= {TILE_OFFSETS: place, TILE_BYTES: count}
    else:
        place_tags |= {ROWS_PER_STRIP: _long(order, rows), STRIP_OFFSETS: place, STRIP_BYTES: count}
    return Page(io.BytesIO(_tiff(order, {**tags, **place_tags}, data)))


def _tiff(order: str, tags: dict[int, Entry], data: bytes) -> bytes:
    """data: of its only strip or tile, which lies at byte 8."""
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    behind = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, entry in sorted(tags.items()):
        value = entry.data.ljust(4, b"\0")
        if len(entry.data) > 4:
            value = struct.pack(order + "I", behind + len(values))
            values += entry.data + b"\0" * (len(entry.data) % 2)
        entries += struct.pack(order + "HHI", tag, entry.type, entry.count) + value
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "I", start)
    return head + data + struct.pack(order + "H", len(tags)) + entries + bytes(4) + values


def _short(order: str, value: int) -> Entry:
    return Entry(3, 1, struct.pack(order + "H", value))


def _long(order: str, value: int) -> Entry:
    return Entry(4, 1, struct.pack(order + "I", value))
