"""The YAML border: what a spec may say, and the sentence that a wrong one gets."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pydantic
import pytest

from jobs.load import load, parse, parse_stored
from model.engines.kinds import EngineKind
from schemas.engine_kinds import engine_specs
from schemas.errors import SpecError
from schemas.spec import JobSpec

SMALL: dict[str, Any] = {
    "name": "papers",
    "inputs": ["a.pdf"],
    "tasks": ["ocr"],
    "engine": {"kind": "scripted", "recording": "replies.jsonl"},
    "output": "out",
}


def keys(model: type[pydantic.BaseModel], place: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = [one for one in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(one, type)]
        sections = [one for one in inner if issubclass(one, pydantic.BaseModel)]
        names += keys(sections[0], f"{place}{name}.") if len(sections) == 1 else [place + name]
    return names


def test_the_key_list_is_frozen() -> None:
    """A new knob means editing this list, and saying in the commit why nothing else would do."""
    assert keys(JobSpec) == [
        "name",
        "inputs",
        "types",
        *(f"tasks.{key}" for key in ("name", "prompt", "parameters", "output", "units")),
        *(f"tasks.{key}" for key in ("sampling", "max_tokens", "temperature", "top_p", "top_k")),
        *(f"tasks.{key}" for key in ("presence_penalty", "repetition_penalty", "seed", "zooms", "reasoning")),
        "engine",
        *(f"decode.{key}" for key in ("video_fps", "video_clip_s", "video_backend", "video_max_tokens")),
        *(
            f"decode.{key}"
            for key in ("page_dpi", "image_max_tokens", "page_split", "timeout_s", "memory_mb", "workers", "resources")
        ),
        *(f"fetch.{key}" for key in ("allow_hosts", "max_mb", "timeout_s", "use_proxies")),
        "output",
        *(f"limits.{key}" for key in ("max_failed_fraction", "max_doubtful_fraction", "chunk_units", "chunk_mb")),
    ]


def test_the_keys_of_each_engine_are_frozen() -> None:
    every = ("kind", "replicas.min", "replicas.max", "resources", "slots", "max_context", "deadline_s", "stall_s")
    assert {kind: keys(spec) for kind, spec in engine_specs().items()} == {
        "openai": [*every, "url", "model", "api_key_env", "clips"],
        "scripted": [*every, "recording"],
        "torch": [*every, "model", "dtype", "gpus_per_replica"],
        "vllm": [*every, "model", "dtype", "gpus_per_replica", "options"],
    }


@pytest.mark.parametrize("kind", engine_specs())
def test_a_kind_of_engine_is_the_name_of_its_files(kind: str) -> None:
    assert engine_specs()[kind].model_fields["kind"].default == kind
    module = importlib.import_module(f"model.engines.{kind}_kind")
    assert module.Settings.kind == kind
    assert issubclass(module.Kind, EngineKind)


@pytest.mark.parametrize(
    "engine", [{"model": "m"}, {"kind": "vllm", "model": "m", "options": {"a": 1}}, SMALL["engine"]]
)
def test_a_spec_is_stored_whole_and_read_again(engine: dict[str, Any]) -> None:
    spec = parse({**SMALL, "engine": engine}, "spec")
    assert parse(spec.model_dump(mode="json"), "stored") == spec
    assert spec.engine.kind == engine.get("kind", "torch")


def test_what_an_older_version_stored_is_read_without_the_keys_of_other_engines() -> None:
    stored = {**SMALL, "engine": {**SMALL["engine"], "url": None, "dtype": "auto"}}
    assert parse_stored(stored, "stored").engine == parse(SMALL, "spec").engine
    with pytest.raises(SpecError, match="it belongs to"):
        parse(stored, "spec")


def test_a_bare_task_and_a_bare_input_are_lists_of_one() -> None:
    spec = parse({**SMALL, "tasks": "ocr", "inputs": "a.pdf"}, "spec")
    assert spec.inputs == ("a.pdf",)
    assert [task.name for task in spec.tasks] == ["ocr"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"taks": ["ocr"]}, r"unknown key 'taks'; did you mean 'tasks'\?"),
        ({"decode": {"page_dpy": 100}}, r"unknown key 'decode.page_dpy'; did you mean 'page_dpi'\?"),
        (
            {"tasks": [{"name": "ocr", "promt": "x"}]},
            r"unknown key 'tasks\[0\].promt'; did you mean 'prompt'\?",
        ),
        ({"engine": {"kind": "torch"}}, r"engine.model: the torch engine needs this key: checkpoint folder, hub name"),
        ({"engine": {"kind": "openai", "model": "m"}}, r"engine.url: the openai engine needs this key: base address"),
        ({"engine": {"model": "m", "url": "x"}}, r"engine.url: the torch engine has no such key; it belongs to openai"),
        (
            {"engine": {**SMALL["engine"], "dtype": "auto"}},
            r"engine.dtype: the scripted engine has no such key; it belongs to torch and vllm$",
        ),
        ({"engine": {"model": "m", "dtyp": "x"}}, r"unknown key 'engine.dtyp'; did you mean 'dtype'\?"),
        (
            {"engine": {"model": "m", "recordin": "x"}},
            r"unknown key 'engine.recordin'; did you mean 'recording', which belongs to scripted\?",
        ),
        ({"engine": {"model": "m", "x": 1}}, r"unknown key 'engine.x'; known are kind, .*gpus_per_replica$"),
        ({"engine": {"model": "m", "slots": 0}}, r"engine.slots: .*greater than or equal to 1 \(it is 0\)"),
        ({"engine": {"kind": "openai", "model": "m", "url": "host:8000"}}, r"engine.url: not an address"),
        ({"engine": {"kind": "openai", "model": "m", "url": "http://me:key@host/v1"}}, r"no password or key belongs"),
        (
            {"engine": {"kind": "openai", "model": "m", "url": "http://host/v1", "api_key_env": "sk-1234"}},
            r"api_key_env: the name of an environment variable, not the key itself$",
        ),
        ({"engine": {"kind": "vllm"}}, r"engine.model: the vllm engine needs this key"),
        (
            {"engine": {**SMALL["engine"], "options": {"a": 1}}},
            r"engine.options: the scripted engine has no such key; it belongs to vllm",
        ),
        ({"engine": {"kind": "warp"}}, r"engine.kind: there is no engine 'warp'; .* openai, scripted, torch, vllm"),
        ({"engine": {"kind": "vlm"}}, r"engine.kind: there is no engine 'vlm'; did you mean 'vllm'\?"),
        ({"engine": "torch"}, r"engine: input should be a valid dictionary"),
        ({"tasks": []}, r"tasks: name at least one$"),
        ({"tasks": ["ocr", "ocr"]}, r"tasks: 'ocr' is named twice"),
        ({"decode": {"video_fps": 0}}, r"decode.video_fps: .*greater than .*0\.001 \(it is 0\)"),
        ({"decode": {"video_fps": float("inf")}}, r"decode.video_fps: .*finite"),
        ({"output": None}, r"output: .*string"),
    ],
)
def test_a_wrong_spec_gets_one_sentence_that_names_the_place(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence) as caught:
        parse({**SMALL, **change}, "spec.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("spec.yaml: ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "there is no job spec"),
        ("a: [1", "is not YAML"),
        ("- a", "holds list, not a mapping"),
        ("", "is empty"),
        ("!!python/object/apply:os.system ['true']", "line 1: the tag .* is none that is read"),
    ],
)
def test_a_file_that_is_no_spec(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "spec.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecError, match=sentence):
        load(path)
