"""What `_job/summary.json` holds: the audit as it was made last, and the figures of the last run that did something."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pipelines.summary.summary import Summary
from schemas.errors import SpecError

OF_A_RUN = (
    "wall_s", "new_rows", "seconds", "prompt_tokens", "output_tokens", "uncommitted", "code_checks", "engine",
    "isolation_lacks",
)  # fmt: skip


def stored(summary: Summary, rounds: int, before: Callable[[], Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """As JSON. rounds: of the job. before: reads what it held, for a run that had nothing to do: its own figures would
    say less. Raises OSError, StoreLost."""
    values = {**asdict(summary), "rounds": rounds}
    if before is not None:
        with contextlib.suppress(SpecError):  # it is broken, and put anew
            there = before()
            values |= {key: there[key] for key in OF_A_RUN if key in there}
    return values
