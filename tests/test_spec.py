"""The YAML border: what a spec may say, and the sentence that a wrong one gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from jobs.load import load, parse
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
    found = []
    for name, field in model.model_fields.items():
        inner = [
            each for each in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(each, type)
        ]
        section = next((each for each in inner if issubclass(each, pydantic.BaseModel)), None)
        found += keys(section, f"{place}{name}.") if section else [place + name]
    return found


def test_the_key_list_is_frozen() -> None:
    """A new knob means editing this list, and saying in the commit why nothing else would do."""
    assert keys(JobSpec) == [
        "name",
        "inputs",
        *(f"tasks.{key}" for key in ("name", "prompt", "parameters", "output", "units")),
        *(f"tasks.{key}" for key in ("sampling", "max_tokens", "temperature", "top_p", "top_k")),
        *(f"tasks.{key}" for key in ("presence_penalty", "repetition_penalty", "seed", "zooms", "reasoning")),
        *(f"engine.{key}" for key in ("kind", "model", "url", "api_key_env", "clips", "recording")),
        *(f"engine.{key}" for key in ("dtype", "replicas", "gpus_per_replica")),
        *(f"engine.{key}" for key in ("slots", "max_context", "options", "deadline_s", "stall_s")),
        *(f"decode.{key}" for key in ("video_fps", "video_clip_s", "video_backend", "video_max_tokens")),
        *(
            f"decode.{key}"
            for key in ("page_dpi", "image_max_tokens", "page_split", "timeout_s", "memory_mb", "workers")
        ),
        "output",
        *(f"limits.{key}" for key in ("max_failed_fraction", "chunk_units", "chunk_mb")),
    ]


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
        ({"engine": {"kind": "torch"}}, r"engine.model: the torch engine needs a checkpoint"),
        ({"engine": {"kind": "openai", "model": "m"}}, r"engine.url, engine.model: a server needs"),
        ({"engine": {"kind": "openai", "model": "m", "url": "host:8000"}}, r"engine.url: not an address"),
        ({"engine": {"kind": "openai", "model": "m", "url": "http://me:key@host/v1"}}, r"no password or key belongs"),
        (
            {"engine": {"kind": "openai", "model": "m", "url": "http://host/v1", "api_key_env": "sk-1234"}},
            r"api_key_env: the name of an environment variable, not the key itself$",
        ),
        ({"engine": {"kind": "vllm"}}, r"engine.model: the vllm engine needs a checkpoint"),
        ({"engine": {**SMALL["engine"], "options": {"a": 1}}}, r"engine.options: the scripted engine takes none"),
        ({"engine": {"kind": "warp"}}, r"engine.kind: .*'torch', 'vllm', 'openai' or 'scripted'"),
        ({"tasks": []}, r"tasks: .*at least 1"),
        ({"tasks": ["ocr", "ocr"]}, r"tasks: 'ocr' is named twice"),
        ({"decode": {"video_fps": 0}}, r"decode.video_fps: .*greater than 0.*\(it is 0\)"),
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
        ("", "holds NoneType"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_a_file_that_is_no_spec(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "spec.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecError, match=sentence):
        load(path)
