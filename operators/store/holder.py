"""Who holds an output, as the file of its lease says, and whether that process can be seen from here. Knows no store.

Of a process of this machine one can tell that it is gone, or that it lives, without waiting: it is the same machine
where host, boot and namespace of process ids are the same, and the same process where it also began at the same tick.
Nothing is told of any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from schemas.printable import one_line

MOST_BYTES = 64 << 10
"""Of a file that can be a lease."""
_LONGEST = 200
_MACHINE = ("host", "boot", "namespace")

let_go: set[str] = set()
"""The tokens of leases that this very process held, and holds no more: it may be that no store took that up."""


@dataclass(frozen=True)
class Holder:
    """token: of this holding alone. since: ISO 8601, as the holder's clock says; shown, never compared. place: machine
    and process. beat: counted up with every renewal. beat_s: CLOCK_MONOTONIC at that time, which means something to
    processes of the same boot alone. ended: whether it let the output go. left_by: the holder before it, if that was
    silent."""

    token: str
    who: str
    what: str
    since: str
    place: dict[str, str] = field(default_factory=dict)
    beat: int = 0
    beat_s: float = 0.0
    ended: bool = False
    left_by: str = ""

    @classmethod
    def of(cls, data: bytes) -> Holder:
        """What a later version adds is left out. Raises ValueError for what says nothing of a holder."""
        try:
            values: dict[str, Any] = json.loads(data)
            texts = {key: values[key] for key in ("token", "who", "what", "since")}
            texts["left_by"] = values.get("left_by", "")
            place = values.get("place", {})
            if not all(isinstance(text, str) for text in (*texts.values(), *place.values(), *place)):
                raise ValueError("it holds values of other types")
            beat, beat_s = int(values.get("beat", 0)), float(values.get("beat_s", 0))
            return cls(**texts, place=place, beat=beat, beat_s=beat_s, ended=values.get("ended") is True)
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def as_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    def __str__(self) -> str:
        who, since, what = (one_line(text)[:_LONGEST] for text in (self.who, self.since, self.what))
        return f"{who} since {since} ({what})"

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine that is no more, or this one, which could not say that it let go."""
        process, started = self._here
        if process is None:
            return False
        return self.token in let_go if _started(process) == started else not _is_hidden(process)

    def lives(self, within_s: float) -> bool:
        """Whether it is a process of this machine that is not stopped and renewed its lease within that time."""
        process, started = self._here
        if process is None or _started(process) != started or _state(process) in "Tt":
            return False
        return 0 <= time.monotonic() - self.beat_s < within_s

    @property
    def _here(self) -> tuple[int | None, str]:
        """Process and start, if it is of this machine."""
        machine = _machine()
        process, started = self.place.get("process", ""), self.place.get("started", "")
        if not machine or not started or not process.isascii() or not process.isdigit():
            return None, ""
        return (int(process), started) if machine.items() <= self.place.items() else (None, "")


def here() -> dict[str, str]:
    """The place of this process."""
    return {**_machine(), "process": str(os.getpid()), "started": _started(os.getpid()) or ""}


def _machine() -> dict[str, str]:
    """Nothing where it cannot be told from another: then nobody is gone."""
    facts = {"host": socket.gethostname()}
    with contextlib.suppress(OSError):
        facts["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        facts["namespace"] = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  a name, no path
    return facts if all(facts.get(key) for key in _MACHINE) else {}


def _started(process: int) -> str | None:
    """When a process began, in ticks since the boot; None where it is no more, or hidden."""
    fields = _stat(process)
    return fields[19] if fields and fields[0] not in "ZX" else None


def _state(process: int) -> str:
    return (_stat(process) or ["X"])[0]


def _stat(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _is_hidden(process: int) -> bool:
    """Whether there is one that /proc does not show to this user."""
    if _stat(process):
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
