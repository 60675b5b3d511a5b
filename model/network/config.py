"""What varies between Qwen3-VL checkpoints, read from their config.json. Nothing is taken from class defaults:
transformers changed them between versions (docs/facts/qwen3-vl.md §1.3), checkpoints name every value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.errors import SpecError

LONGEST_FACTOR = 4
"""Times its pretraining that a context can be stretched by YaRN: 262,144 to a million tokens."""
FP8_BLOCK = 128
"""Rows and columns of weights that share a scale."""


@dataclass(frozen=True)
class VisionConfig:
    hidden: int
    depth: int
    heads: int
    ffn: int
    out_hidden: int  # width of the language model
    patch: int  # pixels
    temporal_patch: int  # frames
    merge: int  # patches a side that become one token
    channels: int
    grid_side: int  # of the learned position table: grid_side**2 entries
    deepstack: tuple[int, ...]  # blocks after which features are tapped


@dataclass(frozen=True)
class Experts:
    """The feed-forward layers of the mixture-of-experts sizes: every layer has them, none is shared."""

    count: int
    per_token: int
    ffn: int  # of one expert


@dataclass(frozen=True)
class Yarn:
    """Positions beyond those of pretraining (YaRN, arXiv 2309.00071); model/network/rope.py says how."""

    factor: float
    original_positions: int
    attention_factor: float | None = None  # of cos and sin; None: 0.1 ln(factor) + 1
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True)
class TextConfig:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    max_positions: int
    rms_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]  # frequencies of the time, height and width axes
    yarn: Yarn | None = None
    experts: Experts | None = None  # None: dense

    @property
    def longest_context(self) -> int:
        """Tokens that it reaches when its positions are stretched by YaRN, if they are not already."""
        return self.max_positions * (LONGEST_FACTOR if self.yarn is None else 1)

    def kv_bytes(self, item_bytes: int) -> int:
        """Keys and values of one token, in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * item_bytes


def splits_in_fp8(ffn: int, count: int) -> bool:
    """Whether experts of that width can be cut over so many GPUs: FP8 has a scale for each block of weights, which must
    stay whole (docs/facts/qwen3-vl.md §5; vllm issues 17569, 25292). Where not, experts go to GPUs whole."""
    return ffn % (FP8_BLOCK * count) == 0


@dataclass(frozen=True)
class Config:
    text: TextConfig
    vision: VisionConfig
    tied: bool  # the output head is the embedding table
    image_id: int
    video_id: int
    vision_start_id: int
    vision_end_id: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Config:
        """From the parsed config.json. Raises SpecError for what is missing or cannot be run."""
        try:
            return _read(data)
        except KeyError as error:
            raise SpecError(f"config.json: key {error} is missing") from error


def _read(data: dict[str, Any]) -> Config:
    if (kind := data.get("model_type")) not in ("qwen3_vl", "qwen3_vl_moe"):
        raise SpecError(f"config.json: model_type {kind!r} cannot be run, only 'qwen3_vl' and 'qwen3_vl_moe'")
    text, vision = data["text_config"], data["vision_config"]
    # two layouts: rope_theta beside rope_scaling (transformers 4), or all in rope_parameters (5)
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    theta = rope.get("rope_theta", text.get("rope_theta"))
    if theta is None:
        raise KeyError("text_config.rope_theta")
    sections = tuple(rope["mrope_section"])
    if len(sections) != 3 or sum(sections) != text["head_dim"] // 2:
        raise SpecError(f"config.json: mrope_section {sections} does not fill head_dim / 2 = {text['head_dim'] // 2}")
    side = round(vision["num_position_embeddings"] ** 0.5)
    return Config(
        text=TextConfig(
            hidden=text["hidden_size"],
            layers=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            kv_heads=text["num_key_value_heads"],
            head_dim=text["head_dim"],
            ffn=text["intermediate_size"],
            vocabulary=text["vocab_size"],
            max_positions=text["max_position_embeddings"],
            rms_eps=text["rms_norm_eps"],
            rope_theta=float(theta),
            mrope_section=(sections[0], sections[1], sections[2]),
            yarn=_yarn(rope),
            experts=_experts(text) if kind == "qwen3_vl_moe" else None,
        ),
        vision=VisionConfig(
            hidden=vision["hidden_size"],
            depth=vision["depth"],
            heads=vision["num_heads"],
            ffn=vision["intermediate_size"],
            out_hidden=vision["out_hidden_size"],
            patch=vision["patch_size"],
            temporal_patch=vision["temporal_patch_size"],
            merge=vision["spatial_merge_size"],
            channels=vision.get("in_channels", 3),
            grid_side=side,
            deepstack=tuple(vision["deepstack_visual_indexes"]),
        ),
        tied=bool(data.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        image_id=data["image_token_id"],
        video_id=data["video_token_id"],
        vision_start_id=data["vision_start_token_id"],
        vision_end_id=data["vision_end_token_id"],
    )


def _yarn(rope: dict[str, Any]) -> Yarn | None:
    match rope.get("rope_type", rope.get("type", "default")):
        case "default" | "mrope":
            return None
        case "yarn" if not rope.keys() & {"mscale", "mscale_all_dim"} and rope.get("truncate", True):
            return Yarn(
                factor=float(rope["factor"]),
                original_positions=rope["original_max_position_embeddings"],
                attention_factor=rope.get("attention_factor"),
                beta_fast=rope.get("beta_fast") or 32.0,
                beta_slow=rope.get("beta_slow") or 1.0,
            )
        case other:
            raise SpecError(
                f"config.json: rope_type {other!r} with {sorted(rope)} cannot be run, only 'default' and plain 'yarn'"
            )


def _experts(text: dict[str, Any]) -> Experts:
    if text.get("mlp_only_layers") or text.get("decoder_sparse_step", 1) != 1:
        raise SpecError("config.json: only networks whose layers all have experts can be run")
    return Experts(
        # transformers 5 writes its own name for it
        count=text["num_experts"] if "num_experts" in text else text["num_local_experts"],
        per_token=text["num_experts_per_tok"],
        ffn=text["moe_intermediate_size"],
    )
