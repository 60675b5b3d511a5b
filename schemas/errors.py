"""The tree of what can go wrong, and the record of it that lands in a row.

    SightreadError
    ├── SpecError            the job spec, or the command line, asks for something impossible (exit 2)
    ├── JobConflict          the output folder belongs to another job, or a part holds other rows (exit 2)
    │   └── OutputBusy       another process writes to it now
    ├── EngineLost           no request can be answered any more: the job ends, what is committed stays (exit 1)
    ├── ClusterLost          Ray cannot be started or joined, or is gone: likewise (exit 1)
    ├── StoreLost            a store takes nothing or gives nothing any more: the same (exit 1)
    ├── AllFailed            all that was asked failed with one error: the job ends, to be asked again (exit 1)
    ├── InputError           one input, or one unit of it, cannot be read
    ├── EngineError          the engine could not answer one request
    ├── InvalidOutput        the model answered, but not in the form that the task asks for
    └── ChildDied            a child process ended, hung or ran out of memory

The last four never leave a row's boundary: they become a `Failure` in that row.
"""

from __future__ import annotations

from dataclasses import dataclass


class SightreadError(Exception):
    """The root. Its text is one sentence that names the place and the fix."""


class SpecError(SightreadError):
    """The spec or the command line is wrong; nothing was started."""


class JobConflict(SightreadError):
    """What lies in the output folder was written by another job, or is not what this one would write."""


class OutputBusy(JobConflict):
    """Another process holds the lease of the output."""


class EngineLost(SightreadError):
    """There is no engine any more, for no fault of the requests: a server that is gone, or refuses the key."""


class ClusterLost(SightreadError):
    """Ray cannot be started or joined, or ended under the run."""


class StoreLost(SightreadError):
    """The output takes nothing more, or a bucket of inputs gives nothing: a disk is full, a network gone."""


LEASE_LOST = "another process took the lease of the output"
"""Why nothing more is asked or written."""


class AllFailed(SightreadError):
    """The first rows that were asked all failed with one error: the others would too."""


class _OfKind(SightreadError):
    """An error that becomes a row's Failure. Crosses process borders, so it must survive being copied."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.kind, str(self))


class InputError(_OfKind):
    """An input cannot be read. `kind` is one of FAILURE_KINDS."""


class EngineError(_OfKind):
    """One request was not answered. `kind` is one of FAILURE_KINDS."""


class InvalidOutput(SightreadError):
    """The reply cannot be read as the task's result type. faults: of schemas.task.FAULTS, what is known of why."""

    def __init__(self, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class ChildDied(_OfKind):
    """A child process is gone. `kind` tells how: crashed, timeout or out_of_memory."""


STATUSES = ("ok", "unreadable_input", "engine_failed", "invalid_output")
"""A row's outcome. Only `ok` rows have a result."""

FAILURE_KINDS = (
    # of an input
    "not_found", "permission", "empty_file", "unknown_type", "malformed", "encrypted", "truncated",
    "too_large", "no_frames",
    # of one that lies elsewhere
    "changed", "unreachable",
    # of its row in an input table: the prompt needs a value that is not there
    "no_value",
    # of a child process, decoder or engine
    "crashed", "timeout", "out_of_memory",
    # of a request
    "too_long", "deadline", "engine_error", "aborted", "refused", "unparsable", "internal",
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """Why a row is not `ok`: the `error` struct of the output tables.

    `stage` is probe, decode, infer or parse; `attempts` counts how often it was tried (at least 1).
    """

    stage: str
    kind: str
    message: str
    attempts: int = 1

    def __post_init__(self) -> None:
        assert self.kind in FAILURE_KINDS, self.kind
