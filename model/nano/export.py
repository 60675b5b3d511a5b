"""Writes a training run as a checkpoint folder: `python -m model.nano.export --run out/nano`.

The layout is the real model's (docs/facts/qwen3-vl.md §1): config, bf16 weights, tokenizer, preprocessors with the
pixel bounds that nano was trained for, chat template, generation config. The heads that only training needs are
left behind.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from model.nano.line_image import MAX_CLIP_TOKENS, MAX_TOKENS, READER, TOKEN_SIDE_PX
from model.nano.shape import MERGE, PATCH, TEMPORAL
from model.nano.tokens import build_tokenizer, token_ids
from model.network.checkpoint import save
from model.network.config import Config
from model.network.qwen3vl import Qwen3VL
from model.prompts.line_image import FILE
from model.prompts.template import DEFAULT_TEMPLATE
from schemas.checkout import NANO


def export(network: Qwen3VL, config: dict[str, Any], folder: Path) -> None:
    """Everything but the model card, which is written by hand."""
    save(network, folder, config, dtype=torch.bfloat16)
    token_px = TOKEN_SIDE_PX**2
    # of all frames of a clip together, before two of them merge into one
    describe(folder, picture_px=MAX_TOKENS * token_px, clip_px=2 * MAX_CLIP_TOKENS * token_px)
    (folder / FILE).write_text(json.dumps(asdict(READER), indent=2) + "\n", encoding="utf-8")


def describe(folder: Path, *, picture_px: int, clip_px: int) -> None:
    """Tokenizer, chat template and what else stands beside the weights; the most pixels of a picture and a clip."""
    build_tokenizer().save(str(folder / "tokenizer.json"))
    ids = token_ids()
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    token_px = TOKEN_SIDE_PX**2
    picture_size = {"shortest_edge": token_px, "longest_edge": picture_px}
    clip_size = {"shortest_edge": 4 * token_px, "longest_edge": clip_px}
    patches = {
        "patch_size": PATCH,
        "temporal_patch_size": TEMPORAL,
        "merge_size": MERGE,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    files: dict[str, Any] = {
        "generation_config.json": {"eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": False},
        "tokenizer_config.json": {
            "tokenizer_class": "Qwen2TokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
        },
        "preprocessor_config.json": {
            **patches,
            "size": picture_size,
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "processor_class": "Qwen3VLProcessor",
        },
        "video_preprocessor_config.json": {
            **patches,
            "size": clip_size,
            "video_processor_type": "Qwen3VLVideoProcessor",
            "processor_class": "Qwen3VLProcessor",
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(DEFAULT_TEMPLATE, encoding="utf-8")


def main() -> None:
    from model.nano.train import STATE  # training needs more than what describes a checkpoint

    parser = argparse.ArgumentParser(description="Write a training run as a checkpoint in the HF layout.")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training state")
    parser.add_argument("--out", type=Path, default=NANO)
    options = parser.parse_args()
    state = torch.load(options.run / STATE, weights_only=True)
    network = Qwen3VL(Config.from_json(state["config"]))
    network.load_state_dict(state["network"])
    export(network, state["config"], options.out)
    print(f"{options.out}: {sum(weight.numel() for weight in network.parameters()):,} parameters")


if __name__ == "__main__":
    main()
