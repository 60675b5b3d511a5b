"""A decoder that a file has taken over: it stands in a decoder child's place, spawned and locked down as that is, and
tries to get out. Its input says what to try; it sends what came of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from operators.media import decoder_child
from operators.media.source import Source
from operators.processes.channel import Channel
from schemas.decode import DecodeSettings

_libc = ctypes.CDLL(None, use_errno=True)
_MOST_THREADS = 300
_RAW_CALLS = """
socket 41, socketpair 53, bind 49, connect 42, listen 50, accept 43, sendmmsg 307, fork 57, vfork 58,
execve 59, execveat 322, clone3 435, ptrace 101, process_vm_readv 310, process_vm_writev 311, kcmp 312,
pidfd_open 434, pidfd_getfd 438, pidfd_send_signal 424, rt_sigqueueinfo 129, rt_tgsigqueueinfo 297, tkill 200,
keyctl 250, add_key 248, request_key 249, bpf 321, perf_event_open 298, userfaultfd 323, io_uring_setup 425,
io_uring_enter 426, mount 165, umount2 166, pivot_root 155, chroot 161, unshare 272, setns 308, setuid 105,
setgid 106, setresuid 117, capset 126, open_tree 428, fsopen 430, open_by_handle_at 304, mknod 133, mkdir 83,
rmdir 84, unlink 87, unlinkat 263, rename 82, renameat2 316, link 86, symlink 88, chmod 90, fchmod 91,
chown 92, utimes 235, truncate 76, creat 85, setxattr 188, inotify_init1 294, fanotify_init 300, acct 163,
setrlimit 160, setpriority 141, sched_setscheduler 144, sched_setaffinity 203, migrate_pages 256, shmget 29,
msgget 68, semget 64, mq_open 240, timer_create 222, modify_ldt 154, iopl 172, init_module 175, kexec_load 246,
reboot 169, swapon 167, sethostname 170, settimeofday 164, personality 135, vhangup 153, seccomp 317,
syslog 103, quotactl 179, name_to_handle_at 303
"""
"""Calls and their numbers on x86-64, with arguments that mean nothing: a filter does not even look at those."""
RAW_CALLS = {name: int(number) for name, number in map(str.split, _RAW_CALLS.split(","))}


def tried(attempt: Callable[[], Any]) -> str:
    """`done`, or the name of the error."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except RuntimeError as error:  # can't start new thread
        return str(error)
    return "done"


def raw(number: int) -> str:
    """`done` where the kernel took it up, whatever it thought of the arguments."""
    result = _libc.syscall(number, -1, -1, -1, -1, -1, -1)
    code = errno.errorcode.get(ctypes.get_errno(), "") if result == -1 else ""
    return code if code in ("EPERM", "ENOSYS") else "done"


def filtered() -> bool:
    """Whether there is a filter at all: without one some of these calls would do what they are called."""
    return int(_libc.prctl(21, 0, 0, 0, 0)) == -1  # PR_GET_SECCOMP


def connect(family: int, kind: int, address: Any) -> None:
    with socket.socket(family, kind) as one:
        one.settimeout(5)
        one.connect(address)
        one.send(b"out")


def read(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.close(fd)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def execute() -> None:
    """In a fork where there may be one, or it would be the end of this program."""
    try:
        pid = os.fork()
    except OSError:
        os.execv("/bin/true", ["true"])
    if pid == 0:
        with contextlib.suppress(OSError):
            os.execv("/bin/true", ["true"])
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    if status:
        raise OSError(errno.EACCES, "it did not run")


def fork() -> None:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def own(parent: int) -> None:
    """Have the kernel send the parent a signal when something arrives here."""
    fcntl.fcntl(int(sys.argv[1]), fcntl.F_SETOWN, parent)


def large() -> None:
    memory = os.memfd_create("large")
    try:
        os.ftruncate(memory, 1 << 42)
    finally:
        os.close(memory)


def threads() -> int:
    """How many can be started, to 300."""
    stop = threading.Event()
    started: list[threading.Thread] = []
    while len(started) < _MOST_THREADS:
        thread = threading.Thread(target=stop.wait, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            break
        started.append(thread)
    stop.set()
    for thread in started:
        thread.join()
    return len(started)


def report(source: Source) -> dict[str, Any]:
    targets = json.loads(source.open().read())
    parent: int = targets["parent"]
    tcp, udp = ("127.0.0.1", targets["tcp"]), ("127.0.0.1", targets["udp"])
    return {
        "environment": dict(os.environ),
        "network": {
            "tcp": tried(lambda: connect(socket.AF_INET, socket.SOCK_STREAM, tcp)),
            "udp": tried(lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, udp)),
            "unix": tried(lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, targets["unix"])),
            "abstract": tried(lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + targets["abstract"])),
            "listen": tried(lambda: socket.create_server(("127.0.0.1", 0)).close()),
            "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()),
        },
        "reads": {path: tried(lambda path=path: read(path)) for path in targets["reads"]},  # type: ignore[misc]
        "lists": {path: tried(lambda path=path: os.scandir(path).close()) for path in targets["lists"]},  # type: ignore[misc]
        "writes": {path: tried(lambda path=path: write(path)) for path in targets["writes"]},  # type: ignore[misc]
        "victim": tried(lambda: os.remove(targets["victim"])),  # noqa: PTH107
        "libraries": {path: tried(lambda path=path: read(path)) for path in targets["libraries"]},  # type: ignore[misc]
        "itself": tried(lambda: os.pread(source.fd, 1, 0)),
        "link": tried(lambda: read(source.link)),
        "signals": {
            "kill": tried(lambda: os.kill(parent, 0)),
            "group": tried(lambda: os.kill(-targets["group"], 0)),
            "init": tried(lambda: os.kill(1, 0)),
            "owner": tried(lambda: own(parent)),
            "itself": tried(lambda: os.kill(os.getpid(), 0)),
        },
        "programs": {
            "fork": tried(fork),
            "exec": tried(execute),
            "spawn": tried(lambda: os.posix_spawn("/bin/true", ["true"], {})),
        },
        "limits": {
            "large": tried(large),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
            "parent": tried(lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (5, 5))),
        },
        "raw": {name: raw(number) for name, number in RAW_CALLS.items()} if targets["raw"] and filtered() else {},
        "threads": threads(),
        "terminal": tried(lambda: fcntl.ioctl(0, 0x5412, b"x")),  # TIOCSTI
    }


def _probe(channel: Channel, source: Source, media: str | None, settings: DecodeSettings) -> None:
    channel.send({"report": report(source)})


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    decoder_child._probe = _probe  # type: ignore[assignment]
    decoder_child.main()
