"""A tar as an index: what its members are called, where they lie, and how it ends. Extracts nothing, follows nothing.

Python's tarfile takes a header that is cut or broken for the end and says nothing, so that a damaged archive looks like
a shorter one. Read are ustar, GNU (long names, sizes in base 256, sparse members passed over) and pax (path, size); of
what a header says nothing is believed before its checksum is right, and no more than MOST_NAME_BYTES is held of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from schemas.errors import InputError

BLOCK = 512
MOST_NAME_BYTES = 1 << 20
"""Of a long name, or of all pax records of a member."""
MOST_TAIL_BYTES = 1 << 20
"""Of zeros after the end: writers fill their last record."""

_LARGE = 8**11
"""Sizes that a header has no digits for; its pax records say them."""

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""read(offset, size): that many bytes, fewer at the end of the file. Asked from front to back."""

_TYPES = {
    **dict.fromkeys((b"0", b"\0", b"7"), "file"),
    **dict.fromkeys((b"1", b"2"), "link"),
    **dict.fromkeys((b"3", b"4"), "device"),
    b"5": "folder",
    b"6": "pipe",
    b"S": "sparse file",
}
_WITHOUT_CONTENT = frozenset(("link", "device", "folder", "pipe"))
_OCTAL = re.compile(rb"[0-7]*")
_RECORD = re.compile(rb"([0-9]{1,8}) ([^=]+)=")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"(\xb5/\xfd": "zstd"}


@dataclass(frozen=True)
class Member:
    """name: as it stands there, bytes that are no UTF-8 as lone surrogates. offset: of its content in the archive.
    type: `file`, or what else it is."""

    name: str
    offset: int
    size_bytes: int
    type: str = "file"

    def fault(self) -> InputError | None:
        """Why it is nothing to read; None for a file under a name that stays in the archive."""
        if self.type != "file":
            return InputError("unknown_type", f"this member of the shard is a {self.type}")
        if "\0" in self.name or self.name.startswith("/") or ".." in self.name.split("/"):
            return InputError("malformed", "the name of this member leads out of the shard")
        return None


@dataclass(frozen=True)
class Damage:
    """Where and why an archive cannot be read on. offset: of the header that is not as it should be."""

    kind: Literal["truncated", "malformed", "empty_file"]
    message: str
    offset: int


class _Malformed(Exception):
    """A header that is none."""


@dataclass
class _Next:
    """What headers before a member's say of it; of several the first counts, as in Python's tarfile."""

    name: bytes | None = None
    size_bytes: int | None = None
    is_sparse: bool = False
    headers: int = 0


def read_members(read_at: ReadAt, size_bytes: int) -> Iterator[Member | Damage]:
    """Every member that is complete, in the order of the archive; after them the damage, if the archive does not end as
    one should. size_bytes: of all of it."""
    offset, ahead, is_tar = 0, _Next(), False
    if size_bytes == 0:
        yield Damage("empty_file", "the shard is empty", 0)
        return
    while True:
        start, block = offset, read_at(offset, BLOCK)
        if len(block) < BLOCK:
            rest = "within a header" if block or ahead.headers else "without the two empty blocks that end a tar"
            yield _damage("truncated", f"it ends {rest}", start)
            return
        if not any(block):
            yield from _end(read_at, start, size_bytes, ahead)
            return
        try:
            _check(block)
            is_tar = True
            kind, size = block[156:157], _number(block[124:136])
            offset += BLOCK
            if kind in b"xXgLK":
                if size > MOST_NAME_BYTES:
                    raise _Malformed(f"a header of {size} bytes")
                if offset + _padded(size) > size_bytes:
                    yield _damage("truncated", "it ends within a header", start)
                    return
                _take(kind, read_at(offset, size), ahead)
                offset += _padded(size)
                continue
            member, after = _member(block, kind, size, offset, ahead, read_at)
        except _Malformed as error:
            yield _damage("malformed", f"{error}" if is_tar else _no_tar(block), start)
            return
        if member.offset + member.size_bytes > size_bytes:
            shown = member.name.encode("utf-8", "replace").decode()[-200:]
            yield _damage("truncated", f"it ends within {shown!r}, which should have {member.size_bytes} bytes", start)
            return
        yield member
        offset, ahead = after, _Next()


def sequential(pieces: Callable[[int], Iterator[bytes]], size_bytes: int) -> ReadAt:
    """Of a file elsewhere, as it is read from front to back. pieces: those from an offset on. What is passed over is
    not fetched where it is much."""
    return _Sequential(pieces, size_bytes)


class _Sequential:
    _JUMP_BYTES = 16 << 20

    def __init__(self, pieces: Callable[[int], Iterator[bytes]], size_bytes: int) -> None:
        self._ask, self._size = pieces, size_bytes
        self._pieces: Iterator[bytes] = iter(())
        self._buffer = bytearray()
        self._start = -1

    def __call__(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self._size)
        if offset >= end:
            return b""
        if self._start < 0 or not self._start <= offset <= self._start + len(self._buffer) + self._JUMP_BYTES:
            self._pieces, self._start = self._ask(offset), offset
            self._buffer.clear()
        while self._start + len(self._buffer) < end and (piece := next(self._pieces, None)) is not None:
            self._buffer += piece
            self._drop(offset)
        self._drop(offset)
        return bytes(self._buffer[offset - self._start : end - self._start])

    def _drop(self, before: int) -> None:
        passed = min(before - self._start, len(self._buffer))
        del self._buffer[:passed]
        self._start += passed


def is_member(header: bytes, size_bytes: int) -> bool:
    """Whether this block can stand before the content of a file of that size: what lies there now was not put in the
    place of another archive."""
    try:
        _check(header)
        size = _number(header[124:136])
    except _Malformed:
        return False
    return _TYPES.get(header[156:157]) == "file" and (size == size_bytes or size_bytes >= _LARGE)


def _damage(kind: Literal["truncated", "malformed"], why: str, offset: int) -> Damage:
    return Damage(kind, f"the shard cannot be read from byte {offset} on: {why}", offset)


def _end(read_at: ReadAt, offset: int, size_bytes: int, ahead: _Next) -> Iterator[Damage]:
    """offset: of the first of the empty blocks."""
    second = read_at(offset + BLOCK, BLOCK)
    if ahead.headers:
        yield _damage("malformed", "a name without a member", offset)
    elif len(second) < BLOCK:
        yield _damage("truncated", "it ends with one of the two empty blocks that end a tar", offset)
    elif any(second):
        yield _damage("malformed", "an empty block where a header should stand", offset)
    else:
        after = offset + 2 * BLOCK
        tail = read_at(after, min(size_bytes - after, MOST_TAIL_BYTES)) if size_bytes > after else b""
        if tail.strip(b"\0") or size_bytes - after > MOST_TAIL_BYTES:
            yield _damage("malformed", "more follows its end; was another tar appended?", after)


def _check(block: bytes) -> None:
    """Raises for a header whose checksum is wrong."""
    stated, summed = _octal(block[148:156]), block[:148] + b" " * 8 + block[156:]
    # some writers took bytes for signed
    if stated != sum(summed) and stated != sum(byte - 256 * (byte > 127) for byte in summed):
        raise _Malformed("a header with a wrong checksum")


def _octal(digits: bytes) -> int:
    text = _text(digits).strip(b" ")
    if _OCTAL.fullmatch(text) is None:
        raise _Malformed("a header without numbers")
    return int(text or b"0", 8)


def _number(digits: bytes) -> int:
    """Octal, or in base 256 as GNU writes sizes from 8 GiB on."""
    if digits[0] == 0x80:
        return int.from_bytes(digits[1:], "big")
    if digits[0] & 0x80:
        raise _Malformed("a negative size")
    return _octal(digits)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(digits: bytes) -> bytes:
    return digits.split(b"\0", 1)[0]


def _member(block: bytes, kind: bytes, size: int, offset: int, ahead: _Next, read_at: ReadAt) -> tuple[Member, int]:
    """With the offset of the next header. offset: behind this header."""
    name = _text(block[:100])
    member_type = "folder" if kind == b"\0" and name.endswith(b"/") else _TYPES.get(kind, "special file")
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):  # GNU has times there
        name = prefix + b"/" + name
    if ahead.name is not None:
        name = ahead.name
    if ahead.is_sparse and member_type == "file":
        member_type = "sparse file"
    if kind == b"S":
        more = block[482] != 0
        while more:
            extension = read_at(offset, BLOCK)
            if len(extension) < BLOCK:
                break  # then its content is missing too
            offset, more = offset + BLOCK, extension[504] != 0
    if ahead.size_bytes is not None:
        if ahead.size_bytes != size and ahead.size_bytes < _LARGE and member_type == "file":
            member_type = "file of two sizes"
        size = ahead.size_bytes
    if member_type in _WITHOUT_CONTENT:
        size = 0
    return Member(name.decode("utf-8", "surrogateescape"), offset, size, member_type), offset + _padded(size)


def _take(kind: bytes, data: bytes, ahead: _Next) -> None:
    """A header that speaks of the next one."""
    ahead.headers += kind != b"g"
    if kind == b"L" and ahead.name is None:
        ahead.name = _text(data)
    if kind in b"xXg":
        records = _records(data)
        sparse = any(key.startswith(b"GNU.sparse.") for key in records)
        if kind == b"g":
            if sparse or records.keys() & {b"path", b"size"}:
                raise _Malformed("one name or size for all members")
            return
        ahead.is_sparse |= sparse
        if ahead.name is None and (name := records.get(b"path")):
            ahead.name = name.rstrip(b"/") or name
        if ahead.size_bytes is None and (size := records.get(b"size")):
            if re.fullmatch(rb"[0-9]{1,20}", size) is None:
                raise _Malformed("a size that is no number")
            ahead.size_bytes = int(size)


def _records(data: bytes) -> dict[bytes, bytes]:
    """Of a pax header: `length key=value\\n`, one after another."""
    records: dict[bytes, bytes] = {}
    place = 0
    while place < len(data) and data[place]:
        start = _RECORD.match(data, place)
        end = place + int(start[1]) if start is not None else 0
        if start is None or not start.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise _Malformed("pax records that are none")
        records[start[2]] = data[start.end() : end - 1]
        place = end
    return records


def _no_tar(block: bytes) -> str:
    packed = next((name for magic, name in _COMPRESSED.items() if block.startswith(magic)), None)
    return f"it is packed with {packed}; unpack it first" if packed else "it is no tar"
