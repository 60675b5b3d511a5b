"""A random Qwen3-VL of a few thousand weights in the real layout, made by our own export: for tests of the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from model.nano.export import export
from model.nano.shape import config_json
from model.network.config import Config
from model.network.qwen3vl import Qwen3VL
from schemas.request import Clip, Message, Picture


def tiny_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Weights are large enough that what it writes depends on what it is shown."""
    config = config_json(vision_hidden=64, vision_depth=2, text_hidden=64, text_layers=2)
    torch.manual_seed(seed)
    network = Qwen3VL(Config.from_json(config))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.dim() > 1:
                value.normal_(0, 1.0 if "embed_tokens" in name else 1.5 / value[0].numel() ** 0.5)
        for name in ("image_token_id", "video_token_id"):
            network.lm_head.weight[config[name]] = 0.0  # never the likeliest: a picture it cannot write
    export(network, config, folder)
    return folder


def noise_picture(height_px: int = 32, width_px: int = 64, seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    return Picture(width_px, height_px, pa.Codec("zstd").compress(pixels.tobytes(), asbytes=True))


def user(*parts: str | Picture | Clip) -> tuple[Message, ...]:
    return (Message("user", parts),)
