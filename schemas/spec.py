"""The job spec: what a YAML file may say. Knows nothing of files, tasks or Ray.

`JobSpec` is the border: past it, plain dataclasses go on. The key list is frozen by a test.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import Field, model_validator

from schemas.decode import UnitKind
from schemas.engine_kinds import DEFAULT_KIND, engine_specs
from schemas.engine_spec import EngineSpec
from schemas.section import LABEL, MOST, PositiveFloat, PositiveInt, Section


class TaskSpec(Section):
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
    top_k: Annotated[int, Field(ge=0, le=MOST)] | None = Field(None, description="0 is off")
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(None, description="0 is off")
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = Field(None, description="1 is off")
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = Field(None, description="makes sampling repeatable")
    zooms: Annotated[int, Field(ge=0, le=8)] | None = Field(
        None, description="crops of a picture that the model may ask for before it answers; 0 is none"
    )
    reasoning: bool = Field(False, description="keep what a thinking model thought, in a column of its own")


if TYPE_CHECKING:
    AnyEngineSpec: TypeAlias = EngineSpec
else:
    AnyEngineSpec = Annotated[Union[tuple(engine_specs().values())], Field(discriminator="kind")]  # noqa: UP007


class DecodeSpec(Section):
    video_fps: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = Field(
        2.0, description="frames sampled a second"
    )
    video_clip_s: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] = Field(
        30.0, description="longest clip"
    )
    video_backend: Literal["pyav", "decord"] = Field("pyav", description="the library that reads videos")
    video_max_tokens: PositiveInt | None = Field(None, description="tokens of a clip; default: the checkpoint's")
    page_dpi: Annotated[float, Field(ge=18, le=1200)] = Field(144.0, description="at which pages are rendered")
    image_max_tokens: PositiveInt | None = Field(None, description="tokens of a picture; default: the checkpoint's")
    page_split: Literal["auto", "none", "lines"] = Field(
        "auto", description="lines: text is read line by line; auto: where the checkpoint says that it reads lines"
    )
    timeout_s: PositiveFloat = Field(60.0, description="seconds that a decoder may work without a sign of progress")
    memory_mb: Annotated[int, Field(ge=512, le=MOST)] = Field(2048, description="address space of one decoder")
    workers: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="decoders at once; default: the CPUs there are"
    )
    resources: dict[str, Annotated[str, Field(pattern=LABEL)]] = Field(
        {}, description="labels that a node of the Ray cluster must have for them, by name"
    )


class FetchSpec(Section):
    allow_hosts: tuple[str, ...] = Field(
        (), description="hosts of the web that may have a private address, and may be asked by http"
    )
    max_mb: PositiveInt = Field(10_240, description="megabytes of one file of the web at most")
    timeout_s: PositiveFloat = Field(
        600.0, description="seconds that one file of the web may take, with all that is asked again"
    )


class LimitsSpec(Section):
    max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="a larger share: exit code 3")
    chunk_units: PositiveInt | None = Field(
        None, description="units committed together at most; default: 32 at first, 512 in a long job"
    )
    chunk_mb: PositiveInt = Field(128, description="decoded megabytes of a chunk at most")


class JobSpec(Section):
    """A job: which inputs, which tasks, which engine, and where the Parquet goes."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="stands in every row, as `job`")
    inputs: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="paths and addresses: files, folders, globs, shards, tables whose other columns come along"
    )
    types: dict[str, Literal["text", "int", "float", "bool", "date"]] = Field(
        {}, description="what columns of a .csv or .tsv are, by name; default: text, as it is written"
    )
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=100)] = Field(
        description="what is asked; a bare name stands for {name: …}"
    )
    engine: AnyEngineSpec
    decode: DecodeSpec = DecodeSpec()
    fetch: FetchSpec = FetchSpec()
    output: Annotated[str, Field(min_length=1)] = Field(
        description="where the results go: a path, absolute for a cluster, or file://…"
    )
    limits: LimitsSpec = LimitsSpec()

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, data: object) -> object:
        """`inputs: path` and `tasks: ocr` mean lists of one; a bare task name means {name: …}; an engine is torch."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for key in ("inputs", "tasks"):
            if isinstance(data.get(key), (str, dict)):
                data[key] = [data[key]]
        if isinstance(data.get("tasks"), (list, tuple)):
            data["tasks"] = [{"name": task} if isinstance(task, str) else task for task in data["tasks"]]
        if isinstance(data.get("engine"), dict):
            data["engine"] = {"kind": DEFAULT_KIND, **data["engine"]}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        names = [task.name for task in self.tasks]
        if duplicate := sorted(name for name, number in Counter(names).items() if number > 1):
            raise ValueError(f"tasks: {duplicate[0]!r} is named twice")
        return self
