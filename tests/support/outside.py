"""Start tests/support/inside.py in a decoder child's place, from a process that the kernel refuses some calls, as a
machine does that lacks them. Prints what it sends, what it lacked, and what the kernel says of it.

    python -P -m tests.support.outside TARGETS CALL…        a call by its number on x86-64; it answers EPERM
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from operators.media import sandbox
from operators.processes import seccomp
from schemas.decode import DecodeSettings
from schemas.input_uri import uri_of

_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    targets = json.loads(Path(sys.argv[1]).read_text())
    refused = [int(number) for number in sys.argv[2:]]
    if refused:
        refuse(refused)
    with tempfile.NamedTemporaryFile("w", prefix="input-") as file:
        me = os.getpid()
        reads = [path.format(me=me) for path in targets["reads"]]
        json.dump({**targets, "parent": me, "group": os.getpgrp(), "reads": reads}, file)
        file.flush()
        print(json.dumps(report(Path(file.name))))


def refuse(numbers: list[int]) -> None:
    """Make this machine one that lacks those calls, for this process and all that it starts."""
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    seccomp.install(seccomp.refusing(numbers, errno.EPERM))


def report(targets: Path) -> dict[str, Any]:
    spawn = sandbox.spawn
    sandbox.spawn = functools.partial(_spawn_instead, spawn)  # type: ignore[assignment]
    decoders = sandbox.Sandbox(DecodeSettings())
    try:
        decoders._order(sandbox._Part(uri_of(str(targets)), None, None, []), DecodeSettings(), {})
        child = decoders._child
        assert child is not None
        frame = child.channel.recv()
        assert frame is not None
        status = Path(f"/proc/{child.pid}/status").read_text()
        kernel = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        environment = Path(f"/proc/{child.pid}/environ").read_bytes().decode().split("\0")
        folder = str(Path(f"/proc/{child.pid}/cwd").readlink())
        command = Path(f"/proc/{child.pid}/cmdline").read_bytes().decode().split("\0")
        return {
            **frame.head["report"],
            "lacks": sorted(decoders.lacks),
            "kernel": kernel,
            "environ": environment,
            "folder": folder,
            "command": command,
        }
    finally:
        decoders.close()


def _spawn_instead(spawn: Any, _: str, **options: Any) -> Any:
    return spawn("tests.support.inside", **options)


if __name__ == "__main__":
    main()
