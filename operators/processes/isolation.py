"""Lock a child down before it meets a stranger's file: it keeps the descriptors that it has, its libraries to read, and
the processor. Knows nothing of decoders; Linux only.

Each wall stands alone: Landlock takes the files away, a filter the system calls, a namespace the network, limits the
rest; what is taken cannot be had again. No wall needs root. What this machine cannot give is named.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from operators.processes import landlock, seccomp
from schemas.checkout import ROOT

LACKS = {
    "landlock": "the kernel has no Landlock: a decoder that a file takes over could read what this user can",
    "landlock-partial": f"Landlock is older than ABI {landlock.WHOLE_ABI}: signals, sockets and devices are kept from "
    "decoders by the filter of system calls alone",
    "capabilities": "libraries lie in the home of another user: the decoders of a root keep its right to read "
    "everything, and Landlock alone bounds it",
    "seccomp": "no filter of system calls: a decoder that a file takes over could start programs, and signal this "
    "user's other processes",
    "network-namespace": "no user namespace may be made here: the network is kept from decoders by the filter of "
    "system calls and Landlock alone",
    "thread-limit": "threads of decoders are bounded by their memory alone: the kernel limits them neither for root "
    "nor where no user namespace may be made",
}
"""What a machine may not give, and what that means."""

_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/local/lib", "/usr/local/lib64"),
    *("/etc/ld.so.cache", "/usr/share/zoneinfo", "/etc/localtime"),
    # where PDFium looks for what a document does not bring along
    *("/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/X11/fonts"),
)
_CODE = ("schemas", "model", "operators")
"""Of this checkout, what a child imports; inputs and outputs may lie beside it."""

_OPEN_FILES = 512
"""Those count too that a decoder has sent and nobody has taken yet, of all decoders together."""
_THREADS = 64
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _CLEAR_ALL = 24, 38, 47, 4
_CAP_DAC_READ_SEARCH, _CAPABILITY_VERSION_3 = 2, 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def lock_down(*, file: int | None = None) -> tuple[str, ...]:
    """For good. file: a descriptor of the one file that may be opened by name, /proc/self/fd/N. Which of LACKS this
    machine lacks. Raises OSError for what every kernel gives."""
    # a thread that is there already would keep what is taken from this one, and share its memory
    assert len(os.listdir("/proc/self/task")) == 1, "locked down too late"  # noqa: PTH208
    lacks = []
    is_root = os.getuid() == 0  # in a user namespace it is nobody
    reads_all = is_root and not _is_readable(file)
    own_users, own_network = _unshare_network(is_root=is_root, users=not reads_all)
    _limit_resources(threads=own_users and not is_root)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _drop_capabilities(keep=1 << _CAP_DAC_READ_SEARCH if reads_all else 0)
    if reads_all:
        lacks.append("capabilities")
    if landlock.abi() == 0 or not _restrict_files(file):
        lacks.append("landlock")
    elif landlock.abi() < landlock.WHOLE_ABI:
        lacks.append("landlock-partial")
    if not own_network:
        lacks.append("network-namespace")
    if is_root or not own_users:
        lacks.append("thread-limit")
    if not _filter_system_calls():
        lacks.append("seccomp")
    return tuple(lacks)


def readable() -> Iterator[Path]:
    """Libraries: those of the system, of the interpreter, and what a child imports of this checkout."""
    yield from map(Path, _SYSTEM)
    yield from (Path(prefix) / "lib" for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix})
    yield Path(os.__file__).parent
    yield from (Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages"))
    yield from map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)))
    yield from (ROOT / folder for folder in _CODE)


def _is_readable(file: int | None) -> bool:
    """Whether a root may read its libraries, and the file once more, without the right to read everything: it may not
    where they lie in the home of another."""
    folders = {folder for place in readable() if place.exists() for folder in (place, *place.resolve().parents)}
    statuses = [(folder.stat(), 0o001) for folder in folders] + ([(os.fstat(file), 0o004)] if file is not None else [])
    return all(status.st_uid == 0 or status.st_mode & needed for status, needed in statuses)


def _unshare_network(*, is_root: bool, users: bool) -> tuple[bool, bool]:
    """Whether it has a user namespace of its own, and a network of its own, in which nothing is up. users: whether it
    may have one of users."""
    # a root needs none of users; where it has lost the right, it may make one as others may
    if is_root and _libc.unshare(_CLONE_NEWNET) == 0:
        return False, True
    both = users and _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    return both, both


def _limit_resources(*, threads: bool) -> None:
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    # an answer is made in memory before it is written to a memfd: larger than this it cannot be
    memory_bytes, _ = resource.getrlimit(resource.RLIMIT_AS)
    if memory_bytes != resource.RLIM_INFINITY:
        _lower(resource.RLIMIT_FSIZE, memory_bytes)
    if threads:
        _lower(resource.RLIMIT_NPROC, _THREADS)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _drop_capabilities(*, keep: int) -> None:
    """Of every set. Who may not lower the bounding set can get nothing that it bounds."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    _libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    kept = (ctypes.c_uint32 * 6)(keep, keep)  # effective, permitted and inheritable: the lower half, then the upper
    _checked(_libc.capset(header, kept), "capset")


def _restrict_files(file: int | None) -> bool:
    try:
        landlock.allow_only_reading(readable(), file)
    except OSError:
        return False
    return True


def _filter_system_calls() -> bool:
    if not seccomp.available():
        return False
    with contextlib.suppress(OSError):
        seccomp.refuse_all_but_decoding()
        return True
    return False


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)
