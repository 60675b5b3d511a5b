"""The reference that model/ is held against: transformers' Qwen3-VL on small random checkpoints in the real layout.

Importing this makes the torchvision wheel, which is linked against CUDA, import beside a CPU torch: its C++
operators cannot load, so the two schemas that its Python side registers fakes for are defined first
(docs/facts/vllm-cpu.md §2). Where torch has CUDA they do load, and a second definition would abort the process.
transformers' processors only use its Python transforms.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.library import Library

from schemas.request import Picture

if torch.version.cuda is None:
    _LIBRARY = Library("torchvision", "DEF")  # its definitions go when it is collected
    for _name in ("nms", "qnms"):
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

    transformers.utils.logging.set_verbosity_error()

SPECIALS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>", "<think>", "</think>"),
)

TEMPLATE = """\
{%- set image_count = namespace(value=0) %}{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}\
{%- if message.content is string %}{{- message.content }}{%- else %}{%- for content in message.content %}\
{%- if content.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}\
{%- elif content.type == 'video' %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}\
{%- elif 'text' in content %}{{- content.text }}{%- endif %}{%- endfor %}{%- endif %}{{- '<|im_end|>\n' }}\
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""


def make_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    tied: bool = False,
    vision_head_dim: int = 16,
    old_layout: bool = False,
    experts: bool = False,
    yarn: bool = False,
    **preprocessor: Any,
) -> Path:
    """A tiny random Qwen3-VL in the real layout. Weights are large enough that greedy output is not one token."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = _write_tokenizer(folder)
    rope: dict[str, Any] = {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    if yarn:  # as long as pretraining, so that the prompts of the tests reach beyond it
        rope |= {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 32}
    heads = 4
    kind = "qwen3_vl_moe" if experts else "qwen3_vl"
    text: dict[str, Any] = {
        "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 32, "intermediate_size": 96, "vocab_size": 320, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "attention_bias": False, "model_type": f"{kind}_text",
        "tie_word_embeddings": tied, "rope_parameters": {**rope, "rope_theta": 5_000_000.0},
        "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
    }  # fmt: skip
    if experts:
        text |= {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 48, "norm_topk_prob": True}
    vision = {
        "hidden_size": heads * vision_head_dim, "depth": 4, "num_heads": heads, "intermediate_size": 96,
        "out_hidden_size": 64, "patch_size": 16, "temporal_patch_size": 2, "spatial_merge_size": 2, "in_channels": 3,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2], "hidden_act": "gelu_pytorch_tanh",
        "model_type": kind,
    }  # fmt: skip
    name = "Qwen3VLMoe" if experts else "Qwen3VL"
    config = {
        "architectures": [f"{name}ForConditionalGeneration"], "model_type": kind, "tie_word_embeddings": tied,
        "text_config": text, "vision_config": vision,
        "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
    }  # fmt: skip
    torch.manual_seed(seed)
    model = getattr(transformers, f"{name}ForConditionalGeneration")(getattr(transformers, f"{name}Config")(**config))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:
                inputs = value.shape[-1] if "experts" in name else value[0].numel()
                value.normal_(0, 1.5 / inputs**0.5 if "embed" not in name else 1.0)
            else:
                value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(folder)
    if experts:  # what was made in memory is written as it lies there; checkpoints have (in, out)
        stored = load_file(folder / "model.safetensors")
        turned = {name: v.transpose(1, 2).contiguous() if ".experts." in name else v for name, v in stored.items()}
        save_file(turned, folder / "model.safetensors", metadata={"format": "pt"})
    if old_layout:
        text["rope_theta"] = text["rope_parameters"]["rope_theta"]
        text["rope_scaling"] = rope
        del text["rope_parameters"]
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]]})
    size = {"shortest_edge": 32 * 32, "longest_edge": 512 * 512, **preprocessor}
    same = {
        "size": size, "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    _write(folder / "preprocessor_config.json", {**same, "image_processor_type": "Qwen2VLImageProcessorFast"})
    _write(
        folder / "video_preprocessor_config.json",
        {
            **same,
            "size": {"shortest_edge": 4096, "longest_edge": 25_165_824},
            "video_processor_type": "Qwen3VLVideoProcessor",
        },
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def _write_tokenizer(folder: Path) -> dict[str, int]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: index for index, char in enumerate(alphabet)}
    # a few merges, so that tokens are not all one byte
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("e", "r"), ("s", "e"), ("i", "n")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIALS[:7]))
    tokenizer.add_tokens(list(SPECIALS[7:]))
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "Qwen2TokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    )
    return {name: tokenizer.token_to_id(name) for name in SPECIALS}


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1))


def picture(pixels: np.ndarray[Any, Any]) -> Picture:
    """Ours, from [h, w, 3] uint8."""
    data = pa.Codec("zstd").compress(pa.py_buffer(np.ascontiguousarray(pixels)), asbytes=True)
    return Picture(pixels.shape[1], pixels.shape[0], data)
