"""Jobs from what an output stores: the specs that its tasks were defined in, which nobody needs to have any more. Knows
no YAML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.folder import MOST_DIFFERENCES, differences
from pipelines.job import Job, prepare
from pipelines.rounds import Round, definitions
from schemas.engine_spec import EngineSpec
from schemas.errors import JobConflict
from schemas.spec import JobSpec


def stored_jobs(
    rounds: Sequence[Round], specs: Mapping[str, JobSpec], output: str, engine: EngineSpec | None = None
) -> list[Job]:
    """A job for each of the specs, with the tasks that were defined in it, as they were defined: all that is open in an
    output is theirs to do, one after the other.

    rounds: of the output. specs: by task, the one that it was defined in (JobFolder.specs). output: the address of the
    output now, wherever it was when the spec was written. engine: another than the spec's answers; the tasks stay what
    they are.

    Raises SpecError for what a spec names and is not there any more; JobConflict where a task would be another now (its
    module, or the checkpoint in its place, was changed since).
    """
    by_spec: list[tuple[JobSpec, list[str]]] = []
    for task, spec in specs.items():
        here = spec.model_copy(update={"output": output} | ({} if engine is None else {"engine": engine}))
        for known, names in by_spec:
            if known == here:
                names.append(task)
                break
        else:
            by_spec.append((here, [task]))
    defined = definitions(rounds)
    jobs = []
    for spec, names in by_spec:
        job = prepare(spec)  # with all its tasks: settings of decoding and engine are for all of them
        there = {name: defined[name] for name in names}
        unlike = () if engine is None else ("engine", "decode")
        _check(output, _without(unlike, there), _without(unlike, {name: job.definitions[name] for name in names}))
        tasks = tuple(task for task in job.tasks if task.name in names)
        jobs.append(replace(job, tasks=tasks, infer=replace(job.infer, tasks=tasks), definitions=there))
    return jobs


def _without(keys: Sequence[str], defined: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: {key: value for key, value in of.items() if key not in keys} for name, of in defined.items()}


def _check(output: str, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Raises JobConflict."""
    if lines := differences(there, here):
        more = f"; and {len(lines) - MOST_DIFFERENCES} more" if len(lines) > MOST_DIFFERENCES else ""
        raise JobConflict(
            f"{output} holds answers of other tasks than its spec means by now: {'; '.join(lines[:MOST_DIFFERENCES])}"
            f"{more}; undo the change, or have the task asked anew with `sightread run SPEC --redo TASK`"
        )
