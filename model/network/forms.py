"""What lies in a folder that is no checkpoint of Qwen3-VL that writes: other formats, adapters, models of vectors and
scores. Each is refused in a sentence that says what it is and who runs it. Looks at names and small files alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from schemas.errors import SpecError
from schemas.json_file import read_object, read_text

_OTHER_FORMATS = (
    # pattern of a name, what it is, what to do
    (r"\.gguf$", "GGUF files, of llama.cpp", "serve them with llama-server and ask it by engine: {kind: openai}"),
    (r"\.onnx$", "an ONNX export", "name the checkpoint that it was made from"),
    (r"^openvino_.*\.xml$", "an OpenVINO export", "name the checkpoint that it was made from"),
    (r"^(pytorch_)?model.*\.(bin|pt|pth)$", "weights in pickle, which may run code", "save them as safetensors"),
    (r"^(tf_model\.h5|flax_model\.msgpack)$", "weights of TensorFlow or Flax", "save them as safetensors"),
)
WRITERS = {"qwen3_vl": "Qwen3VLForConditionalGeneration", "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration"}
"""By model_type of config.json, what its architectures name."""
_OTHER_MODELS = {
    "embedding": "an embedding model: it makes vectors, and no text",
    "reranker": "a reranker: it scores pairs, and writes no text",
}
_MARKS = (
    # of the folder
    ("scripts/qwen3_vl_embedding.py", "embedding"),
    ("1_Pooling", "embedding"),
    ("modules.json", "embedding"),
    ("config_sentence_transformers.json", "embedding"),
    ("scripts/qwen3_vl_reranker.py", "reranker"),
)
_PROMPTS = (
    # of the chat template
    ("Represent the user's input", "embedding"),
    ('answer can only be "yes" or "no"', "reranker"),
)


def refuse_file(path: Path) -> None:
    """A file where a folder is wanted. Raises SpecError."""
    if os.path.isfile(path):  # noqa: PTH113  a name may be too long to be asked for
        holds = _other_format([path.name])
        raise SpecError(f"engine.model: {path} is a file, not a folder" + f"; it holds {holds}" * bool(holds))


def refuse_other_forms(folder: Path, name: str) -> None:
    """name: what the spec calls it. Raises SpecError for what is no checkpoint that writes."""
    names = sorted(os.listdir(folder))  # noqa: PTH208  names alone
    if "adapter_config.json" in names:
        base = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
        raise SpecError(
            f"engine.model: {folder} holds an adapter (LoRA, PEFT) for {f'{base}'[:100] if base else 'another model'}; "
            "merge it into that (merge_and_unload) and name the result, or serve both with vllm serve --enable-lora "
            "and ask it by engine: {kind: openai}"
        )
    ours = any(file.endswith(".safetensors") or file == "model.safetensors.index.json" for file in names)
    # a hub's snapshot has not all that its name tells
    named = [f"{name}.gguf"] if name.lower().endswith("-gguf") and "config.json" not in names else []
    if not ours and (holds := _other_format([*names, *named])):
        raise SpecError(f"engine.model: {folder} holds {holds}")
    config: dict[str, Any] = read_object(folder / "config.json") if "config.json" in names else {}
    if kind := _other_model(folder, name, config):
        raise SpecError(f"engine.model: {name} is {_OTHER_MODELS[kind]}; name an Instruct or Thinking checkpoint")
    built_as = config.get("architectures")
    if config.get("model_type") in WRITERS and built_as and WRITERS[config["model_type"]] not in built_as:
        raise SpecError(
            f"engine.model: {name} is a {f'{built_as}'[:80]} (architectures of config.json), which is no model that "
            f"writes; only {WRITERS[config['model_type']]} is"
        )


def _other_format(names: Iterable[str]) -> str | None:
    for pattern, what, remedy in _OTHER_FORMATS:
        if any(re.search(pattern, name) for name in names):
            return f"{what}; {remedy}"
    return None


def _other_model(folder: Path, name: str, config: dict[str, Any]) -> str | None:
    """By what it is called, here and where it was made; by what such models bring along; by what they ask."""
    in_cache = [part for part in folder.parts if part.startswith("models--")]
    for called in (Path(name).name, folder.name, *in_cache, f"{config.get('_name_or_path', '')}"):
        if kind := re.search("embedding|reranker", called, re.IGNORECASE):
            return kind[0].lower()
    for mark, marked in _MARKS:
        if (folder / mark).exists():
            return marked
    for template in ("chat_template.jinja", "chat_template.json"):
        if (folder / template).exists():
            text = read_text(folder / template).replace("\\", "")
            for prompt, asked in _PROMPTS:
                if prompt in text:
                    return asked
    return None
