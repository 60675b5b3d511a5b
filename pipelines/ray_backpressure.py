"""How far stages may run ahead of each other. Ray bounds the bytes that wait between two of them, and chunks are small:
without this the source would plan a whole job while the engine answers its first pages.
"""

from __future__ import annotations

from typing import Any

from ray.data import DataContext
from ray.data._internal.execution.backpressure_policy import ENABLED_BACKPRESSURE_POLICIES
from ray.data._internal.execution.backpressure_policy.backpressure_policy import BackpressurePolicy

LEAST = 8
"""Chunks that may wait for a stage, however few it takes at once."""


class FewWaiting(BackpressurePolicy):
    """An operator gets nothing more while chunks enough wait for those after it: twice what their actors take."""

    def can_add_input(self, op: Any) -> bool:
        return self._has_room(op)

    def max_task_output_bytes_to_read(self, op: Any) -> int | None:
        return None if self._has_room(op) else 0

    def _has_room(self, op: Any) -> bool:
        if not op.output_dependencies:
            return True
        after = op.output_dependencies
        waiting = len(self._topology[op].output_queue) + sum(one.internal_input_queue_num_blocks() for one in after)
        return bool(waiting < max(LEAST, *(2 * _taken(one) for one in after)))


def _taken(op: Any) -> int:
    """Chunks that the actors of an operator take at once."""
    actors = getattr(op, "_actor_pool", None)
    return int(actors.max_size() * actors.max_tasks_in_flight_per_actor()) if actors is not None else 0


def use(context: DataContext) -> None:
    context.set_config("backpressure_policies.enabled", [FewWaiting, *ENABLED_BACKPRESSURE_POLICIES])
