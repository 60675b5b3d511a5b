"""How often Ray Data's scheduler looks at what has happened. It does so ten times a second however little that is, and
each look costs the driver some milliseconds: as much as all else it does for a long job of many small inputs.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

from ray.data._internal.execution import streaming_executor_state

MOST_S = 0.5
"""Between two looks."""
LOOKS = 10
"""At least, from one chunk's end to the next: actors have a few chunks at hand, so that none waits for a look."""
_RECENT = 8
"""Chunks that tell how long that is."""


@contextlib.contextmanager
def paced() -> Iterator[Callable[[], None]]:
    """Meanwhile the scheduler looks as often as chunks come to their end need; to be told of each that did. One dataset
    in this process at a time."""
    least_s = streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S
    ends_s = deque[float](maxlen=_RECENT + 1)

    def ended() -> None:
        ends_s.append(time.monotonic())
        if len(ends_s) > _RECENT:
            wait_s = (ends_s[-1] - ends_s[0]) / _RECENT / LOOKS
            streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = min(MOST_S, max(least_s, wait_s))

    try:
        yield ended
    finally:
        streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = least_s
