"""Qwen3-VL's published shapes with random weights, drawn where they are used: measuring speed needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from model.nano.export import describe
from model.nano.tokens import token_ids
from model.network.checkpoint import save
from model.network.config import Config
from model.network.memory import SIZES, Size, Vision
from model.network.qwen3vl import Qwen3VL
from schemas.errors import SpecError

SHAPES = {
    **{name.lower(): size for name, size in SIZES.items() if not size.experts},
    "tiny": Size(64, 2, 2, 1, 96, True, Vision(64, 96, 2, heads=2)),
}
"""The dense sizes, as `--shape` names them, and one to try the bench itself with."""


def config_json(name: str, *, text_layers: int | None = None, vision_blocks: int | None = None) -> dict[str, Any]:
    """config.json of a dense size, or of the first layers of it. Raises SpecError for a name that is none."""
    if name not in SHAPES:
        raise SpecError(f"--shape: {name!r} is none of {', '.join(SHAPES)}")
    shape = SHAPES[name]
    layers, depth = text_layers or shape.layers, vision_blocks or shape.vision.depth
    taps = [5, 11, 17] if depth == 24 else [8, 16, 24] if depth == 27 else list(range(min(3, depth, layers)))
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text = {
        "model_type": "qwen3_vl_text", "hidden_size": shape.hidden, "num_hidden_layers": layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": 128,
        "intermediate_size": shape.ffn, "vocab_size": 151_936, "max_position_embeddings": 262_144,
        "rms_norm_eps": 1e-6, "rope_parameters": rope, "tie_word_embeddings": shape.tied,
    }  # fmt: skip
    vision = {
        "model_type": "qwen3_vl", "hidden_size": shape.vision.hidden, "intermediate_size": shape.vision.ffn,
        "depth": depth, "num_heads": shape.vision.heads, "out_hidden_size": shape.hidden, "patch_size": 16,
        "temporal_patch_size": 2, "spatial_merge_size": 2, "in_channels": 3, "num_position_embeddings": 2304,
        "deepstack_visual_indexes": taps,
    }  # fmt: skip
    ids = token_ids()  # of the tokenizer that the checkpoint gets, though the table has the published size
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "text_config": text,
        "vision_config": vision, "tie_word_embeddings": shape.tied, "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"], "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }  # fmt: skip


def write_checkpoint(config: dict[str, Any], folder: Path, *, dtype: torch.dtype, device: str, picture_px: int) -> None:
    """A folder in the real layout, random weights in it, made on the device. picture_px: the largest picture that will
    be asked about; vLLM tries out the largest that it may be."""
    save(random_network(config, dtype=dtype, device=device), folder, config, dtype=dtype)
    describe(folder, picture_px=picture_px, clip_px=2 * picture_px)
    if device != "cpu":
        torch.cuda.empty_cache()  # other processes come next


def random_network(config: dict[str, Any], *, dtype: torch.dtype, device: str, seed: int = 0) -> Qwen3VL:
    """Weights of the scale that keeps activations as they are, so that no arithmetic runs on denormals."""
    with torch.device("meta"):
        network = Qwen3VL(Config.from_json(config))
    network = network.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.inference_mode():
        for name, value in network.named_parameters():
            if value.dim() == 1:
                value.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                scale = 1.0 if "embed" in name else value[0].numel() ** -0.5
                value.normal_(0, scale, generator=generator)
    return network.eval().requires_grad_(False)
