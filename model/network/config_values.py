"""Values of config.json that transformers allows and that our network computes in one way only: a checkpoint that asks
for another is refused, never run as if it had not. vLLM runs some of them.
"""

from __future__ import annotations

from typing import Any

from schemas.errors import SpecError

_VLLM = "engine: {kind: vllm} takes it"

_Rules = dict[str, tuple[tuple[Any, ...], str]]
"""By key: the values that are computed, None standing for a key that is not there; and who else takes others."""

_TOP: _Rules = {
    "tie_word_embeddings": ((True, False, None), ""),
}
_TEXT: _Rules = {
    "hidden_act": (("silu", "swish", None), ""),
    "attention_bias": ((False, None), ""),
    "use_sliding_window": ((False, None), _VLLM),
    "sliding_window": ((None,), _VLLM),
    "attention_chunk_size": ((None,), ""),
    "is_causal": ((True, None), ""),
    "per_layer_config": ((None,), ""),
    "partial_rotary_factor": ((1, None), ""),
    "original_max_position_embeddings": ((None,), ""),
    "tie_word_embeddings": ((True, False, None), ""),
    "norm_topk_prob": ((True, None), _VLLM),  # transformers norms whatever it says
}
_ROPE: _Rules = {
    "mrope_interleaved": ((True, None), _VLLM),  # transformers interleaves whatever it says
    "partial_rotary_factor": ((1, None), ""),
}
_VISION: _Rules = {
    "hidden_act": (("gelu_pytorch_tanh", None), _VLLM),
    "head_dim": ((None,), ""),
    "rope_theta": ((10_000, None), ""),
}
_VISION_ROPE: _Rules = {"rope_type": (("axial", "default", None), ""), "rope_theta": ((10_000, None), "")}


def check_values(data: dict[str, Any]) -> None:
    """data: parsed config.json, whose sections are objects. Raises SpecError."""
    text, vision = data["text_config"], data["vision_config"]
    _check("", data, _TOP)
    _check("text_config.", text, _TEXT)
    for name in ("rope_scaling", "rope_parameters"):
        _check(f"text_config.{name}.", text.get(name) or {}, _ROPE)
    if any(kind != "full_attention" for kind in _list(text.get("layer_types"))):
        raise _refused("text_config.layer_types", text["layer_types"], "'full_attention' alone", "")
    _check("vision_config.", vision, _VISION)
    _check("vision_config.rope_parameters.", _object(vision.get("rope_parameters")), _VISION_ROPE)


def _check(place: str, section: dict[str, Any], rules: _Rules) -> None:
    for key, (computed, elsewhere) in rules.items():
        value = section.get(key)
        # a bool is a number to Python
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in computed):
            raise _refused(
                place + key, value, " or ".join(f"{one!r}" for one in computed if one is not None), elsewhere
            )


def _refused(key: str, value: Any, computed: str, elsewhere: str) -> SpecError:
    text = f"config.json: {key} is {f'{value!r}'[:60]}; this engine computes {computed or 'no such thing'}"
    return SpecError(text + f"; {elsewhere}" * bool(elsewhere))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {} if value is None else {"rope_type": value}
