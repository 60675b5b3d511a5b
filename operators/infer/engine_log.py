"""The file that takes all that an engine's child prints, so that a message can name it. Knows nothing of engines."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import tempfile
import threading
import time
from pathlib import Path

from schemas.printable import one_line

LARGEST_BYTES = 16 << 20
"""What is kept of it: the log, and one before it, hold half of this at most."""
TAIL_BYTES = 1000
BEFORE = ".1"
"""Follows the name of the log that is continued in the one without it."""

_numbers = itertools.count(1)


class EngineLog:
    """A file of its own for every supervisor, over all generations of its engine. Used from any number of threads.

    folder: where it shall be. None, or one that cannot be written: among the user's temporary files. path: the null
    device where that cannot be either: what an engine prints is no reason not to have it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        number = next(_numbers)
        again = f"-{number}" if number > 1 else ""
        name = f"engine-{socket.gethostname()}-{os.getpid()}{again}.log"
        self.path = Path(os.devnull)
        if folder is not None:
            with contextlib.suppress(OSError):
                self.path = _new(folder, name)
                return
        with contextlib.suppress(OSError):
            self.path = _new(_own_temporary(), name)

    def write(self, printed: bytes) -> None:
        """What the engine printed. A disk that is full loses it."""
        with self._lock, contextlib.suppress(OSError):
            if self.path.is_file() and self.path.stat().st_size + len(printed) > LARGEST_BYTES // 2:
                self.path.replace(self.path.with_name(f"{self.path.name}{BEFORE}"))
            with self.path.open("ab") as file:
                file.write(printed)

    def note(self, text: str) -> None:
        """A line of ours between those of the engine, with the time."""
        self.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} sightread: {one_line(text)}\n".encode("utf-8", "replace"))

    def tail(self) -> str:
        """The last lines, for who cannot read the file."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace").strip()
        return ""

    def close(self) -> None:
        """Nobody needs an empty file."""
        with contextlib.suppress(OSError):
            if self.path.is_file() and not self.path.stat().st_size:
                self.path.unlink()


def _new(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    path = folder / name
    path.open("ab").close()  # in a container, a process of an earlier one may have had the same number
    return path


def _sweep(folder: Path) -> None:
    """Remove what processes of this machine left empty that were killed, as Ray ends its actors."""
    ours = re.compile(re.escape(f"engine-{socket.gethostname()}-") + r"(\d+)(-\d+)?\.log")
    for path in folder.iterdir():
        if (name := ours.fullmatch(path.name)) and not Path(f"/proc/{name[1]}").exists():
            with contextlib.suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()


def _own_temporary() -> Path:
    """A folder that nobody else may write, whoever else uses this machine."""
    folder = Path(tempfile.gettempdir()) / f"sightread-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    ours = status.st_uid == os.getuid() and not folder.is_symlink() and not status.st_mode & 0o022
    return folder if ours else Path(tempfile.mkdtemp(prefix="sightread-"))
