"""Find tasks by name: one file in pipelines/tasks/ each, the file name is the task's name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from dataclasses import replace

import pipelines.tasks
from schemas.errors import SpecError
from schemas.spec import TaskSpec
from schemas.task import Task


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(pipelines.tasks.__path__))


def find(name: str) -> Task:
    """The task of that name. Raises SpecError with the nearest known name."""
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise SpecError(
            f"tasks: there is no task {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}")
        )
    task = importlib.import_module(f"pipelines.tasks.{name}").TASK
    assert isinstance(task, Task)
    return task


def bind(spec: TaskSpec) -> Task:
    """The task with what the spec says otherwise."""
    task = find(spec.name)
    sampling = replace(
        task.sampling,
        temperature=spec.temperature,
        top_p=spec.top_p,
        top_k=spec.top_k,
        presence_penalty=spec.presence_penalty,
        repetition_penalty=spec.repetition_penalty,
        seed=spec.seed,
        max_tokens=spec.max_tokens or task.sampling.max_tokens,
    )
    if spec.prompt is not None:
        task = replace(task, prompt=spec.prompt, prompts={})
    return replace(task, sampling=sampling)
