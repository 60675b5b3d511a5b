"""What a job was asked to do, round by round: its first inputs, inputs that came later or changed, a further task, a
task done anew, failed rows asked again. Appended, never changed. Knows nothing of files.

A round names the input manifests that it is about and defines its tasks: a task is what the last round that is no retry
says of it.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, get_args

Kind: TypeAlias = Literal["first", "inputs", "task", "redo", "retry"]


@dataclass(frozen=True)
class Round:
    """kind: inputs: others than before, or changed ones; retry: rows of earlier rounds, asked again. manifests: numbers
    of the input manifests that it is about, a manifest bearing the number of the round that brought it; none for a
    retry of units, and for a retry that opens inputs anew one that repeats their rows. tasks: what makes each of them
    the same task, by name. chunk_files: of a retry of units, how many chunk manifests it came with. began: ISO 8601,
    UTC. spec: of who began it. counts: what it was about when it began."""

    number: int
    kind: Kind
    manifests: tuple[int, ...]
    tasks: dict[str, dict[str, Any]]
    began: str
    by: str
    spec: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)
    chunk_files: int = 0

    @property
    def defines(self) -> bool:
        return self.kind != "retry"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Round:
        """Raises ValueError, TypeError or KeyError for what is none."""
        if data["kind"] not in get_args(Kind):
            raise ValueError(f"{data['kind']!r} is no kind of round")
        for key, is_one in _ROUND.items():
            if not is_one(data[key]):
                raise ValueError(f"its {key} are others than a round has")
        return cls(**{**data, "manifests": tuple(data["manifests"])})


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


_ROUND: dict[str, Callable[[Any], bool]] = {
    "number": _is_count,
    "manifests": lambda value: isinstance(value, list) and all(map(_is_count, value)),
    "tasks": lambda value: isinstance(value, dict) and all(isinstance(inner, dict) for inner in value.values()),
    "began": lambda value: isinstance(value, str),
    "by": lambda value: isinstance(value, str),
    "spec": lambda value: isinstance(value, dict),
    "counts": lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
    "chunk_files": _is_count,
}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def who() -> str:
    """As whom others see what this process does."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id that the machine does not know
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"


def definitions(rounds: Iterable[Round]) -> dict[str, dict[str, Any]]:
    """The tasks of a job as they are defined, by name."""
    tasks: dict[str, dict[str, Any]] = {}
    for round_ in rounds:
        if round_.defines:
            tasks |= round_.tasks
    return tasks


def specs(rounds: Iterable[Round]) -> dict[str, dict[str, Any]]:
    """By task, the spec that it was defined in."""
    of_task: dict[str, dict[str, Any]] = {}
    for round_ in rounds:
        if round_.defines:
            of_task |= dict.fromkeys(round_.tasks, round_.spec)
    return of_task


def covered(rounds: Iterable[Round], task: str) -> set[int]:
    """The input manifests that a task, as it is defined, was asked about."""
    manifests: set[int] = set()
    for round_ in rounds:
        if round_.defines and task in round_.tasks:
            manifests = set(round_.manifests) if round_.kind == "redo" else manifests | set(round_.manifests)
    return manifests


def floors(rounds: Iterable[Round]) -> dict[str, int]:
    """By task, the round before which its rows were of another type, which no file shows any more."""
    of_task: dict[str, int] = {}
    for round_ in rounds:
        of_task |= {name: round_.number for name in round_.tasks if f"retired {name}" in round_.counts}
    return of_task


def manifests_of(rounds: Iterable[Round]) -> list[int]:
    """Those that hold the inputs of a job; a retry has only copies of their rows."""
    return sorted({number for round_ in rounds if round_.defines for number in round_.manifests})


def lacking(
    rounds: Sequence[Round], tasks: Iterable[str], manifests: Iterable[int]
) -> dict[tuple[int, ...], list[str]]:
    """The manifests that tasks were not asked about yet: tasks by what they lack."""
    wanted = sorted(manifests)
    lack: dict[tuple[int, ...], list[str]] = {}
    for task in tasks:
        there = covered(rounds, task)
        if missing := tuple(number for number in wanted if number not in there):
            lack.setdefault(missing, []).append(task)
    return lack
