"""Find tasks: by name, one file in pipelines/tasks/ each; as package.module:NAME; or written out in the spec."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from dataclasses import asdict, fields, replace
from typing import Any

import pipelines.tasks
from operators.checks.intrinsics import COLUMNS, find_intrinsics
from pipelines import task_modules
from pipelines.inline import inline_task
from pipelines.loops.zoom import ZOOMABLE, with_zoom
from schemas.errors import InputError, SpecError
from schemas.request import Sampling
from schemas.spec import TaskSpec
from schemas.task import Task


def names() -> list[str]:
    """Of the tasks that ship: the file name is the task's name."""
    return sorted(module.name for module in pkgutil.iter_modules(pipelines.tasks.__path__))


def find(name: str, *, has_prompt: bool = False) -> Task:
    """The task of that name, or at that place. has_prompt: it is asked with a prompt of the user's, so that an unknown
    name may be meant for a task of their own. Raises SpecError with the nearest known name."""
    if task_modules.names_code(name):
        return _imported(name)
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"there are {', '.join(known)}"
        if has_prompt:
            hint = "one of your own needs an `output:`, a JSON Schema, beside its prompt"
        raise SpecError(f"tasks: there is no task {name!r}; " + (f"did you mean {near[0]!r}?" if near else hint))
    task = importlib.import_module(f"pipelines.tasks.{name}").TASK
    assert isinstance(task, Task)
    return task


def bind(spec: TaskSpec) -> Task:
    """The task with what the spec says otherwise. Raises SpecError."""
    if spec.output is not None:
        if spec.name in names():
            raise SpecError(f"tasks: {spec.name!r} is a task that ships; give yours another name, or no `output:`")
        task = inline_task(spec)
    else:
        task = find(spec.name, has_prompt=spec.prompt is not None)
        if spec.units is not None:
            raise SpecError(f"tasks: {spec.name}: units: only a task with an `output:` of its own says what it takes")
        if spec.prompt is not None:
            task = replace(task, prompt=spec.prompt, prompts={})
    known = (*task.parameter_names(), *(COLUMNS if task.camera else ()))
    if unknown := sorted(spec.parameters.keys() - set(known)):
        takes = f"takes {', '.join(known)}" if known else "takes none"
        raise SpecError(f"tasks: {task.name}: parameters: the prompt has no {{{unknown[0]}}}; it {takes}")
    if task.camera:
        try:
            find_intrinsics(spec.parameters, None, 1000, 1000)
        except InputError as error:
            raise SpecError(f"tasks: {task.name}: parameters: {error}") from error
    task = replace(
        task,
        sampling=replace(task.sampling, **sampling_of(spec)),
        parameters={**task.parameters, **spec.parameters},
        reasoning_column=task.reasoning_column or spec.reasoning,
        zooms=task.zooms if spec.zooms is None else spec.zooms,
    )
    if task.zooms and not ZOOMABLE & set(task.unit_kinds):
        raise SpecError(f"tasks: {task.name}: zooms: it is asked about no pages, pictures or screens")
    return with_zoom(task) if task.zooms else task


def sampling_of(spec: TaskSpec) -> dict[str, Any]:
    """The fields of Sampling that the spec sets."""
    return {field.name: value for field in fields(Sampling) if (value := getattr(spec, field.name, None)) is not None}


def identity(task: Task) -> dict[str, Any]:
    """What of a task changes answers, or the type of its column: part of the job's identity."""
    return {
        "prompt": task.prompt,
        "prompts": task.prompts,
        "parameters": task.parameters,
        "sampling": asdict(task.sampling),
        "output": task.output.schema,
        "units": task.unit_kinds,
        "defaults": task.defaults,
        "zooms": task.zooms,
        "reasoning": task.reasoning_column,
    }


def _imported(place: str) -> Task:
    try:
        task = task_modules.load(place)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        # a command over an output does not know where its spec lay
        absent = isinstance(error, ModuleNotFoundError) and error.name == place.partition(":")[0].partition(".")[0]
        where = "; it is looked for beside the spec, and where one stands" if absent else ""
        raise SpecError(f"tasks: {place!r} cannot be imported: {error}{where}") from error
    if not isinstance(task, Task):
        raise SpecError(f"tasks: {place!r} is a {type(task).__name__}, not a schemas.task.Task")
    return task
