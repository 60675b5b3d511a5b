"""Run a plan on Ray Data: the one place that imports it, and the one translation of a Stage.

Ray is an at-least-once executor here (docs/facts/ray-data.md): it moves chunks, starts actors again when they die
and repeats what they were doing. That every unit comes out once is the store's doing, not Ray's; so none of
its checkpoints, save modes or error budgets are used.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from operators.processes import ending, orphan_reaper
from pipelines import ray_head, ray_stand_ins, ray_watch, task_modules
from pipelines.one_actor import in_one_actor
from pipelines.plan import Stage, check_labels, check_resources
from pipelines.source import Source
from schemas.checkout import ROOT
from schemas.errors import ClusterLost

if TYPE_CHECKING:
    from ray.data import DataContext

_log = logging.getLogger(__name__)

_OBJECT_STORE_BYTES = 512 << 20, 2 << 30
"""Least and most of a small cluster of our own; an eighth of what is free between them. It holds the chunks that are
under way, compressed."""
START_S = (60.0, 120.0, 240.0)
"""How long a head may take to start: a loaded machine is given more time, and at last up."""
ANSWER_S = 15.0
"""How long a cluster may take until its port answers."""

_ahead: _Ahead | None = None
_head: ray_head.Head | None = None
_connected = False
_settings = contextlib.ExitStack()
"""Of an embedded Ray, in the environment of this process."""


@dataclass(frozen=True)
class _Ahead:
    """What is under way when a Ray of our own is needed. loading: a second of work, beside that of the head."""

    head: ray_head.Starting
    loading: threading.Thread


def begin(workers: int) -> None:
    """Begin to start what `connect` will join, where that is a small cluster in this machine; `disconnect` ends it too.
    Raises ClusterLost.
    """
    global _ahead
    _set_variables()
    if _ahead is None and _head is None and not os.environ.get("RAY_ADDRESS"):
        _ahead = _begin(_cpus(workers))


def connect(workers: int) -> None:
    """Join the cluster of RAY_ADDRESS (which `ray job submit` sets), or start a small one in this machine.

    Raises ClusterLost.
    """
    global _connected
    _connected = True
    _set_variables()
    if address := os.environ.get("RAY_ADDRESS"):
        _join_cluster(address)
        return
    for attempt, timeout_s in enumerate(START_S, start=1):
        try:
            _start(_cpus(workers), timeout_s)
            break
        except ClusterLost as error:
            if attempt == len(START_S):
                raise ClusterLost(f"{error}; tried {attempt} times") from error
            _log.warning("%s; trying again, attempt %d of %d", error, attempt + 1, len(START_S))
    _log.info("started Ray in this machine")


def _set_variables() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_DATA_METADATA_PREFETCH_ON_THREAD", "0")
    # else its core prints a stack when a signal ends the driver
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")


def _cpus(workers: int) -> int:
    return max(os.cpu_count() or 1, workers) + 1


def _begin(cpus: int) -> _Ahead:
    _settings.enter_context(_environment(ray_head.settings()))  # Ray's core reads some when it is loaded
    try:
        head = ray_head.begin(cpus, _object_store_bytes())
    except BaseException:
        _settings.close()
        raise
    loading = threading.Thread(target=importlib.import_module, args=("ray.data",), name="import of Ray", daemon=True)
    loading.start()
    return _Ahead(head, loading)


def _start(cpus: int, timeout_s: float) -> None:
    """Raises ClusterLost; then nothing is left of it."""
    global _ahead, _head
    ahead, _ahead = _ahead or _begin(cpus), None
    try:
        _head = head = ahead.head.up(timeout_s)
        orphan_reaper.leave(word=ending.unannounced("the run was killed, or Ray ended it"))
        threading.Thread(target=_watch, args=(head,), name="ray head", daemon=True).start()
        ahead.loading.join()
        # stderr: a line that it has read a setting. The token: Ray has read it then, and nobody else is to have it
        with _held_back_stderr(), _environment({ray_head.TOKEN: head.token}):
            _init(head.address, _temp_dir=str(head.folder), log_to_driver=False, logging_level=logging.ERROR)
    except BaseException:
        _end(_head)
        raise


def _end(head: ray_head.Head | ray_head.Starting | None) -> None:
    """All that an embedded Ray is."""
    global _head
    _head = None
    if head is not None:
        head.stop()
        orphan_reaper.leave(word="")
    _settings.close()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """This process has them meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _watch(head: ray_head.Head) -> None:
    """Ends the run when Ray does: nothing that waits for it would ever return."""
    head.process.wait()
    if _head is head:
        _gone(head.how_it_ended())


def _gone(how: str) -> None:
    if _connected:
        _log.info("Ray is gone: %s", how)
        ending.end(1, f"Ray is gone: {how}")


def _join_cluster(address: str) -> None:
    """Raises ClusterLost."""
    if address.startswith("ray://"):
        raise ClusterLost(f"RAY_ADDRESS: {address}: a run joins the cluster itself; give host:port of its GCS")
    host, _, port = address.rpartition(":")
    # Ray asks for minutes, and the log of its core says so
    if host and port.isdigit() and not ray_watch.answers_within(address, ANSWER_S):
        raise ClusterLost(f"RAY_ADDRESS: {address} does not answer")
    options: dict[str, Any] = {}
    if folders := task_modules.folders():
        variables = {task_modules.VARIABLE: os.pathsep.join(folders)}
        options["runtime_env"] = {"worker_process_setup_hook": task_modules.HOOK, "env_vars": variables}
    try:
        _init(ignore_reinit_error=True, **options)
    except ClusterLost as error:
        hint = "" if _sends_token() else "; where it asks for a token, set RAY_AUTH_MODE=token (docs/clusters.md)"
        raise ClusterLost(f"RAY_ADDRESS: {address}: {error}{hint}") from error
    from ray._private.worker import global_worker

    node: Any = global_worker.node
    ray_watch.watch(node.gcs_address, Path(node.raylet_socket_name), _gone)
    if _sends_token():
        _log.info("joined the Ray cluster at %s", address)
    else:
        _log.warning("the Ray cluster at %s asks for no token: whoever reaches its ports runs code there", address)


def _sends_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def _init(address: str | None = None, **options: Any) -> None:
    """Raises ClusterLost."""
    import ray

    # the folder of the driver is the first where workers look for modules: ours, not whatever the user stands in
    with contextlib.chdir(ROOT):
        try:
            ray.init(address, **options)
        except Exception as error:  # Ray raises bare ones too
            ray.shutdown()
            raise ClusterLost(f"Ray cannot be joined: {' '.join(str(error).split())[:300]}") from error
        finally:
            ending.take_back()


def _object_store_bytes() -> int:
    least, most = _OBJECT_STORE_BYTES
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(least, min(most, free_bytes // 8))


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """What native code writes to stderr meanwhile is shown only if this ends in an error of another kind than ours."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (ClusterLost, KeyboardInterrupt):
            raise
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def disconnect() -> None:
    """From what was joined, or only begun: an embedded Ray ends with that."""
    global _ahead, _connected, _head
    ahead, head, connected = _ahead, _head, _connected
    _ahead, _head, _connected = None, None, False
    if connected and (head is None or head.process.poll() is None):  # else it would wait for what is gone
        import ray

        ray.shutdown()
    if ahead is not None:
        ahead.loading.join()  # native code that is being loaded while a process exits may end it otherwise
    _end(ahead.head if ahead is not None else head)


def execute(feed: pa.Table | Source, plan: list[Stage]) -> Iterator[pa.Table]:
    """Put chunks (rows of QUEUED_CHUNKS, or what gives them) through the plan; yields what the last stage gives, as it
    comes.

    One block per chunk: a dataset of one-row blocks keeps its schema and is never repacked, so a chunk travels, fails
    and is repeated whole. Receipts come in any order.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    from pipelines import ray_source, ray_steps

    is_one = isinstance(feed, pa.Table) and feed.num_rows == 1
    if is_one and len(plan) > 1 and _head is not None:  # on a cluster no node may have all that they take
        plan = [in_one_actor(plan)]
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    check_resources(plan, cluster.get("CPU", 0), cluster.get("GPU", 0))
    check_labels(plan, (node.get("Labels", {}) for node in ray.nodes() if node["Alive"]))  # type: ignore[no-untyped-call]
    _set_up(DataContext.get_current())
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    names = " -> ".join(stage.name for stage in plan)
    if isinstance(feed, pa.Table):
        _log.info("%d chunks through %s", feed.num_rows, names)
        most = feed.num_rows  # Ray warns of idle actors
        # of blocks: `from_arrow` starts a process that looks at their schema
        dataset: ray.data.Dataset = ray.data.from_blocks([feed.slice(index, 1) for index in range(feed.num_rows)])
    else:
        _log.info("chunks, as they are planned, through %s", names)
        most = sum(stage.actors for stage in plan)
        dataset = ray_source.dataset(feed)
    for stage in plan:
        dataset = dataset.map_batches(
            stage.operator,
            fn_constructor_args=stage.arguments,
            compute=ActorPoolStrategy(
                **_pool(stage, most),
                enable_true_multi_threading=stage.calls > 1,
                max_concurrent_calls_per_actor=stage.calls,
                # by default as many chunks again lie in the object store and wait for a call
                max_tasks_in_flight_per_actor=stage.calls + 2,
            ),
            num_cpus=stage.cpus,
            num_gpus=stage.gpus or None,
            label_selector=dict(stage.labels) or None,
            batch_format="pyarrow",
            batch_size=None,
        )
    with ray_stand_ins.stand_ins() if _head is not None else contextlib.nullcontext(), ray_steps.paced() as ended:
        # without the threads of iter_batches, which cost the driver more than the receipts
        for bundle in dataset.iter_internal_ref_bundles():
            ended()
            yield from ray.get(list(bundle.block_refs))


def _pool(stage: Stage, most: int) -> dict[str, int]:
    """most: actors that there is work for."""
    if stage.at_first == stage.actors:
        return {"size": min(stage.actors, most)}
    return {"min_size": min(stage.at_first, most), "max_size": min(stage.actors, most)}


def _set_up(context: DataContext) -> None:
    """For chunks that are many and small, and a driver that is to cost little: 13.6 ms of it a chunk without, 9.3 with
    (docs/facts/ray-data.md)."""
    context.enable_progress_bars = False
    # a chunk of long videos may rightly be silent for longer; requests have deadlines of their own
    context.execution_no_progress_timeout_s = -1
    # what a stage gives leaves it at once, a block for every row, and a row is never cut
    context.target_max_block_size = 1
    context.op_resource_reservation_enabled = False
    context.memory_usage_poll_interval_s = None
    context.enable_auto_log_stats = False
    context.issue_detectors_config.detectors = []
    from pipelines import ray_backpressure

    ray_backpressure.use(context)
