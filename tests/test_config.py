"""Config layouts, and the numbers of YaRN as published for one million tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from model.nano.shape import nano_config
from model.network.config import Config, Experts, Yarn
from model.network.rope import text_frequencies, yarn_range
from schemas.errors import SpecError

LONG = Yarn(factor=3.0, original_positions=262_144)
"""As the README of Qwen3-VL gives it for one million tokens."""


def test_yarn_blends_between_frequencies_29_and_45() -> None:
    assert yarn_range(128, 5e6, LONG) == (29, 45)
    plain, one = text_frequencies(128, 5e6)
    found, factor = text_frequencies(128, 5e6, LONG)
    assert one == 1.0
    assert factor == pytest.approx(1.10986, abs=1e-5)
    assert torch.equal(found[:30], plain[:30])
    assert torch.allclose(found[45:], plain[45:] / 3, rtol=1e-6)
    # half way: the mean of both
    assert float(found[37]) == pytest.approx(float(plain[37]) * (1 + 1 / 3) / 2, rel=1e-6)


def test_the_raw_range_is_that_of_the_formula() -> None:
    raw = [128 * math.log(262_144 / (turns * 2 * math.pi)) / (2 * math.log(5e6)) for turns in (32, 1)]
    assert raw == pytest.approx([29.76, 44.14], abs=0.01)


def layout(text: dict[str, Any], **top: Any) -> dict[str, Any]:
    """nano's config.json with other keys; those that are None are left out."""
    data = {**nano_config(), **top}
    data["text_config"] = {key: value for key, value in {**data["text_config"], **text}.items() if value is not None}
    return data


SECTIONS = {"mrope_section": [12, 10, 10], "mrope_interleaved": True}
STRETCH = {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 262_144, **SECTIONS}
OLD = {"rope_parameters": None, "rope_theta": 5e6, "rope_scaling": STRETCH}
NEW = {"rope_scaling": None, "rope_theta": None, "rope_parameters": {**STRETCH, "rope_theta": 5e6}}


@pytest.mark.parametrize("text", [OLD, NEW], ids=["old", "new"])
def test_both_layouts_are_one_config(text: dict[str, Any]) -> None:
    config = Config.from_json(layout(text))
    assert (config.text.rope_theta, config.text.yarn) == (5e6, LONG)


@pytest.mark.parametrize("name", ["num_experts", "num_local_experts"])
def test_experts(name: str) -> None:
    text = {name: 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
    config = Config.from_json(layout(text, model_type="qwen3_vl_moe"))
    assert config.text.experts == Experts(count=128, per_token=8, ffn=768)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (layout({}, model_type="qwen2_5_vl"), "'qwen2_5_vl' cannot be run"),
        (layout({"hidden_size": None}), "'hidden_size' is missing"),
        (layout({"rope_theta": None, "rope_parameters": None}), "rope_theta"),
        (layout({**OLD, "rope_scaling": {**SECTIONS, "type": "yarn"}}),
         "'factor' is missing"),
        (layout({**NEW, "rope_parameters": {**SECTIONS, "rope_type": "llama3", "rope_theta": 1.0}}), "'llama3'"),
        (layout({**NEW, "rope_parameters": {"mrope_section": [1, 2, 3], "rope_theta": 1.0}}), "does not fill"),
        (layout({"rope_parameters": {**SECTIONS, "rope_theta": 1.0}}), "rope_theta is 10000.0 in rope_scaling and 1.0"),
        (layout({"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "mlp_only_layers": [0]},
                model_type="qwen3_vl_moe"), "layers all have experts"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        Config.from_json(data)
