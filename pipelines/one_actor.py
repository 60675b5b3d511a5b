"""A plan whose stages have nothing to do side by side: one actor that is all of them, instead of one for each, which
costs 1.5 CPU-seconds to start and waits for the others. Imports no plan: the actor would load it too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from pipelines.plan import Stage


class AllStages:
    """parts: by stage, its operator and what it is made from, in their order."""

    def __init__(self, *parts: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        # from the last: an engine loads while what comes before it starts
        self._operators = [operator(*arguments) for operator, arguments in reversed(parts)][::-1]

    def __call__(self, table: pa.Table) -> pa.Table:
        for operator in self._operators:
            table = operator(table)
        return table


def in_one_actor(plan: list[Stage]) -> Stage:
    """For one chunk at a time."""
    return replace(
        plan[0],
        name=", ".join(stage.name for stage in plan),
        operator=AllStages,
        arguments=tuple((stage.operator, stage.arguments) for stage in plan),
        actors=1,
        calls=1,
        cpus=sum(stage.cpus for stage in plan),
        gpus=sum(stage.gpus for stage in plan),
    )
