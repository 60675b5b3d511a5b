"""What a decoder asks of the system, as strace sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from schemas.checkout import ROOT

_CALLS = "%file,%process,socket,connect,bind"
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_STARTS = re.compile(r"(\d+) +(?:<\.\.\. )?(?:clone3?|v?fork)\b.*= (\d+)$")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
_OPENS = ("open", "openat", "openat2", "creat")
_CHANGES = re.compile(r"unlink|rename|mkdir|rmdir|link|truncate|chmod|chown|mknod|utime|xattr|mount")
_DECODER = "operators.media.decoder_child"
_PROGRAM = "/decoder_child."


@cache
def can_trace() -> bool:
    """Whether strace is here and the machine lets it work."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0


def traced(command: list[str], log: Path) -> list[str]:
    """The command that does the same and writes its calls down."""
    return ["strace", "-f", "-o", str(log), "-s", "4096", "-e", f"trace={_CALLS}", *command]


def offenses(log: Path, folder: Path) -> Iterator[str]:
    """What a decoder asked for that it has no business with: another program, an address, to change a file, or to open
    or look at one that belongs neither to its libraries nor to the system. folder: of its inputs, which it is handed
    open. Raises AssertionError where no decoder was traced."""
    decoders: set[str] = set()
    starting: set[str] = set()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    parents = {match[2]: match[1] for match in map(_STARTS.match, lines) if match is not None}
    for line in lines:
        if (match := _LINE.match(line)) is None:
            continue
        pid, call, arguments = match.groups()
        if call == "execve" and _DECODER in arguments:
            starting.add(pid)
            continue
        if pid in starting and call in _OPENS and _PROGRAM in arguments:
            decoders.add(pid)  # from here on it is its program that asks, and no longer the interpreter
        if parents.get(pid) in decoders:  # a thread, or a child
            decoders.add(pid)
        if pid in decoders and _is_offense(call, arguments, folder):
            yield line[:300]
    assert decoders, f"{log} tells of no decoder"


def _is_offense(call: str, arguments: str, folder: Path) -> bool:
    if call in ("execve", "execveat"):
        return True
    if call == "socket":
        return "AF_UNIX" not in arguments  # a pair with the parent is no address
    if call in ("connect", "bind"):
        return True
    paths = _QUOTED.findall(arguments)
    if any(
        path.startswith(f"{folder}/") or (path and not path.startswith("/") and _is_neighbor(path)) for path in paths
    ):
        return True
    if _CHANGES.search(call) and call not in ("readlink", "readlinkat"):
        return not any("__pycache__" in path for path in paths)
    if call in _OPENS and "O_PATH" not in arguments:  # that is the place, not what is in it
        if _WRITES.search(arguments) and "/dev/null" not in arguments and "__pycache__" not in arguments:
            return True
        return not all(path.startswith(_readable()) for path in paths)
    return False


def _is_neighbor(path: str) -> bool:
    return path.startswith(("canary", "./canary", "../"))


@cache
def _readable() -> tuple[str, ...]:
    """Where libraries, fonts and what the system tells about itself lie."""
    python = {
        prefix for name in (sys.prefix, sys.base_prefix, str(ROOT)) for prefix in (name, str(Path(name).resolve()))
    }
    python |= {str(path.resolve()) for path in (ROOT / ".venv", Path(sys.prefix)) if path.exists()}
    system = (
        "/lib", "/usr/lib", "/usr/local/lib", "/etc/ld.so", "/etc/localtime", "/etc/ssl/openssl.cnf", "/etc/fonts",
        "/usr/share", "/usr/local/share", "/var/cache/fontconfig", "/proc/self/", "/proc/mounts", "/proc/sys/",
        "/proc/cpuinfo", "/proc/meminfo", "/sys/", "/dev/null", "/dev/urandom", "pyvenv.cfg",
    )  # fmt: skip
    return (*system, *python)
