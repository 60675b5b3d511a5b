"""Directories of tags as TIFF and EXIF have them: which there are and what is in them, without a look at any picture.

Believes no count and no offset: what lies outside of the data reads as nothing, a chain ends where it comes back to
itself. Classic TIFF and BigTIFF of both byte orders (TIFF 6.0 §2; BigTIFF by its designers' notes).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Read: TypeAlias = Callable[[int, int], bytes]
"""(size, offset) -> bytes, fewer where the data ends."""

_TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "c", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
_TYPES |= {16: "Q", 17: "q", 18: "Q"}
_RATIONALS = (5, 10)
_MOST_ENTRIES = 1 << 12
_MOST_VALUES = 1 << 21

ORIENTATION = 274


@dataclass(frozen=True)
class Entry:
    """data: the values as they lie in the file."""

    type: int
    count: int
    data: bytes


@dataclass(frozen=True)
class Form:
    """order: < or > of struct. big: BigTIFF."""

    order: str
    big: bool


class Directory:
    """The tags of one picture. next: offset of the directory behind it, 0 where there is none."""

    def __init__(self, read: Read, form: Form, offset: int) -> None:
        """Raises ValueError where there is none."""
        self.offset = offset
        self.form = form
        self._read = read
        order = form.order
        head, entry, link = ("Q", 20, "Q") if form.big else ("H", 12, "I")
        size = struct.calcsize(head)
        start = read(size, offset)
        if len(start) < size:
            raise ValueError(f"no directory at byte {offset}")
        (count,) = struct.unpack(order + head, start)
        if not 0 < count <= (_MOST_ENTRIES if form.big else 0xFFFF):
            raise ValueError(f"a directory of {count} tags at byte {offset}")
        data = read(count * entry + struct.calcsize(link), offset + size)
        there = len(data) // entry
        inner = "HHQ8s" if form.big else "HHI4s"
        self._entries = {
            tag: (kind, number, value)
            for tag, kind, number, value in struct.iter_unpack(order + inner, data[: min(count, there) * entry])
        }
        if not self._entries:
            raise ValueError(f"the directory at byte {offset} is cut off")
        tail = data[count * entry :]
        self.next: int = struct.unpack(order + link, tail)[0] if len(tail) == struct.calcsize(link) else 0
        self.is_cut = len(tail) < struct.calcsize(link)

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def entry(self, tag: int) -> Entry | None:
        """None where it is not there or lies outside of the data."""
        if tag not in self._entries:
            return None
        kind, count, value = self._entries[tag]
        if kind not in _TYPES or count > _MOST_VALUES:
            return None
        size = struct.calcsize("=" + _TYPES[kind]) * count
        if size > len(value):
            (place,) = struct.unpack(self.form.order + ("Q" if self.form.big else "I"), value)
            value = self._read(size, place)
        return Entry(kind, count, value[:size]) if len(value) >= size else None

    def values(self, tag: int) -> tuple[float, ...]:
        """Numbers; empty where there are none."""
        entry = self.entry(tag)
        if entry is None or _TYPES[entry.type] == "c":
            return ()
        numbers = struct.unpack(f"{self.form.order}{_TYPES[entry.type] * entry.count}", entry.data)
        if entry.type in _RATIONALS:
            return tuple(top / below if below else 0.0 for top, below in zip(numbers[::2], numbers[1::2], strict=True))
        return numbers

    def integer(self, tag: int, default: int) -> int:
        """The first of its values where that is a whole number."""
        values = self.values(tag)
        return values[0] if values and isinstance(values[0], int) else default


def form_of(head: bytes) -> tuple[Form, int]:
    """From the first 16 bytes: the form and the offset of the first directory. Raises ValueError."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise ValueError("no TIFF header")
    (version,) = struct.unpack(order + "H", head[2:4])
    if version == 43 and len(head) >= 16:
        return Form(order, big=True), struct.unpack(order + "Q", head[8:16])[0]
    return Form(order, big=False), struct.unpack(order + "I", head[4:8])[0]


def orientation_of(directory: Directory) -> int:
    """1 to 8 as EXIF counts; 1 where it says nothing that it could mean."""
    value = directory.integer(ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def exif_directory(exif: bytes) -> Directory | None:
    """The first directory of an EXIF block, however odd the others are; None where there is none."""
    start = exif.find(b"II*\0") if b"II*\0" in exif[:16] else exif.find(b"MM\0*")
    if not 0 <= start <= 16:
        return None
    data = exif[start:]
    try:
        form, offset = form_of(data[:16])
        return Directory(lambda size, at: data[at : at + size], form, offset)
    except (ValueError, struct.error):
        return None
