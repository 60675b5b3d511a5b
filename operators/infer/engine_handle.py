"""What whoever asks an engine sees of it. Knows nothing of processes: the supervisor is one such handle, a test's fake
another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from operators.infer.utilization import Utilization
from schemas.errors import Failure
from schemas.request import Completion, Request

Done: TypeAlias = Callable[[Request, Completion | Failure], None]


@dataclass
class Stats:
    deaths: int = 0
    asked: int = 0  # requests sent to an engine, repeats included
    asked_again: int = 0
    answered: int = 0
    quarantined: int = 0
    death: str | None = None  # why one died last, and the last lines of its log
    log: str | None = None  # the file of what they print


class EngineHandle(Protocol):
    """Used from any number of threads."""

    utilization: Utilization
    stats: Stats
    broken: str | None
    """Why no engine can be had at all; set once and for good."""

    def submit(self, request: Request, done: Done) -> None:
        """done(request, answer) is called exactly once, from any thread; it must be quick.

        The pictures' buffers are held until then. Raises EngineError when there is and will be no engine.
        """

    def close(self) -> None:
        """Fail what is still waiting, and leave no process."""
