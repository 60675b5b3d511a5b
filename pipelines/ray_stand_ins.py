"""What Ray Data starts beside the actors of a dataset, and what stands in for it in a Ray of one machine that is ours.

Three actors, a process each of 1.3 CPU-seconds and some 100 MB (measured, Ray 2.60): one keeps figures for a dashboard,
one asks an autoscaler for machines and shares them among datasets, one knows which node an actor is on. There is no
dashboard, no other machine and no other dataset, so their answers are known here. On a cluster they stay as they are.
"""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Callable, Iterator
from typing import Any


class StandIn:
    """Called as an actor is, in this process or, pickled, in another: `replies` by method, and to all else nothing."""

    def __init__(self, **replies: Callable[..., Any]) -> None:
        self._replies = replies

    def __getattr__(self, method: str) -> _Method:
        if method.startswith("_"):
            raise AttributeError(method)
        return _Method(self._replies.get(method))


class _Method:
    def __init__(self, reply: Callable[..., Any] | None) -> None:
        self._reply = reply

    def remote(self, *arguments: Any, **named: Any) -> Any:
        """A reference to the reply, as an actor's method gives one; None where nobody waits for any."""
        if self._reply is None:
            return None
        import ray

        return ray.put(self._reply(*arguments, **named))


def _dataset_id() -> str:
    return uuid.uuid4().hex


def _no_locations(_: tuple[str, ...]) -> dict[str, str]:
    """None known: then Ray Data takes what each actor itself has told."""
    return {}


def _all_there_is(_: str) -> dict[str, dict[str, float]]:
    """Node -> its resources: the one dataset has them all."""
    import ray

    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Meanwhile a dataset of this process starts none of the three."""
    from ray.data._internal import stats
    from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as coordinator
    from ray.data._internal.execution.operators import actor_pool_map_operator as pool

    figures = StandIn(gen_dataset_id=_dataset_id)
    # asked every second
    machine = StandIn(get_reserved_resources=functools.cache(_all_there_is))
    with contextlib.ExitStack() as patched:
        for module, name, there in (
            (stats, "get_or_create_stats_actor", lambda: figures),
            (coordinator, "get_or_create_autoscaling_coordinator", lambda: machine),
            (pool, "get_or_create_actor_location_tracker", StandIn),
            (pool, "get_actor_locations", _no_locations),
        ):
            patched.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, there)
        yield
