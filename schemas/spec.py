"""The job spec: what a YAML file may say. Knows nothing of files, tasks or Ray.

`JobSpec` is the border: past it, plain dataclasses go on. The key list is frozen by a test.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.decode import UnitKind

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSpec(_Section):
    """One entry of `tasks:` written out. A bare name stands for {name: …}. With `output` it is a task of its own."""

    name: Annotated[str, Field(min_length=1)] = Field(description="a task, package.module:NAME, or a name of your own")
    prompt: str | None = Field(None, description="asked instead of the task's own prompt; {column} is filled in")
    parameters: dict[str, Any] = Field({}, description="values for {names} in the prompt; default: columns")
    output: dict[str, Any] | None = Field(None, description="JSON Schema of the answer: makes this a task of your own")
    units: Annotated[tuple[UnitKind, ...], Field(min_length=1)] | None = Field(
        None, description="what a task of your own is asked about; default: pages, images and clips"
    )
    sampling: Literal["task", "model"] | None = Field(
        None,
        description="model: as Qwen samples this kind of model; default: model for Thinking checkpoints, else task",
    )
    max_tokens: PositiveInt | None = Field(None, description="longest answer; default: the task's own, as all below")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(None, description="0 is greedy")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="nucleus; 1 is off")
    top_k: Annotated[int, Field(ge=0)] | None = Field(None, description="0 is off")
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(None, description="0 is off")
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = Field(None, description="1 is off")
    seed: int | None = Field(None, description="makes sampling repeatable")
    zooms: Annotated[int, Field(ge=0, le=8)] | None = Field(
        None, description="crops of a picture that the model may ask for before it answers; 0 is none"
    )
    reasoning: bool = Field(False, description="keep what a thinking model thought, in a column of its own")


class EngineSpec(_Section):
    kind: Literal["torch", "vllm", "openai", "scripted"] = Field(
        "torch",
        description="torch: the embedded engine; vllm: for throughput on GPUs; openai: any OpenAI-compatible server; "
        "scripted: a fake",
    )
    model: str | None = Field(None, description="checkpoint folder or hub name; of a server, the name it serves")
    url: str | None = Field(None, description="base address of the server, as http://host:8000/v1 (openai)")
    api_key_env: str | None = Field(
        None, description="the environment variable that holds the key, where the engine runs (openai)"
    )
    clips: Literal["video", "images"] = Field(
        "video", description="video: for vLLM, started with --trust-request-mm-kwargs; images: any server (openai)"
    )
    recording: str | None = Field(None, description="JSONL of recorded replies (scripted)")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: float32 on CPU, else bfloat16")
    replicas: PositiveInt = Field(1, description="engines, each in an actor of its own")
    gpus_per_replica: Annotated[float, Field(ge=0)] = Field(
        0, description="0 runs on the CPU; vllm splits the model over several (tensor parallel)"
    )
    slots: PositiveInt | None = Field(
        None, description="requests that one engine works on at once; default: 8, vllm 128"
    )
    max_context: PositiveInt | None = Field(
        None, description="tokens of prompt and answer; default: 32768 or the model's; vllm reaches 4 times the model's"
    )
    options: dict[str, Any] = Field({}, description="vllm: further arguments, by the names of its AsyncEngineArgs")
    deadline_s: PositiveFloat = Field(1800.0, description="seconds a request may take, waiting included")
    stall_s: PositiveFloat = Field(300.0, description="seconds without progress until the engine is restarted")

    @property
    def has_weights(self) -> bool:
        """Whether it runs a checkpoint that lies here."""
        return self.kind in ("torch", "vllm")

    @property
    def concurrency(self) -> int:
        """Requests that one engine works on at once."""
        return self.slots or {"vllm": 128}.get(self.kind, 8)


class DecodeSpec(_Section):
    video_fps: PositiveFloat = Field(2.0, description="frames sampled a second")
    video_clip_s: PositiveFloat = Field(30.0, description="longest clip")
    video_backend: Literal["pyav", "decord"] = Field("pyav", description="the library that reads videos")
    video_max_tokens: PositiveInt | None = Field(None, description="tokens of a clip; default: the checkpoint's")
    page_dpi: Annotated[float, Field(ge=18, le=1200)] = Field(144.0, description="at which pages are rendered")
    image_max_tokens: PositiveInt | None = Field(None, description="tokens of a picture; default: the checkpoint's")
    page_split: Literal["auto", "none", "lines"] = Field(
        "auto", description="lines: text is read line by line; auto: where the checkpoint says that it reads lines"
    )
    timeout_s: PositiveFloat = Field(60.0, description="seconds a decoder may take for one unit")
    memory_mb: Annotated[int, Field(ge=512)] = Field(2048, description="address space of one decoder")
    workers: PositiveInt | None = Field(None, description="decoders at once; default: the CPUs there are")


class LimitsSpec(_Section):
    max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="a larger share: exit code 3")
    chunk_units: PositiveInt = Field(32, description="units committed together at most")
    chunk_mb: PositiveInt = Field(64, description="decoded megabytes of a chunk at most")


class JobSpec(_Section):
    """A job: which inputs, which tasks, which engine, and where the Parquet goes."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="stands in every row, as `job`")
    inputs: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="files, folders, globs, and tables of paths (.csv, .parquet) whose other columns come along"
    )
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1)] = Field(
        description="what is asked; a bare name stands for {name: …}"
    )
    engine: EngineSpec
    decode: DecodeSpec = DecodeSpec()
    output: Annotated[str, Field(min_length=1)] = Field(description="folder of the results")
    limits: LimitsSpec = LimitsSpec()

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, data: object) -> object:
        """`inputs: path` and `tasks: ocr` mean lists of one; a bare task name means {name: …}."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for key in ("inputs", "tasks"):
            if isinstance(data.get(key), (str, dict)):
                data[key] = [data[key]]
        if isinstance(data.get("tasks"), (list, tuple)):
            data["tasks"] = [{"name": task} if isinstance(task, str) else task for task in data["tasks"]]
        return data

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        names = [task.name for task in self.tasks]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: {doubled[0]!r} is named twice")
        if self.engine.has_weights and not self.engine.model:
            raise ValueError(f"engine.model: the {self.engine.kind} engine needs a checkpoint folder or a hub name")
        if self.engine.options and self.engine.kind != "vllm":
            raise ValueError(f"engine.options: the {self.engine.kind} engine takes none")
        if self.engine.kind == "openai":
            _check_server(self.engine)
        if self.engine.kind == "scripted" and not self.engine.recording:
            raise ValueError("engine.recording: the scripted engine needs a JSONL file of replies")
        return self


def _check_server(engine: EngineSpec) -> None:
    if not engine.url or not engine.model:
        raise ValueError("engine.url, engine.model: a server needs its address and the name of the model it serves")
    address = urlsplit(engine.url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("engine.url: not an address like http://host:8000/v1")
    if address.username or address.password or address.query:
        # the spec is copied into the job's folder
        raise ValueError("engine.url: no password or key belongs there; name its environment variable: api_key_env")
    if engine.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", engine.api_key_env):
        raise ValueError("engine.api_key_env: the name of an environment variable, not the key itself")
