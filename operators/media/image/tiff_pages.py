"""TIFF files: which of their directories are pages, and one page as a picture.

The chain of directories is walked here; Pillow gets every page as if it were the first, so that what is odd about one
costs no other. Reduced versions and masks (NewSubfileType, TIFF 6.0 page 36) are no pages.
"""

from __future__ import annotations

import io
import os
import struct
from functools import partial
from typing import Any

from PIL import Image

from operators.media.image.libtiff_errors import errors_told
from operators.media.image.stored import Loaded, Stored, check_share
from operators.media.image.tiff_blocks import (
    COLOR_MAP,
    COMPRESSION,
    LENGTH,
    PLANAR,
    RAISED,
    ROWS_PER_STRIP,
    SAMPLES,
    WIDTH,
    Page,
    block_pictures,
    lost_note,
    page_size,
)
from operators.media.image.tiff_samples import Layout, bytes_per_px, is_read_by_pillow, layout_of, load_samples
from operators.media.image.tiff_tags import Directory, form_of, orientation_of
from operators.media.image.upright import Size, on_white
from operators.media.source import Source
from schemas.errors import InputError

_SUBFILE_KIND, _OLD_SUBFILE_KIND = 254, 255
_REDUCED, _MASK = 1, 4
_OLD_REDUCED = 2
_X_RESOLUTION, _Y_RESOLUTION = 282, 283
_FAX = (2, 3, 4)
_MOST_DIRECTORIES = 1 << 16


class TiffPages:
    """An open TIFF."""

    def __init__(self, source: Source) -> None:
        """Raises InputError."""
        self._source = source
        self._file_bytes = source.size_bytes
        try:
            self._form, self._first = form_of(source.head(16))
        except ValueError as error:
            raise InputError("malformed", f"not a readable picture: {error}") from error

    def planned(self) -> list[tuple[Stored | InputError, str | None]]:
        """Raises InputError."""
        pages, fault = self._pages()
        planned: list[tuple[Stored | InputError, str | None]] = []
        for page in pages:
            try:
                planned.append((self._stored(page), str(page.offset)))
            except InputError as error:
                if len(pages) == 1:
                    raise
                planned.append((error, str(page.offset)))
        if fault is not None:
            planned.append((fault, str(self._file_bytes)))
        return planned

    def stored(self, page: int | None, index: str | None) -> Stored:
        """Raises InputError."""
        if index is not None:
            return self._stored(self._directory(int(index)))
        pages, fault = self._pages()
        number = page or 1
        if number > len(pages):
            raise fault or InputError("malformed", f"it has {len(pages)} pages by now")
        return self._stored(pages[number - 1])

    def _directory(self, offset: int) -> Directory:
        """Raises InputError."""
        try:
            return Directory(self._read, self._form, offset)
        except (ValueError, struct.error, OSError, OverflowError) as error:
            kind = "truncated" if offset >= self._file_bytes else "malformed"
            raise InputError(kind, f"not a readable picture: {error}") from error

    def _read(self, size: int, offset: int) -> bytes:
        return os.pread(self._source.fd, size, offset) if offset < self._file_bytes else b""

    def _pages(self) -> tuple[list[Directory], InputError | None]:
        """The pages, and why there are no more where their chain breaks off. Raises InputError where there are none."""
        directories: list[Directory] = []
        seen: set[int] = set()
        offset, fault = self._first, None
        while offset and offset not in seen:
            if len(seen) == _MOST_DIRECTORIES:
                raise InputError("too_large", f"it has more than {_MOST_DIRECTORIES} pages, which are not read")
            seen.add(offset)
            try:
                directories.append(self._directory(offset))
            except InputError as error:
                # some writers leave anything there behind their only page
                is_meant = len(directories) != 1 or self._file_bytes < offset < 4 * self._file_bytes
                fault = error if is_meant else None
                break
            offset = directories[-1].next
        if not directories:
            raise fault or InputError("malformed", "not a readable picture: it has no page")
        pages = [directory for directory in directories if not _is_derived(directory)]
        return pages or [max(directories, key=_area)], fault

    def _stored(self, directory: Directory) -> Stored:
        """Raises InputError."""
        size = page_size(directory)
        layout = layout_of(directory)
        if layout is not None and not is_read_by_pillow(layout):
            load, px_bytes = partial(self._load_samples, directory, layout), bytes_per_px(layout)
        else:
            # the picture, and the strip that is being decoded
            rows = min(directory.integer(ROWS_PER_STRIP, size[1]), size[1])
            px_bytes = 4 + (4 * rows / size[1] if directory.integer(COMPRESSION, 1) != 1 else 0)
            load = partial(self._load_page, directory, layout)
        return Stored(size, load, orientation_of(directory), _pixel_sides(directory), px_bytes)

    def _load_samples(self, directory: Directory, layout: Layout, _needed: Size) -> Loaded:
        return load_samples(directory, layout, self._read, self._file_bytes)

    def _load_page(self, directory: Directory, layout: Layout | None, needed: Size) -> Loaded:
        try:
            with Page(io.BufferedReader(_FromPage(self._source, directory))) as page:
                if directory.integer(COMPRESSION, 1) in _FAX:
                    with errors_told() as errors:
                        page.load()
                    return Loaded(page, ("damaged",) if errors else ())
                page.load()
                _narrow_palette(page, directory)
                return Loaded(page)
        except RAISED as error:
            if layout is not None:
                return self._load_samples(directory, layout, needed)
            return self._load_blocks(directory, error)

    def _load_blocks(self, directory: Directory, error: Exception) -> Loaded:
        """What is there of a damaged page, on white. error: is raised where nothing is."""
        if directory.integer(PLANAR, 1) == 2 and directory.integer(SAMPLES, 1) > 1:
            raise error
        width, height = page_size(directory)
        result = Image.new("RGB", (width, height), "white")
        there_px = 0
        for block, picture in block_pictures(directory, self._read, self._file_bytes):
            try:
                if picture is None:
                    continue
                picture.load()
                _narrow_palette(picture, directory)
                result.paste(on_white(picture), (block.x, block.y))
            except RAISED:
                continue  # the others are read
            there_px += min(picture.width, block.size[0]) * min(picture.height, block.size[1])
        note = lost_note(directory, self._file_bytes)
        if not there_px:
            raise InputError("truncated" if note == "truncated" else "malformed", f"not a readable picture: {error}")
        check_share(there_px / (width * height))
        return Loaded(result, (note,))


class _FromPage(io.RawIOBase):
    """The file, with a header that says that its first page is another. libtiff goes by the descriptor, and by where
    that page lies."""

    def __init__(self, source: Source, directory: Directory) -> None:
        self._source = source
        form = directory.form
        head = source.head(16 if form.big else 8)
        link = struct.pack(form.order + ("Q" if form.big else "I"), directory.offset)
        self._head = head[: len(head) - len(link)] + link
        self._place = 0
        self._copy = os.dup(source.fd)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._copy

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_CUR: self._place, os.SEEK_END: self._source.size_bytes}.get(whence, 0)
        if not 0 <= start + offset < 1 << 62:
            raise ValueError("a place outside of the file")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._copy, len(view), self._place)
        begun = self._head[self._place :][: len(data)]
        view[: len(data)] = begun + data[len(begun) :]
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._copy)
        super().close()


def _narrow_palette(page: Image.Image, directory: Directory) -> None:
    """Colors that a writer put as 8 bits into the fields of 16, as libtiff takes them too."""
    colors = directory.values(COLOR_MAP) if page.mode in ("P", "PA") else ()
    if colors and max(colors) < 1 << 8:
        count = len(colors) // 3
        entries = [int(colors[channel * count + color]) for color in range(count) for channel in range(3)]
        page.putpalette(entries, "RGB")


def _is_derived(directory: Directory) -> bool:
    kind = directory.integer(_SUBFILE_KIND, 0)
    return bool(kind & (_REDUCED | _MASK)) or directory.integer(_OLD_SUBFILE_KIND, 0) == _OLD_REDUCED


def _area(directory: Directory) -> int:
    return directory.integer(WIDTH, 0) * directory.integer(LENGTH, 0)


def _pixel_sides(directory: Directory) -> tuple[float, float]:
    across, down = directory.values(_X_RESOLUTION), directory.values(_Y_RESOLUTION)
    return (1 / across[0], 1 / down[0]) if across and down and min(across[0], down[0]) > 0 else (1.0, 1.0)
