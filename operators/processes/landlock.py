"""Take the file system away from a process, but for what it is named to read (landlock(7)). Needs no rights; cannot be
undone or widened. Knows nothing of decoders.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same number on all machines
_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All that an ABI can take away: to read, write, execute, make, remove; from 2 on to move between folders, from 3 on to
shorten, from 5 on to speak to devices."""
_TCP, _SCOPES = 0b11, 0b11  # from ABI 4 on bind and connect; from 6 on abstract sockets and signals
WHOLE_ABI = 6
"""The first that takes away all that is asked here."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("fd", ctypes.c_int32))


def abi() -> int:
    """Of this kernel; 0 where there is none, or it is switched off or kept from us."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def allow_only_reading(places: Iterable[Path], file: int | None) -> None:
    """Of this process, which has one thread, everything but reading what lies beneath the places, and the file behind a
    descriptor. no_new_privs must be set. Raises OSError; then nothing is taken away."""
    version = abi()
    asked = _Ruleset(
        max(rights for since, rights in _FILE_RIGHTS.items() if since <= max(version, 1)),
        _TCP if version >= 4 else 0,
        _SCOPES if version >= 6 else 0,
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(asked), ctypes.c_size_t(size), 0))
    try:
        for place in places:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
                try:
                    _allow(ruleset, fd, _READ_FILE | (_READ_DIR if place.is_dir() else 0))
                finally:
                    os.close(fd)
        if file is not None:
            _allow(ruleset, file, _READ_FILE)
        _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, fd: int, rights: int) -> None:
    _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_Beneath(rights, fd)), 0))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
