"""A member of a tar shard as a file of its own: `<shard>.tar#<member>`. Knows no format of media.

Its version says where it lies in which shard, `<version of the shard>@<offset>+<size>`, so that nobody looks for it
twice; without one the shard is read through for its name. Who opens it gets a copy: the shard is never in reach of a
decoder. Copies of small members have no name and are gone when they are closed; large ones, which several chunks ask
for, lie in the cache of the node.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from operators.store.inputs.cache import Cache
from operators.store.inputs.origin import Origin
from operators.store.inputs.tar_members import BLOCK, Damage, Member, ReadAt, is_member, read_members, sequential
from schemas.address import is_remote, tar_splits
from schemas.errors import InputError
from schemas.input_uri import path_of, text_of

COPIED_BYTES = 16 << 20
"""Larger ones are copied once for all who ask."""
CACHED_SHARE = 0.5
"""Of the cache: a shard that takes more of it is read through and not kept."""
_PIECE_BYTES = 8 << 20
_VERSION = re.compile(r"(?P<shard>.*)@(?P<offset>[0-9]{1,20})\+(?P<size>[0-9]{1,20})", re.DOTALL)


@dataclass(frozen=True)
class TarPlace:
    """shard: the version of the shard, empty for a file of this machine."""

    shard: str
    offset: int
    size_bytes: int

    @classmethod
    def of(cls, version: str) -> TarPlace:
        """Raises InputError."""
        if (parts := _VERSION.fullmatch(version)) is None:
            raise InputError("changed", f"this version is of no member of a shard: {version[:100]!r}")
        return cls(parts["shard"], int(parts["offset"]), int(parts["size"]))

    def __str__(self) -> str:
        return f"{self.shard}@{self.offset}+{self.size_bytes}"


def is_place(version: str) -> bool:
    """Whether it is a member's, and not that of an object whose key looks like one."""
    return _VERSION.fullmatch(version) is not None


def shard_of(address: str) -> tuple[str, str] | None:
    """(address of the shard, name of the member); None for what is no member of one. On this machine a file of just
    that name is that file, and of several shards that the address may mean the one that is there."""
    splits = list(tar_splits(address))
    if not splits or is_remote(address):
        return splits[0] if splits else None
    if os.path.lexists(path_of(address)):
        return None
    return next((split for split in splits if os.path.isfile(path_of(split[0]))), splits[0])  # noqa: PTH113


def local_member(shard_fd: int, shard: str, name: str, version: str | None, cache: Cache) -> tuple[int, str]:
    """(descriptor of the member, its version). shard_fd: of the shard, which stays open. Raises InputError."""
    state = os.fstat(shard_fd)
    if version is None:
        place = _place(reader(shard_fd), state.st_size, name, "")
    else:
        place = TarPlace.of(version)
        before = os.pread(shard_fd, BLOCK, place.offset - BLOCK) if place.offset >= BLOCK else b""
        is_there = place.offset + place.size_bytes <= state.st_size
        if not is_there or len(before) < BLOCK or not is_member(before, place.size_bytes):
            raise InputError("changed", f"{shard} was changed after it was listed")
    file = f"{state.st_dev} {state.st_ino} {state.st_mtime_ns}"
    return _copy(shard_fd, place, f"{shard}#{name}\n{file}\n{place}", cache), str(place)


def remote_member(
    address: str, shard: str, name: str, version: str | None, origin: Origin, cache: Cache
) -> tuple[int, str]:
    """As above. From the shard where this node has it, else it is fetched alone. Raises what the origin does."""
    if version is None:
        with remote_shard(shard, origin, cache) as (read_at, size_bytes, shard_version):
            place = _place(read_at, size_bytes, name, shard_version)
    else:
        place = TarPlace.of(version)
    shard_fd = cache.opened(f"{shard}\n{place.shard or None}")
    if shard_fd is not None:
        try:
            return _copy(shard_fd, place, f"{address}\n{place}", cache), str(place)
        finally:
            os.close(shard_fd)
    start, end = place.offset, place.offset + place.size_bytes
    if start == end:
        return cache.copied(iter(())), str(place)
    pieces = partial(origin.pieces, shard, place.shard or None, start, end)
    return cache.fetched(f"{address}\n{place}", pieces, place.size_bytes), str(place)


@contextlib.contextmanager
def remote_shard(shard: str, origin: Origin, cache: Cache) -> Iterator[tuple[ReadAt, int, str]]:
    """(what reads it, its size, its version). Fetched into the cache, or read from front to back where it would fill
    that. Raises what the origin does."""
    entry = origin.stat(shard)
    if entry.size_bytes is not None and entry.size_bytes > cache.most_bytes * CACHED_SHARE:
        pieces = partial(origin.pieces, shard, entry.version)
        yield sequential(pieces, entry.size_bytes), entry.size_bytes, entry.version or ""
        return
    fd = cache.fetched(f"{shard}\n{entry.version}", lambda: origin.pieces(shard, entry.version), entry.size_bytes)
    try:
        yield reader(fd), os.fstat(fd).st_size, entry.version or ""
    finally:
        os.close(fd)


def reader(fd: int) -> ReadAt:
    """Of an open file. It raises InputError."""

    def read_at(offset: int, size: int) -> bytes:
        try:
            return os.pread(fd, size, offset)
        except OSError as error:  # a disk that is failing
            raise InputError("malformed", f"the shard cannot be read: {error.strerror}") from error

    return read_at


def _place(read_at: ReadAt, size_bytes: int, name: str, shard_version: str) -> TarPlace:
    """Raises InputError where no member is called so, or several are, of which nobody knows which was meant."""
    named: list[Member] = []
    damage = ""
    for member in read_members(read_at, size_bytes):
        if isinstance(member, Damage):
            damage = f"; {member.message}"
        elif name in (member.name, text_of(member.name)):
            named.append(member)
    if not named:
        raise InputError("not_found", f"the shard has no such member{damage}")
    if len(named) > 1:
        raise InputError("malformed", f"the shard has {len(named)} members of this name")
    if (fault := named[0].fault()) is not None:
        raise fault
    return TarPlace(shard_version, named[0].offset, named[0].size_bytes)


def _copy(shard_fd: int, place: TarPlace, name: str, cache: Cache) -> int:
    if place.size_bytes > COPIED_BYTES:
        return cache.fetched(name, lambda: _pieces(shard_fd, place), place.size_bytes)
    return cache.copied(_pieces(shard_fd, place))


def _pieces(shard_fd: int, place: TarPlace) -> Iterator[bytes]:
    offset, end, read_at = place.offset, place.offset + place.size_bytes, reader(shard_fd)
    while offset < end:
        piece = read_at(offset, min(_PIECE_BYTES, end - offset))
        if not piece:
            raise InputError("changed", "the shard is shorter than it was")
        offset += len(piece)
        yield piece
