"""A filter of system calls for a process that only reads, computes and answers over a socket that it has (seccomp(2)).

What is on the list goes through; the rest fails with EPERM, or with ENOSYS where a libc tries a young call first and
knows an older one. Linux on x86-64 and arm64; knows nothing of decoders.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from typing import TypeAlias

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH of linux/audit.h
_Call: TypeAlias = tuple[int | None, int | None]
"""Its numbers on the architectures above."""
_ALLOWED = """
read 0/63, write 1/64, readv 19/65, writev 20/66, pread64 17/67, pwrite64 18/68, preadv 295/69, close 3/57,
lseek 8/62, ftruncate 77/46, fstat 5/80, newfstatat 262/79, statx 332/291, statfs 137/43, fstatfs 138/44,
stat 4/-, lstat 6/-, access 21/-, faccessat 269/48, readlink 89/-, readlinkat 267/78, getdents 78/-,
getdents64 217/61, getcwd 79/17, dup 32/23, dup2 33/-, dup3 292/24, fadvise64 221/223, readahead 187/213,
memfd_create 319/279, sendto 44/206, sendmsg 46/211, recvfrom 45/207, recvmsg 47/212, shutdown 48/210,
getsockname 51/204, getpeername 52/205, getsockopt 55/209, poll 7/-, ppoll 271/73, select 23/-,
pselect6 270/72, epoll_create 213/-, epoll_create1 291/20, epoll_ctl 233/21, epoll_wait 232/-,
epoll_pwait 281/22, mmap 9/222, munmap 11/215, mremap 25/216, mprotect 10/226, madvise 28/233,
mincore 27/232, brk 12/214, futex 202/98, set_robust_list 273/99, rseq 334/293, set_tid_address 218/96,
gettid 186/178, membarrier 324/283, arch_prctl 158/-, sched_yield 24/124, sched_getaffinity 204/123,
sched_getparam 143/121, sched_getscheduler 145/120, getpriority 140/141, getcpu 309/168, rt_sigaction 13/134,
rt_sigprocmask 14/135, rt_sigreturn 15/139, rt_sigpending 127/136, rt_sigtimedwait 128/137,
rt_sigsuspend 130/133, sigaltstack 131/132, restart_syscall 219/128, clock_gettime 228/113,
clock_getres 229/114, clock_nanosleep 230/115, nanosleep 35/101, gettimeofday 96/169, time 201/-,
times 100/153, getrusage 98/165, getrlimit 97/163, sysinfo 99/179, uname 63/160, getrandom 318/278,
getpid 39/172, getppid 110/173, getuid 102/174, geteuid 107/175, getgid 104/176, getegid 108/177, exit 60/93,
exit_group 231/94
"""
"""Calls and their numbers on x86-64 and arm64, where there is one (asm/unistd_64.h, asm-generic/unistd.h)."""
# those that depend on an argument
_OPEN, _OPENAT = (2, None), (257, 56)
_FCNTL, _IOCTL, _CLONE = (72, 25), (16, 29), (56, 220)
_KILL, _TGKILL = (62, 129), (234, 131)
_PRCTL, _PRLIMIT = (157, 167), (302, 261)
_SECCOMP = (317, 277)

_YOUNG = 424
"""From here on numbers are the same everywhere, and no libc relies on the calls: Linux 5.1 and later."""
_X32 = 0x40000000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0o20000000  # the last of O_TMPFILE alone
_FCNTLS = (0, 1, 2, 3, 4, 1030, 1033, 1034)  # DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC, ADD_SEALS, GET_SEALS
_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_PRCTLS = (15, 16, 0x53564D41)  # SET_NAME, GET_NAME, SET_VMA
_THREAD = 0x00010000  # CLONE_THREAD
_NAMESPACES = 0x7E020000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_SET_MODE_FILTER, _TSYNC, _SPEC_ALLOW = 1, 1, 4


class Instruction(ctypes.Structure):
    """struct sock_filter: code, jumps where a comparison holds and where not, constant."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction)))


def available() -> bool:
    """Whether calls of this machine are known here; the kernel may still refuse a filter."""
    return platform.machine() in _ARCHITECTURES and sys.maxsize > 1 << 32


def refuse_all_but_decoding() -> None:
    """For all threads of this process, for good; no_new_privs must be set. Raises OSError where the kernel has none."""
    install(_program(os.getpid()))


def install(program: list[Instruction]) -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = (Instruction * len(program))(*program)
    compiled = _Program(len(program), instructions)
    number = _here(_SECCOMP)
    # without SPEC_ALLOW older kernels slow the process down, against guesses at memory that is its own anyway
    for flags in (_TSYNC | _SPEC_ALLOW, _TSYNC):
        if libc.syscall(number, _SET_MODE_FILTER, flags, ctypes.byref(compiled)) == 0:
            return
    raise OSError(ctypes.get_errno(), "seccomp")


def _program(pid: int) -> list[Instruction]:
    return [
        *_of_this_architecture(),
        *(instruction for call in _allowed() for instruction in _if_called(call, [_answer(_ALLOW)])),
        *_unless_any(_OPEN, 1, _WRITES),
        *_unless_any(_OPENAT, 2, _WRITES),
        *_where(_FCNTL, 1, _FCNTLS),
        *_where(_IOCTL, 1, _IOCTLS),
        *_where(_PRCTL, 0, _PRCTLS),
        *_where(_PRLIMIT, 0, (0, pid)),
        *_where(_KILL, 0, (pid,)),
        *_where(_TGKILL, 0, (pid,)),
        *_if_called(
            _CLONE,
            [
                *_argument(0),
                Instruction(_ANY_BIT, 2, 0, _NAMESPACES),
                Instruction(_ANY_BIT, 0, 1, _THREAD),
                _answer(_ALLOW),
                _refusal(errno.EPERM),
            ],
        ),
        Instruction(_AT_LEAST, 0, 1, _YOUNG),
        _refusal(errno.ENOSYS),
        _refusal(errno.EPERM),
    ]


def refusing(numbers: Iterable[int], error: int) -> list[Instruction]:
    """A program that lets everything through but those calls."""
    refused = [piece for number in numbers for piece in (Instruction(_EQUAL, 0, 1, number), _refusal(error))]
    return [*_of_this_architecture(), *refused, _answer(_ALLOW)]


def _allowed() -> Iterator[_Call]:
    for entry in _ALLOWED.split(","):
        numbers = entry.split()[1].split("/")
        x86, arm = (None if number == "-" else int(number) for number in numbers)
        yield x86, arm


def _here(call: _Call) -> int | None:
    return call[list(_ARCHITECTURES).index(platform.machine())]


def _of_this_architecture() -> list[Instruction]:
    """Numbers mean something else under another: whoever changes it is ended. Leaves the number loaded."""
    return [
        Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        Instruction(_EQUAL, 1, 0, _ARCHITECTURES[platform.machine()]),
        _answer(_KILL_PROCESS),
        Instruction(_LOAD, 0, 0, _NUMBER),
        *([Instruction(_AT_LEAST, 0, 1, _X32), _refusal(errno.ENOSYS)] if platform.machine() == "x86_64" else []),
    ]


def _if_called(call: _Call, block: list[Instruction]) -> list[Instruction]:
    """block: ends with an answer."""
    number = _here(call)
    return [] if number is None else [Instruction(_EQUAL, 0, len(block), number), *block]


def _where(call: _Call, argument: int, values: tuple[int, ...]) -> list[Instruction]:
    """Goes through where the argument is one of the values."""
    tests = [Instruction(_EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    return _if_called(call, [*_argument(argument), *tests, _refusal(errno.EPERM), _answer(_ALLOW)])


def _unless_any(call: _Call, argument: int, bits: int) -> list[Instruction]:
    test = Instruction(_ANY_BIT, 0, 1, bits)
    return _if_called(call, [*_argument(argument), test, _refusal(errno.EACCES), _answer(_ALLOW)])


def _argument(index: int) -> list[Instruction]:
    """Its lower half: the kernel itself looks at no more of these."""
    return [Instruction(_LOAD, 0, 0, _ARGUMENTS + 8 * index)]


def _answer(action: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, action)


def _refusal(error: int) -> Instruction:
    return _answer(0x00050000 | error)
