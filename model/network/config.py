"""What varies between Qwen3-VL checkpoints, read from their config.json. Nothing is taken from class defaults:
transformers changed them between versions (docs/facts/qwen3-vl.md §1.3), checkpoints name every value.
"""

from __future__ import annotations

import math
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


# Most that a dimension is taken to be, some sixteen times the largest in use: what is built from two of them can still
# be counted in 64 bits
_WIDTH, _FFN, _ENTRIES, _HEADS, _SIDE, _LAYERS = 1 << 18, 1 << 20, 1 << 24, 1 << 12, 1 << 8, 1 << 12


_GEOMETRY = {
    "patch": ("patch_size", 16),
    "temporal_patch": ("temporal_patch_size", 2),
    "merge": ("spatial_merge_size", 2),
    "channels": ("in_channels", 3),
}
"""Of every published Qwen3-VL, and so of the patches that are made here, for every engine that runs a checkpoint."""


def _read(data: dict[str, Any]) -> Config:
    if (kind := data.get("model_type")) not in ("qwen3_vl", "qwen3_vl_moe"):
        raise SpecError(f"config.json: model_type {_short(kind)} cannot be run, only 'qwen3_vl' and 'qwen3_vl_moe'")
    text, vision = _section(data, "text_config"), _section(data, "vision_config")
    rope = _rope(text)
    head_dim = _whole(text, "head_dim", _HEADS)
    depth = _whole(vision, "depth", _LAYERS)
    config = Config(
        text=TextConfig(
            hidden=_whole(text, "hidden_size", _WIDTH),
            layers=_whole(text, "num_hidden_layers", _LAYERS),
            heads=_whole(text, "num_attention_heads", _HEADS),
            kv_heads=_whole(text, "num_key_value_heads", _HEADS),
            head_dim=head_dim,
            ffn=_whole(text, "intermediate_size", _FFN),
            vocabulary=_whole(text, "vocab_size", _ENTRIES),
            max_positions=_whole(text, "max_position_embeddings", 1 << 30),
            rms_eps=_number("rms_norm_eps", text["rms_norm_eps"]),
            rope_theta=_number("rope_theta", rope.get("rope_theta")),
            mrope_section=_sections(rope["mrope_section"], head_dim),
            yarn=_yarn(rope),
            experts=_experts(text) if kind == "qwen3_vl_moe" else None,
        ),
        vision=VisionConfig(
            hidden=_whole(vision, "hidden_size", _WIDTH),
            depth=depth,
            heads=_whole(vision, "num_heads", _HEADS),
            ffn=_whole(vision, "intermediate_size", _FFN),
            out_hidden=_whole(vision, "out_hidden_size", _WIDTH),
            **{name: _fixed(vision, *key) for name, key in _GEOMETRY.items()},
            grid_side=_side(_whole(vision, "num_position_embeddings", _ENTRIES)),
            deepstack=_taps(vision["deepstack_visual_indexes"], depth),
        ),
        tied=bool(data.get("tie_word_embeddings", text.get("tie_word_embeddings"))),
        image_id=_whole(data, "image_token_id", _ENTRIES),
        video_id=_whole(data, "video_token_id", _ENTRIES),
        vision_start_id=_whole(data, "vision_start_token_id", _ENTRIES),
        vision_end_id=_whole(data, "vision_end_token_id", _ENTRIES),
    )
    _check_sizes(config.text, config.vision)
    return config


def _check_sizes(text: TextConfig, vision: VisionConfig) -> None:
    """Raises SpecError for sizes that no network can be built of."""
    for whole, part, sentence in (
        (text.heads, text.kv_heads, "num_attention_heads {} is no multiple of num_key_value_heads {}"),
        (vision.hidden, 4 * vision.heads, "hidden_size {} of the vision tower is no multiple of {}, 4 times num_heads"),
    ):
        if whole % part:
            raise SpecError(f"config.json: {sentence.format(whole, part)}")
    if vision.out_hidden != text.hidden:
        raise SpecError(
            f"config.json: out_hidden_size {vision.out_hidden} of the vision tower is not hidden_size {text.hidden} of "
            "the language model"
        )


def _rope(text: dict[str, Any]) -> dict[str, Any]:
    """Rotary positions, in one of two layouts: rope_theta beside rope_scaling (transformers 4), or all in
    rope_parameters (5). A file may have both, for readers of either."""
    sections = [_section(text, key) for key in ("rope_scaling", "rope_parameters")]
    old, new = ({"rope_theta": text.get("rope_theta"), **section} for section in sections)
    for rope in (old, new):
        older = rope.pop("type", None)
        rope["rope_type"] = rope.get("rope_type") or older or "default"
    if not all(sections):
        return old if sections[0] else new
    keys = (old.keys() | new.keys()) - {"mrope_interleaved"}  # which transformers does not read
    if different := sorted(key for key in keys if old.get(key) != new.get(key)):
        raise SpecError(
            f"config.json: {different[0]} is {_short(old.get(different[0]))} in rope_scaling and "
            f"{_short(new.get(different[0]))} in rope_parameters; engines differ in which they read"
        )
    return new


def _section(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data[key] if key.endswith("config") else data.get(key) or {}
    if not isinstance(value, dict):
        raise SpecError(f"config.json: {key} is {_short(value)}, not an object")
    return value


def _whole(section: dict[str, Any], key: str, most: int) -> int:
    value = section[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise SpecError(f"config.json: {key} is {_short(value)}, not a whole number from 1 to {most}")
    return value


def _fixed(section: dict[str, Any], key: str, only: int) -> int:
    value = section.get(key, only) if key == "in_channels" else section[key]
    if isinstance(value, bool) or value != only:
        raise SpecError(
            f"config.json: {key} is {_short(value)}; patches are made here for {only}, as in every published Qwen3-VL; "
            "a server that runs it is asked by engine: {kind: openai}"
        )
    return only


def _side(entries: int) -> int:
    side = math.isqrt(entries)
    if side**2 != entries:
        raise SpecError(f"config.json: num_position_embeddings is {entries}, not the square of a whole number")
    return side


def _number(key: str, value: Any) -> float:
    if value is None:
        raise KeyError(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e15:  # NaN neither
        raise SpecError(f"config.json: {key} is {_short(value)}, not a number above zero")
    return float(value)


def _sections(value: Any, head_dim: int) -> tuple[int, int, int]:
    match value:
        case [int(time), int(height), int(width)] if min(value) >= 0 and sum(value) * 2 == head_dim:
            return time, height, width
    raise SpecError(f"config.json: mrope_section {_short(value)} does not fill head_dim / 2 = {head_dim // 2}")


def _taps(value: Any, depth: int) -> tuple[int, ...]:
    """In any order: the n-th merger is that of the n-th index, and features go to the layers in order of blocks."""
    whole = isinstance(value, list) and all(isinstance(index, int) and not isinstance(index, bool) for index in value)
    if not whole or len(set(value)) < len(value) or any(index not in range(depth) for index in value):
        raise SpecError(f"config.json: deepstack_visual_indexes is {_short(value)}, not some of {depth} blocks")
    return tuple(value)


def _short(value: Any) -> str:
    return f"{value!r}"[:60]


def _yarn(rope: dict[str, Any]) -> Yarn | None:
    match rope.get("rope_type", rope.get("type", "default")):
        case "default" | "mrope":
            return None
        case "yarn" if not rope.keys() & {"mscale", "mscale_all_dim"} and rope.get("truncate", True):
            return Yarn(
                factor=_number("factor", rope["factor"]),
                original_positions=_whole(rope, "original_max_position_embeddings", 1 << 30),
                attention_factor=_number("attention_factor", factor)
                if (factor := rope.get("attention_factor")) is not None
                else None,
                beta_fast=_number("beta_fast", rope.get("beta_fast") or 32.0),
                beta_slow=_number("beta_slow", rope.get("beta_slow") or 1.0),
            )
        case other:
            raise SpecError(
                f"config.json: rope_type {_short(other)} with {_short(sorted(rope))} cannot be run, only 'default' and "
                "plain 'yarn'"
            )


def _experts(text: dict[str, Any]) -> Experts:
    if text.get("mlp_only_layers") or text.get("decoder_sparse_step", 1) != 1:
        raise SpecError("config.json: only networks whose layers all have experts can be run")
    experts = Experts(
        # transformers 5 writes its own name for it
        count=_whole(text, "num_experts" if "num_experts" in text else "num_local_experts", _HEADS),
        per_token=_whole(text, "num_experts_per_tok", _HEADS),
        ffn=_whole(text, "moe_intermediate_size", _FFN),
    )
    if experts.per_token > experts.count:
        raise SpecError(f"config.json: num_experts_per_tok {experts.per_token} of only {experts.count} experts")
    return experts
