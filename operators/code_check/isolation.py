"""Isolate a process before it meets code that a model wrote: no network, no hold on other processes, and an end
that takes all that it started along. Linux namespaces (namespaces(7)); knows nothing of browsers.

A process in a network namespace of its own has no interface but a loopback that is down, so that not even a listener
on this machine's loopback hears it. The first process of a PID namespace is its init: when that ends, the kernel
kills everything else in it, whatever process groups and sessions were made there.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Literal

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_CLONE_NEWIPC = 0x08000000
_PR_SET_PDEATHSIG = 1
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 1 << 14, 1 << 18
_SCRATCH_MB = 512

NOBODY = 65534


def isolate(scratch: Path) -> Literal["namespaces", "browser"]:
    """Put this process into namespaces of its own, as the init of a PID namespace; call it before any thread starts.

    scratch: a folder that becomes a file system in memory, which only this process and its descendants see, of a
    bounded size, and gone when they are.

    Returns in a fork: the process that called stays outside, waits for the fork and ends as it ends. A root needs no
    user namespace for this and stays root; others get one in which they are who they were. Where the machine allows
    neither (a container without CAP_SYS_ADMIN and with the usual seccomp filter) nothing changes, and the answer is
    "browser": what runs here must be held by the browser's own means alone.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    flags = _CLONE_NEWNET | _CLONE_NEWPID | _CLONE_NEWIPC | _CLONE_NEWNS
    if libc.unshare(flags if uid == 0 else flags | _CLONE_NEWUSER) != 0:
        return "browser"
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    size = f"size={_SCRATCH_MB}m,mode=0711".encode()
    libc.mount(b"tmpfs", os.fsencode(scratch), b"tmpfs", _MS_NOSUID | _MS_NODEV, size)
    ours = os.getpid()
    inner = os.fork()
    if inner:
        _end_like(inner)
    # the outer process dies with the one that spawned it, and this one with the outer
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # seen from a new PID namespace a living parent is 0, as is a dead one: /proc is still that of the outer one
    if not Path(f"/proc/{ours}").exists():
        os._exit(1)
    return "namespaces"


def _end_like(inner: int) -> None:
    # what it speaks through is the fork's alone, or its end would not be noticed
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    _, status = os.waitpid(inner, 0)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def unprivileged() -> list[str]:
    """The command in front of another that makes a root's child nobody; empty for those who are not root."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]


def may_nest() -> bool:
    """Whether an unprivileged process may make a user namespace here, which Chromium's own sandbox is built on."""
    if shutil.which("unshare") is None:
        return False
    command = [*unprivileged(), "unshare", "--user", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
