"""An input, wherever it lies, as an open file of this machine: what a decoder gets. Knows no format of media.

What lies elsewhere is fetched into the cache of the node (cache.py), once for all that read it here. A part of a file
(a member of a tar shard, a cell of a table) comes as a file of its own, so that who reads it sees nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from operators.store.inputs.cache import Cache, node_cache
from operators.store.inputs.cell_address import is_cell as is_cell
from operators.store.inputs.origin import Origin
from operators.store.inputs.origin import origin_of as origin_of
from operators.store.inputs.rights import rights_kept
from operators.store.inputs.tar_input import is_place, local_member, reader, remote_member, remote_shard, shard_of
from operators.store.inputs.tar_members import ReadAt
from operators.store.retries import retries_of as retries_of
from schemas.address import is_remote
from schemas.errors import InputError, SpecError
from schemas.fetch import FetchSettings
from schemas.input_uri import path_of


@dataclass(frozen=True)
class OpenedInput:
    """fd: read-only. version: of what was read, to be read again; None for files of this machine that are no part of
    another."""

    fd: int
    version: str | None = None


@contextlib.contextmanager
def opened_input(
    address: str, version: str | None = None, settings: FetchSettings | None = None
) -> Iterator[OpenedInput]:
    """address: an input_uri. version: that it must have; None for any.

    Raises InputError: unknown_type for what is no file, not_found, permission, changed, unreachable, malformed,
    too_large; StoreLost where its store does not answer any more.
    """
    settings = settings or FetchSettings()
    with rights_kept(address, settings):
        opened = _opened(address, version, settings)
    try:
        yield opened
    finally:
        os.close(opened.fd)


def _opened(address: str, version: str | None, settings: FetchSettings) -> OpenedInput:
    is_object = is_remote(address) and version is not None and not is_place(version)
    if (inside := shard_of(address)) is not None and not is_object:
        return _member(address, *inside, version, settings)
    if is_cell(address, version):
        from operators.store.inputs.table_cells import opened_cell  # a library more, for who has no tables

        return OpenedInput(*opened_cell(address, version, partial(_full_file, settings=settings)))
    return OpenedInput(*_full_file(address, version, settings))


@contextlib.contextmanager
def opened_shard(address: str, settings: FetchSettings | None = None) -> Iterator[tuple[ReadAt, int, str]]:
    """All of a tar shard, to list its members: (what reads it, its size in bytes, its version). Raises as above."""
    if is_remote(address):
        with remote_shard(address, *_place(address, settings or FetchSettings())) as shard:
            yield shard
        return
    fd = open_local(path_of(address))
    try:
        yield reader(fd), os.fstat(fd).st_size, ""
    finally:
        os.close(fd)


def _member(address: str, shard: str, name: str, version: str | None, settings: FetchSettings) -> OpenedInput:
    if is_remote(address):
        return OpenedInput(*remote_member(address, shard, name, version, *_place(address, settings)))
    shard_fd = open_local(path_of(shard))
    try:
        return OpenedInput(*local_member(shard_fd, shard, name, version, node_cache()))
    finally:
        os.close(shard_fd)


def _full_file(address: str, version: str | None, settings: FetchSettings) -> tuple[int, str | None]:
    """A descriptor of a file, and its version. Raises as `opened_input` does."""
    if not is_remote(address):
        return open_local(path_of(address)), None
    origin, cache = _place(address, settings)
    size_bytes = None
    if version is None:
        entry = origin.stat(address)
        version, size_bytes = entry.version, entry.size_bytes
    fd = cache.fetched(f"{address}\n{version}", lambda: origin.pieces(address, version), size_bytes)
    return fd, version


def _place(address: str, settings: FetchSettings) -> tuple[Origin, Cache]:
    try:
        return origin_of(address, settings), node_cache()
    except SpecError as error:  # of one address in a table; those of the spec were looked at before
        raise InputError("not_found", str(error)) from error


def open_local(path: Path) -> int:
    """Raises InputError."""
    try:
        check_is_file(path.stat().st_mode)  # opening a device may already do something
        # what was put in its place meanwhile may be a pipe that nobody writes to
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise of_os(error) from error
    except ValueError as error:  # a NUL, a lone surrogate
        raise InputError("not_found", f"no file has such a name: {error}") from error
    try:
        check_is_file(os.fstat(fd).st_mode)
    except InputError:
        os.close(fd)
        raise
    return fd


def check_is_file(mode: int) -> None:
    """mode: st_mode. Raises InputError for what is read otherwise than a file, or never ends."""
    kind = next((name for is_kind, name in _NO_FILES.items() if is_kind(mode)), None)
    if kind is not None:
        raise InputError("unknown_type", f"this is a {kind}")


_NO_FILES = {
    stat.S_ISDIR: "folder",
    stat.S_ISFIFO: "pipe",
    stat.S_ISSOCK: "socket",
    stat.S_ISCHR: "device",
    stat.S_ISBLK: "device",
}


def of_os(error: OSError) -> InputError:
    return InputError(_KINDS.get(error.errno or 0, "malformed"), error.strerror or str(error))


_KINDS = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP), "not_found"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "permission"),
}
