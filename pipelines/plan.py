"""The plan of a job: a list of plain stages, comparable and printable. Knows nothing of Ray."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from operators.code_check.code_check import CodeCheck
from operators.commit import Commit
from operators.infer.infer import Infer
from operators.media.decode import Decode
from operators.store.lease import LeaseGuard
from pipelines.job import Job
from schemas.address import is_remote
from schemas.errors import SpecError

TAIL = 6
"""Times the calls that would fill the engine if all replies were of one length. A chunk that waits for its last,
longest reply holds its call and little of the engine: with lengths as of OCR (lognormal, sigma 1) calls for twice the
slots left more than half of them idle, and six times as many none; so it is where one reply in a hundred runs away
(tests/test_utilization.py plays both through)."""
MOST_CALLS = 64
COMMITS = 8
"""Parts that are put at once where a store answers over a network: each put waits for it."""


@dataclass(frozen=True)
class Stage:
    """One operator and what it runs on. `cpus` and `gpus` are per actor; `calls` run in one actor at once."""

    name: str
    operator: type
    arguments: tuple[Any, ...] = field(repr=False)
    actors: int
    calls: int
    cpus: float
    gpus: float = 0.0


def stages(job: Job, requests_per_chunk: float, guard: LeaseGuard | None = None) -> list[Stage]:
    """decode -> infer -> commit.

    The engine must never wait for the next chunk: calls x requests a chunk >= 2 x slots keeps it full while
    chunks come and go (docs/facts/architecture-probe.md: below that, a third of the engine stood idle), and more of
    them while some wait for their last replies.
    Decode takes whole CPUs; infer and commit wait for others most of their time and take none, which also
    keeps Ray from fusing decode and infer into one actor.
    """
    engine = job.spec.engine
    held = guard.held if guard is not None else None
    calls = math.ceil(TAIL * 2 * engine.concurrency / max(1.0, requests_per_chunk))
    return [
        Stage("decode", Decode, (job.decode,), actors=job.workers, calls=1, cpus=1),
        Stage(
            "infer",
            Infer,
            (replace(job.infer, logs=job.logs, held=held),),
            actors=engine.replicas,
            calls=min(MOST_CALLS, max(2, calls)),
            cpus=0,
            gpus=engine.gpus,
        ),
        Stage("commit", Commit, (job.output, held), actors=1, calls=commits_at_once(job.output), cpus=0),
    ]


def commits_at_once(output: str) -> int:
    return COMMITS if is_remote(output) else 1


def code_check_stages(job: Job, guard: LeaseGuard | None = None) -> list[Stage]:
    """Over committed parts, once the engines have gone: they take all CPUs."""
    tasks = tuple(task for task in job.tasks if task.code_check is not None)
    held = guard.held if guard is not None else None
    return [Stage("code check", CodeCheck, (job.output, tasks, job.decode, held), actors=job.workers, calls=1, cpus=1)]


def check_resources(plan: list[Stage], cpus: float, gpus: float) -> None:
    """Refuse a plan that would wait for ever. Ray waits silently when actors ask for more than there is."""
    asked_cpus = sum(stage.actors * stage.cpus for stage in plan)
    asked_gpus = sum(stage.actors * stage.gpus for stage in plan)
    if asked_cpus > cpus:
        raise SpecError(f"decode.workers: the plan takes {asked_cpus:g} CPUs and the cluster has {cpus:g}; lower it")
    if asked_gpus > gpus:
        engine = max(plan, key=lambda stage: stage.gpus)
        raise SpecError(
            f"engine: {engine.actors} replicas of {engine.gpus:g} GPUs take {asked_gpus:g} "
            f"and the cluster has {gpus:g}; lower engine.replicas or gpus_per_replica"
        )
