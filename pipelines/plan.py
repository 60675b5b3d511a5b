"""The plan of a job: a list of plain stages, comparable and printable. Knows nothing of Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
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
    """One operator and what it runs on. least: actors that are there from the start, where they may become more. `cpus`
    and `gpus` are per actor; `calls` run in one actor at once. labels: that its nodes must have."""

    name: str
    operator: type
    arguments: tuple[Any, ...] = field(repr=False)
    actors: int
    calls: int
    cpus: float
    gpus: float = 0.0
    least: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def at_first(self) -> int:
        """Actors that must be had."""
        return self.actors if self.least is None else self.least


def stages(
    job: Job,
    requests_per_chunk: float,
    guard: LeaseGuard | None = None,
    answered: Callable[[int, int, float | None], None] | None = None,
) -> list[Stage]:
    """decode -> infer -> commit. answered: as in InferSettings.

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
        Stage("decode", Decode, (job.decode,), actors=job.workers, calls=1, cpus=1, labels=job.spec.decode.resources),
        Stage(
            "infer",
            Infer,
            (replace(job.infer, logs=job.logs, held=held, answered=answered),),
            actors=engine.replicas.max,
            least=engine.replicas.min,
            labels=engine.resources,
            calls=min(MOST_CALLS, max(2, calls)),
            cpus=0,
            gpus=engine.gpus,
        ),
        Stage("commit", Commit, (job.output, held), actors=1, calls=commits_at_once(job.output), cpus=0),
    ]


def commits_at_once(output: str) -> int:
    return COMMITS if is_remote(output) else 1


def check_labels(plan: list[Stage], nodes: Iterable[Mapping[str, str]]) -> None:
    """Refuse a plan that would wait for ever. nodes: the labels of each."""
    there = list(nodes)
    for stage in plan:
        if stage.labels and not any(stage.labels.items() <= labels.items() for labels in there):
            wanted = ", ".join(f"{name}: {value}" for name, value in stage.labels.items())
            section = "decode" if stage.name == "decode" else "engine"
            raise SpecError(f"{section}.resources: no node of the Ray cluster has the labels {{{wanted}}}")


def code_check_stages(job: Job, guard: LeaseGuard | None = None) -> list[Stage]:
    """Over committed parts, once the engines have gone: they take all CPUs."""
    tasks = tuple(task for task in job.tasks if task.code_check is not None)
    held = guard.held if guard is not None else None
    return [Stage("code check", CodeCheck, (job.output, tasks, job.decode, held), actors=job.workers, calls=1, cpus=1)]


def check_resources(plan: list[Stage], cpus: float, gpus: float) -> None:
    """Refuse a plan that would wait for ever. Ray waits silently when actors ask for more than there is."""
    asked_cpus = sum(stage.at_first * stage.cpus for stage in plan)
    asked_gpus = sum(stage.at_first * stage.gpus for stage in plan)
    if asked_cpus > cpus:
        raise SpecError(f"decode.workers: the plan takes {asked_cpus:g} CPUs and the cluster has {cpus:g}; lower it")
    if asked_gpus > gpus:
        engine = max(plan, key=lambda stage: stage.gpus)
        raise SpecError(
            f"engine: {engine.at_first} replicas of {engine.gpus:g} GPUs take {asked_gpus:g} "
            f"and the cluster has {gpus:g}; lower engine.replicas or gpus_per_replica"
        )
