"""From a spec to a job: what will be asked, with what, and who it is. Starts nothing, decodes nothing."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model.engines.engine import DEFAULT_CONTEXT
from model.engines.vllm_args import RESOURCES, longest_context
from model.network.config import Config
from model.network.hub import config_json, resolve, weights_sha256
from model.prompts.line_image import line_reader_of
from model.prompts.pixels import PixelBudget
from model.prompts.presets import preset, thinks
from operators.infer.infer import InferSettings, Provenance
from operators.media.full_res import FULL_RES_PX
from operators.media.pictures import LARGEST_PX
from pipelines.catalogue import bind, identity
from pipelines.folder import sha256_of
from schemas.decode import DecodeSettings, LineReader
from schemas.errors import SpecError
from schemas.spec import EngineSpec, JobSpec, TaskSpec
from schemas.task import Task
from schemas.version import VERSION

_FULL_INPUT = frozenset(("document", "video"))
_QUESTION_TOKENS = 1024
_LEAST_FULL_INPUT_TOKENS = 1024


@dataclass(frozen=True)
class Job:
    """identity: the keys that change answers, as they are compared when the folder is used again."""

    spec: JobSpec
    output: Path
    tasks: tuple[Task, ...]
    decode: DecodeSettings
    infer: InferSettings
    workers: int
    identity: dict[str, Any]

    @property
    def logs(self) -> Path:
        """The folder of what a run logs and its engines print."""
        return self.output / "_job" / "logs"


def prepare(spec: JobSpec) -> Job:
    """Raises SpecError for a task, a checkpoint or a recording that is not there."""
    tasks = tuple(bind(task) for task in spec.tasks)
    names = [task.name for task in tasks]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"tasks: {doubled[0]!r} is named twice")
    engine, source = _engine(spec)
    tasks = tuple(_sampled(task, own, spec, engine) for task, own in zip(tasks, spec.tasks, strict=True))
    folder = checkpoint_folder(spec, engine)
    budget = PixelBudget.from_checkpoint(folder) if folder is not None else PixelBudget()
    reader = line_reader_of(folder) if folder is not None else None
    decode = decode_settings(spec, budget, reader)
    context = _context(spec, tasks, decode, engine)
    decode = replace(
        decode,
        full_input_tokens=_full_input_tokens(tasks, context),
        full_res_max_px=FULL_RES_PX if any(task.zooms for task in tasks) else 0,
    )
    if spec.engine.kind == "vllm":
        engine |= {"max_context": context, **_largest(tasks, decode)}
    identity_of_job = {
        "inputs": [entry if "://" in entry else os.path.abspath(entry) for entry in spec.inputs],  # noqa: PTH100
        # pydantic's defaults and the checkpoint's pixel bounds are answers' business too: spelled out
        "decode": {key: value for key, value in asdict(decode).items() if key not in ("timeout_s", "memory_mb")},
        "tasks": {task.name: identity(task) for task in tasks},
        "engine": {"kind": spec.engine.kind, "dtype": spec.engine.dtype, **source},
        "limits": {"chunk_units": spec.limits.chunk_units, "chunk_mb": spec.limits.chunk_mb},
    }
    identity_of_job = _as_json(identity_of_job)
    provenance = Provenance(
        job=spec.name,
        model=spec.engine.model or spec.engine.kind,
        weights_sha256=source.get("weights_sha256", ""),
        prompt_sha256={task.name: sha256_of({"prompt": task.prompt, "prompts": task.prompts}) for task in tasks},
        spec_sha256=sha256_of(identity_of_job),
        version=VERSION,
    )
    return Job(
        spec=spec,
        output=Path(os.path.abspath(Path(spec.output).expanduser())),  # noqa: PTH100
        tasks=tasks,
        decode=decode,
        infer=InferSettings(engine, tasks, decode, provenance, spec.engine.deadline_s, spec.engine.stall_s),
        workers=spec.decode.workers or os.cpu_count() or 1,
        identity=identity_of_job,
    )


def checkpoint_folder(spec: JobSpec, engine: dict[str, Any]) -> Path | None:
    """Where the checkpoint's own settings lie. A server's model may be a folder here too: vLLM names it by its path."""
    if spec.engine.has_weights:
        return Path(engine["model"])
    if spec.engine.kind == "openai" and (Path(engine["model"]) / "config.json").is_file():
        return Path(engine["model"])
    return None


def _sampled(task: Task, own: TaskSpec, spec: JobSpec, engine: dict[str, Any]) -> Task:
    """With the model's own sampling where that is asked for, or where nothing is and greedy answers turn in circles."""
    if not spec.engine.has_weights:
        if own.sampling == "model":
            raise SpecError(f"tasks: {task.name}: sampling: the {spec.engine.kind} engine runs no model of its own")
        return task
    folder = Path(engine["model"])
    if own.sampling == "task" or not (own.sampling == "model" or thinks(folder)):
        return task
    return bind(own, preset(folder, pictures=task.unit_kinds != ("text",)))


def _context(spec: JobSpec, tasks: tuple[Task, ...], decode: DecodeSettings, engine: dict[str, Any]) -> int:
    """Tokens of prompt and answer that the engine holds.

    What the spec says, else what is usual, or for vllm what the largest picture or clip and the longest answer take
    together where that is more. Beyond the model's own positions only vllm goes, and only for a task that is asked
    about whole inputs: the stretched positions make short prompts worse.
    """
    context = spec.engine.max_context or DEFAULT_CONTEXT
    if not spec.engine.has_weights:
        return context
    config = Config.from_json(config_json(Path(engine["model"])))
    native = config.text.max_positions
    if spec.engine.kind != "vllm":
        return min(context, native)
    if spec.engine.max_context is None:
        side = decode.token_side_px**2
        largest = _largest(tasks, decode)
        visual = max(largest["image_max_px"] // side, largest["video_max_px"] // (2 * side))
        context = max(context, visual + max(task.sampling.max_tokens for task in tasks) + _QUESTION_TOKENS)
        return min(context, native)
    if context > native and not any(_FULL_INPUT & set(task.unit_kinds) for task in tasks):
        raise SpecError(
            f"engine.max_context: {context} tokens are more than the {native} of the model; it is stretched beyond "
            "them only for tasks about whole documents or videos"
        )
    if context > longest_context(config):
        raise SpecError(f"engine.max_context: {context} tokens; this model reaches {longest_context(config)}")
    return context


def _largest(tasks: tuple[Task, ...], decode: DecodeSettings) -> dict[str, int]:
    """Areas in pixels of the largest picture and of the largest clip that will be asked about; 0 where none can be."""
    kinds = {kind for task in tasks for kind in task.unit_kinds}
    full_input_px = decode.full_input_tokens * 2 * decode.token_side_px**2
    return {
        "image_max_px": max(decode.image_max_px, LARGEST_PX) if kinds - {"text", "video"} else 0,
        "video_max_px": max(decode.video_max_px * ("clip" in kinds), full_input_px * ("video" in kinds)),
    }


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


def decode_settings(spec: JobSpec, budget: PixelBudget, own: LineReader | None = None) -> DecodeSettings:
    """The spec's decode section, with the checkpoint's pixel bounds where it names no others.

    own: how the checkpoint reads lines, None when it does not say.
    """
    section = spec.decode
    token_px = budget.token_side_px**2
    image_max = section.image_max_tokens * token_px if section.image_max_tokens else budget.image_max_px
    # a clip's bound is over all its frames before two of them merge into one token row
    video_max = section.video_max_tokens * token_px * 2 if section.video_max_tokens else budget.video_max_px
    return DecodeSettings(
        video_fps=section.video_fps,
        video_clip_s=section.video_clip_s,
        video_backend=section.video_backend,
        page_dpi=section.page_dpi,
        image_min_px=min(budget.image_min_px, image_max),
        image_max_px=image_max,
        video_min_px=min(budget.video_min_px, video_max),
        video_max_px=video_max,
        token_side_px=budget.token_side_px,
        timeout_s=section.timeout_s,
        memory_mb=section.memory_mb,
        line_reader={"auto": own, "lines": own or LineReader(), "none": None}[section.page_split],
    )


def _engine(spec: JobSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the engine child builds, and what of it is part of the job's identity."""
    section = spec.engine
    if section.kind == "scripted":
        assert section.recording is not None
        recording = Path(section.recording).expanduser()
        if not recording.is_file():
            raise SpecError(f"engine.recording: there is no file {section.recording}")
        digest = hashlib.sha256(recording.read_bytes()).hexdigest()
        return (
            {"kind": "scripted", "recording": str(recording.resolve()), "slots": section.concurrency},
            {"recording_sha256": digest},
        )
    assert section.model is not None
    if section.kind == "openai":
        return (
            {
                "kind": "openai",
                "url": section.url,
                "model": section.model,
                "api_key_env": section.api_key_env,
                "slots": section.concurrency,
                "clips": section.clips,
                "silence_s": section.stall_s,
            },
            {"model": section.model, "clips": section.clips},
        )
    folder = resolve(section.model)
    engine: dict[str, Any] = {
        "kind": section.kind,
        "model": str(folder),
        "dtype": section.dtype,
        "slots": section.concurrency,
        "max_context": section.max_context,
        "device": "cuda" if section.gpus_per_replica > 0 else "cpu",
    }
    if section.kind == "torch":
        engine["sharers"] = _sharers(section)
    source: dict[str, Any] = {"model": section.model, "weights_sha256": weights_sha256(folder)}
    if section.kind == "vllm":
        engine |= {"tensor_parallel": max(1, int(section.gpus_per_replica)), "options": section.options}
        if changing := {key: value for key, value in section.options.items() if key not in RESOURCES}:
            source["options"] = changing
    return engine, source


def _sharers(section: EngineSpec) -> int:
    """Replicas that one memory may have to hold. On CPUs all of them, for Ray may put them all on one node; as many as
    fit on a GPU where they take a part of one each; else a GPU is one replica's alone."""
    if section.gpus_per_replica == 0:
        return section.replicas
    return min(section.replicas, max(1, int(1 / section.gpus_per_replica)))


def _as_json(value: Any) -> Any:
    """Tuples as lists, as they come back from identity.json."""
    if isinstance(value, dict):
        return {key: _as_json(sub) for key, sub in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(sub) for sub in value]
    return value
