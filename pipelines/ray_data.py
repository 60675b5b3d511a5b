"""Run a plan on Ray Data: the one place that imports it, and the one translation of a Stage.

Ray is an at-least-once executor here (docs/facts/ray-data.md): it moves chunks, starts actors again when they die
and repeats what they were doing. That every unit comes out once is the store's doing, not Ray's; so none of
its checkpoints, save modes or error budgets are used.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

import pyarrow as pa

from operators.processes import orphan_reaper
from pipelines.plan import Stage, check_resources

_log = logging.getLogger(__name__)

_OBJECT_STORE_BYTES = 512 << 20, 2 << 30
"""Least and most of a small cluster of our own; an eighth of what is free between them. It holds the chunks that are
under way, compressed."""


def connect(workers: int) -> None:
    """Join the cluster of RAY_ADDRESS (which `ray job submit` sets), or start a small one in this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    if os.environ.get("RAY_ADDRESS"):
        import ray

        ray.init(ignore_reinit_error=True)
        _log.info("joined the Ray cluster at %s", os.environ["RAY_ADDRESS"])
        return
    # a private, throw-away head: no token that other Ray tools on this machine would not know of
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # its core prints an ERROR about actor arguments in the object store on every run (ray issue 53727)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    orphan_reaper.start()
    with _held_back_stderr():  # and a line that it has read this setting
        import ray

        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, workers) + 1,
            include_dashboard=False,
            object_store_memory=_object_store_bytes(),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    _log.info("started Ray in this machine")


def _object_store_bytes() -> int:
    least, most = _OBJECT_STORE_BYTES
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(least, min(most, free_bytes // 8))


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """What native code writes to stderr meanwhile is shown only if this ends in an error."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def disconnect() -> None:
    import ray

    ray.shutdown()


def execute(chunks: pa.Table, plan: list[Stage]) -> Iterator[pa.Table]:
    """Put chunks (rows of CHUNKS) through the plan; yields what the last stage gives, as it comes.

    One block per chunk: a dataset made of one-row slices keeps its schema and is never repacked, so a chunk
    travels, fails and is repeated whole. Receipts come in any order.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    check_resources(plan, cluster.get("CPU", 0), cluster.get("GPU", 0))
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # a chunk of long videos may rightly be silent for longer; requests have deadlines of their own
    context.execution_no_progress_timeout_s = -1
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    _log.info("%d chunks through %s", chunks.num_rows, " -> ".join(stage.name for stage in plan))
    dataset: ray.data.Dataset = ray.data.from_arrow([chunks.slice(index, 1) for index in range(chunks.num_rows)])
    for stage in plan:
        dataset = dataset.map_batches(
            stage.operator,
            fn_constructor_args=stage.arguments,
            compute=ActorPoolStrategy(
                size=min(stage.actors, chunks.num_rows),  # Ray warns of idle actors
                enable_true_multi_threading=stage.calls > 1,
                max_concurrent_calls_per_actor=stage.calls,
                # by default as many chunks again lie in the object store and wait for a call
                max_tasks_in_flight_per_actor=stage.calls + 2,
            ),
            num_cpus=stage.cpus,
            num_gpus=stage.gpus or None,
            batch_format="pyarrow",
            batch_size=None,
        )
    yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
