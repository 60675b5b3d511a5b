"""From a spec to a job: what will be asked, with what, and who it is. Starts nothing, decodes nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from model.engines.kinds import Demand, EngineKind
from model.prompts.line_image import line_reader_of
from model.prompts.pixels import PixelBudget
from model.prompts.preprocessors import pixel_budget
from model.prompts.presets import preset, thinks
from operators.infer.infer import InferSettings, Provenance
from operators.media.full_res import FULL_RES_PX
from operators.media.pictures import LARGEST_PX
from operators.store.addresses import absolute, local_path, store_at
from pipelines.catalogue import bind, identity, sampling_of
from pipelines.engine_files import engine_of
from pipelines.folder import sha256_of
from schemas.address import canonical, is_remote
from schemas.decode import DecodeSettings, LineReader
from schemas.errors import SpecError
from schemas.fetch import FetchSettings
from schemas.spec import JobSpec, TaskSpec
from schemas.task import Task
from schemas.version import VERSION

_FULL_INPUT = frozenset(("document", "video"))
_QUESTION_TOKENS = 1024
_LEAST_FULL_INPUT_TOKENS = 1024
_PER_TRY = ("timeout_s", "memory_mb", "draw_forms", "fetch", "video_share")
"""Settings of decoders that bound or divide a try at a file, and are no part of a job's identity."""


@dataclass(frozen=True)
class Job:
    """output: address of the store that everything is put into. identity: the keys that change answers. definitions: by
    task, what makes it the same task when the output is used again. left_open: as sentences, what a run will
    know and this job, prepared for a plan alone, does not; has_checkpoint: whether it knows what describes its own.
    """

    spec: JobSpec
    output: str
    tasks: tuple[Task, ...]
    decode: DecodeSettings
    infer: InferSettings
    workers: int
    identity: dict[str, Any]
    definitions: dict[str, dict[str, Any]]
    left_open: tuple[str, ...] = ()
    has_checkpoint: bool = True

    def as_there(self, there: Mapping[str, dict[str, Any]]) -> Job:
        """With what is left open taken to be as an output has it. there: its tasks by name, as they are defined."""
        if not self.left_open:
            return self
        definitions = dict(self.definitions)
        for name in self.definitions.keys() & there.keys():
            kept = {} if self.has_checkpoint else {key: there[name][key] for key in ("decode", "sampling")}
            known = {"weights_sha256": there[name]["engine"].get("weights_sha256")} | self.definitions[name]["engine"]
            definitions[name] = self.definitions[name] | kept | {"engine": known}
        return replace(self, definitions=definitions)

    @property
    def logs(self) -> Path | None:
        """The folder of what a run logs and its engines print; None where the output is no folder."""
        folder = local_path(self.output)
        return folder / "_job" / "logs" if folder is not None else None


def prepare(spec: JobSpec, *, fetch: bool = True) -> Job:
    """fetch: the weights of a checkpoint that lies elsewhere too; without, the job is for a plan alone.

    Raises SpecError for a task, a checkpoint or a recording that is not there, or a store that cannot be.
    """
    store_at(spec.output)
    bound = [bind(entry) for entry in spec.tasks]
    names = [task.name for task in bound]
    if repeated := sorted(name for name, number in Counter(names).items() if number > 1):
        raise SpecError(f"tasks: {repeated[0]!r} is named twice")
    settings_of_fetch = FetchSettings(**spec.fetch.model_dump())
    engine, files = engine_of(spec.engine, settings_of_fetch, fetch=fetch)
    identity_of_engine = engine.identity()
    tasks = tuple(_sampled(task, entry, engine) for task, entry in zip(bound, spec.tasks, strict=True))
    for task in tasks:
        if task.constrained and (reason := engine.refusal(task.output.schema)) is not None:
            raise SpecError(f"tasks: {task.name}: output schema, {reason}")
    folder = engine.checkpoint
    bounds = _pixel_bounds(spec, pixel_budget(folder) if folder is not None else PixelBudget())
    context = engine.context(_demand(tasks, bounds))
    full_input_tokens = _full_input_tokens(tasks, context)
    settings = engine.settings(context, _demand(tasks, bounds, full_input_tokens))
    decode = _decode_settings(
        spec,
        bounds,
        line_reader_of(folder) if folder is not None else None,
        settings_of_fetch,
        full_input_tokens=full_input_tokens,
        full_res_max_px=FULL_RES_PX if any(task.zooms for task in tasks) else 0,
    )
    identity_of_job = {
        "inputs": [_entry(entry) for entry in spec.inputs],
        # pydantic's defaults and the checkpoint's pixel bounds are answers' business too: spelled out
        "decode": {key: value for key, value in asdict(decode).items() if key not in _PER_TRY},
        "tasks": {task.name: identity(task) for task in tasks},
        "engine": identity_of_engine,
        "limits": {"chunk_units": spec.limits.chunk_units, "chunk_mb": spec.limits.chunk_mb},
    }
    if spec.types:  # folders of before there was this key go on
        identity_of_job["types"] = spec.types
    identity_of_job = _as_json(identity_of_job)
    provenance = Provenance(
        job=spec.name,
        model=engine.model,
        weights_sha256=identity_of_engine.get("weights_sha256", ""),
        prompt_sha256={task.name: sha256_of({"prompt": task.prompt, "prompts": task.prompts}) for task in tasks},
        spec_sha256=sha256_of(identity_of_job),
        version=VERSION,
    )
    return Job(
        spec=spec,
        output=absolute(spec.output),
        tasks=tasks,
        decode=decode,
        infer=InferSettings(
            settings, tasks, decode, provenance, spec.engine.deadline_s, spec.engine.stall_s, localize=files
        ),
        workers=spec.decode.workers or os.cpu_count() or 1,
        identity=identity_of_job,
        definitions={
            task.name: _as_json(
                identity(task) | {"decode": _decode_identity(decode, task), "engine": identity_of_engine}
            )
            for task in tasks
        },
        left_open=engine.left_open,
        has_checkpoint=folder is not None,
    )


def _decode_identity(decode: DecodeSettings, task: Task) -> dict[str, Any]:
    """The settings of decoding that show in the units of a task."""
    kinds = set(task.unit_kinds)
    unseen = set(_PER_TRY)
    unseen |= {name for name in _decode_keys() if name.startswith("video_")} if not kinds & {"clip", "video"} else set()
    unseen |= {"page_dpi"} if not kinds & {"page", "document"} else set()
    unseen |= {"full_input_tokens"} if not kinds & _FULL_INPUT else set()
    unseen |= {"full_res_max_px"} if not task.zooms else set()
    unseen |= {"line_reader"} if not task.by_line else set()
    return {key: value for key, value in asdict(decode).items() if key not in unseen}


def _decode_keys() -> list[str]:
    return [field.name for field in fields(DecodeSettings)]


def _entry(entry: str) -> str:
    """The same wherever the job is started from."""
    if is_remote(entry):
        return canonical(entry)
    return entry if "://" in entry else os.path.abspath(entry)  # noqa: PTH100


def _sampled(task: Task, entry: TaskSpec, engine: EngineKind[Any]) -> Task:
    """With the model's own sampling where that is asked for, or where nothing is and greedy answers turn in circles."""
    folder = engine.weights
    if folder is None:
        if entry.sampling == "model" and not engine.left_open:
            raise SpecError(f"tasks: {task.name}: sampling: the {engine.spec.kind} engine runs no model of its own")
        return task
    if entry.sampling == "task" or not (entry.sampling == "model" or thinks(folder)):
        return task
    usual = preset(folder, pictures=task.unit_kinds != ("text",))
    return replace(task, sampling=replace(task.sampling, **(usual | sampling_of(entry))))


def _demand(tasks: tuple[Task, ...], bounds: PixelBudget, full_input_tokens: int = 0) -> Demand:
    kinds = {kind for task in tasks for kind in task.unit_kinds}
    token_px = bounds.token_side_px**2
    full_input_px = full_input_tokens * 2 * token_px
    image_max_px = max(bounds.image_max_px, LARGEST_PX) if kinds - {"text", "video"} else 0
    video_max_px = max(bounds.video_max_px * ("clip" in kinds), full_input_px * ("video" in kinds))
    return Demand(
        image_max_px=image_max_px,
        video_max_px=video_max_px,
        visual_tokens=max(image_max_px // token_px, video_max_px // (2 * token_px)),
        text_tokens=max(task.sampling.max_tokens for task in tasks) + _QUESTION_TOKENS,
        full_inputs=bool(_FULL_INPUT & kinds),
    )


def _full_input_tokens(tasks: tuple[Task, ...], context: int) -> int:
    """What the pictures of a whole document or video may take of the engine's context; 0 where nobody asks.

    The longest answer and the question keep their room.
    """
    answers = [task.sampling.max_tokens for task in tasks if _FULL_INPUT & set(task.unit_kinds)]
    if not answers:
        return 0
    left = context - max(answers) - _QUESTION_TOKENS
    if left < _LEAST_FULL_INPUT_TOKENS:
        raise SpecError(
            f"engine.max_context: {context} tokens leave no room for a whole document or video beside an answer "
            f"of {max(answers)}; raise it, or lower max_tokens"
        )
    return left


def _pixel_bounds(spec: JobSpec, budget: PixelBudget) -> PixelBudget:
    """The checkpoint's bounds, or those of the spec's decode section where it names others."""
    section = spec.decode
    token_px = budget.token_side_px**2
    image_max = section.image_max_tokens * token_px if section.image_max_tokens else budget.image_max_px
    # a clip's bound is over all its frames before two of them merge into one token row
    video_max = section.video_max_tokens * token_px * 2 if section.video_max_tokens else budget.video_max_px
    return replace(
        budget,
        image_min_px=min(budget.image_min_px, image_max),
        image_max_px=image_max,
        video_min_px=min(budget.video_min_px, video_max),
        video_max_px=video_max,
    )


def _decode_settings(
    spec: JobSpec,
    bounds: PixelBudget,
    reader: LineReader | None,
    fetch: FetchSettings,
    *,
    full_input_tokens: int,
    full_res_max_px: int,
) -> DecodeSettings:
    """reader: how the checkpoint reads lines, None when it does not say."""
    section = spec.decode
    return DecodeSettings(
        video_fps=section.video_fps,
        video_clip_s=section.video_clip_s,
        video_backend=section.video_backend,
        page_dpi=section.page_dpi,
        timeout_s=section.timeout_s,
        memory_mb=section.memory_mb,
        line_reader={"auto": reader, "lines": reader or LineReader(), "none": None}[section.page_split],
        full_input_tokens=full_input_tokens,
        full_res_max_px=full_res_max_px,
        fetch=fetch,
        **asdict(bounds),
    )


def _as_json(value: Any) -> Any:
    """Tuples as lists, as they come back from identity.json."""
    if isinstance(value, dict):
        return {key: _as_json(sub) for key, sub in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(sub) for sub in value]
    return value
