"""Legal and unusual checkpoints are run as transformers runs them: configs, preprocessors, tokenizers, templates."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.engines.kinds import engine_kind
from model.network.checkpoint import load
from model.network.headers import stored_tensors
from model.network.hub import weight_files
from model.network.weight_shapes import weight_shapes
from model.prompts.chat import Chat, _filled
from model.prompts.pixels import smart_resize, smart_resize_video
from model.prompts.preprocessors import pixel_budget
from schemas.engines.torch import Spec
from schemas.errors import SpecError
from schemas.request import Message
from tests.support.reference import make_checkpoint, transformers
from tests.test_parity import CASES, TOLERANCE, VARIANTS, Case, Pair, noise, our_inputs, their_inputs

Json = dict[str, Any]


def edit(path: Path, change: Callable[[Json], object]) -> None:
    data = json.loads(path.read_text()) if path.exists() else {}
    change(data)
    path.write_text(json.dumps(data))


def our_pair(folder: Path) -> Pair:
    """Ours alone, after all that `plan` looks at."""
    assert engine_kind(Spec(kind="torch", model=str(folder))).weights == folder
    return Pair(folder, Chat(folder), load(folder), None, None)


def both(folder: Path) -> Pair:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        processor = transformers.AutoProcessor.from_pretrained(folder)
    return replace(our_pair(folder), theirs=theirs, processor=processor)


def vision(**values: Any) -> Callable[[Json], object]:
    return lambda config: config["vision_config"].update(values)


def text(**values: Any) -> Callable[[Json], object]:
    return lambda config: config["text_config"].update(values)


def rope(**values: Any) -> Callable[[Json], object]:
    return lambda config: config["text_config"]["rope_parameters"].update(values)


def in_both_layouts(config: Json) -> None:
    section = config["text_config"]
    section["rope_theta"] = section["rope_parameters"]["rope_theta"]
    section["rope_scaling"] = {**section["rope_parameters"], "type": "default"}


STRETCHED = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}
CONFIGS: dict[str, tuple[Json, Callable[[Json], object]]] = {
    "taps not in order": ({}, vision(deepstack_visual_indexes=[3, 1, 2])),
    "other sections": ({}, rope(mrope_section=[16, 0, 0])),
    "an epsilon": ({}, text(rms_norm_eps=1e-2)),
    "both layouts": ({}, in_both_layouts),
    "a given attention factor": ({}, rope(**STRETCHED, attention_factor=1.3, beta_fast=16, beta_slow=2)),
    "tied above": ({"tied": True}, text(tie_word_embeddings=False)),
    "untied above": ({}, text(tie_word_embeddings=True)),
    "swish": ({}, text(hidden_act="swish", num_experts=4, sliding_window=None, layer_types=["full_attention"] * 4)),
}


def our_logits(pair: Pair, one: Case) -> torch.Tensor:
    ids, places, _, visual, _ = our_inputs(pair, one)
    with torch.inference_mode():
        return pair.ours.logits(pair.ours(ids, places, visual))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_gives_the_logits_that_transformers_gives(tmp_path: Path, name: str) -> None:
    options, change = CONFIGS[name]
    folder = make_checkpoint(tmp_path / "odd", **options)
    plain = load(folder)
    edit(folder / "config.json", change)
    pair = both(folder)
    one = CASES["two images"]
    with torch.inference_mode():
        theirs = pair.theirs(**their_inputs(pair, [one])).logits
    logits, before = (our_logits(replace(pair, ours=network), one) for network in (pair.ours, plain))
    assert (logits - theirs).abs().max() <= TOLERANCE
    if name in ("taps not in order", "other sections", "an epsilon", "a given attention factor"):
        assert (logits - before).abs().max() > 10 * TOLERANCE, "the value makes no difference: the test shows nothing"


EXPERTS = "model.language_model.layers.0.mlp.experts.gate_up_proj"


@pytest.mark.parametrize("name", ["untied", "tied, old layout", "experts", "yarn"])
def test_what_transformers_5_saves_is_run(tmp_path: Path, name: str) -> None:
    first = make_checkpoint(tmp_path / "first", **VARIANTS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.AutoModelForImageTextToText.from_pretrained(first).save_pretrained(tmp_path / "second")
        transformers.AutoProcessor.from_pretrained(first).save_pretrained(tmp_path / "second")
    pair, again = (our_pair(folder) for folder in (first, tmp_path / "second"))
    if "experts" in name:  # which it turns; published ones lie the other way
        shapes = [stored_tensors(weight_files(pair.folder))[EXPERTS].shape for pair in (pair, again)]
        assert shapes == [(8, 64, 96), (8, 96, 64)]
    for one in (CASES["two images"], CASES["odd clip"]):
        assert torch.equal(our_logits(pair, one), our_logits(again, one))
    assert pixel_budget(again.folder) == pixel_budget(first)
    assert again.chat.stop_ids == pair.chat.stop_ids


def test_square_experts_are_refused(tmp_path: Path) -> None:
    """transformers 5 tells by the shape which side comes first."""
    folder = make_checkpoint(tmp_path / "odd", experts=True)
    edit(folder / "config.json", text(moe_intermediate_size=32))
    with pytest.raises(SpecError, match="their matrices are square"):
        our_pair(folder)


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes_are_those_of_the_network(tmp_path: Path, name: str) -> None:
    network = load(make_checkpoint(tmp_path / "c", **VARIANTS[name]))
    names = {
        name if name.startswith("lm_head") else f"model.{name}": tuple(value.shape)
        for name, value in network.named_parameters()
    }
    assert dict(weight_shapes(network.config)) == names


def old_bounds(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", lambda data: data.update(min_pixels=64 * 64, max_pixels=128 * 128))


def one_old_bound(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", lambda data: data.update(max_pixels=96 * 96, min_pixels=None))


def no_bounds(folder: Path) -> None:
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        edit(folder / name, lambda data: data.pop("size"))


def pictures_alone(folder: Path) -> None:
    (folder / "video_preprocessor_config.json").unlink()


def of_version_5(folder: Path) -> None:
    """As transformers 5 saves them; the files of before say something else."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    processor.save_pretrained(folder)
    saved = json.loads((folder / "processor_config.json").read_text())
    assert {"image_processor", "video_processor"} <= saved.keys()
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        edit(folder / name, lambda data: data.update(size={"shortest_edge": 1024, "longest_edge": 2048}))


@pytest.mark.parametrize("change", [old_bounds, one_old_bound, no_bounds, pictures_alone, of_version_5])
def test_sizes_are_those_of_their_processor(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = make_checkpoint(tmp_path / "odd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(folder)
        processor = transformers.AutoProcessor.from_pretrained(folder)
    budget = pixel_budget(folder)
    for height, width in ((40, 700), (90, 90), (900, 700), (20, 30)):
        seen = smart_resize(height, width, min_pixels=budget.image_min_px, max_pixels=budget.image_max_px)
        theirs = processor.image_processor(Image.fromarray(noise(height, width)), return_tensors="pt")
        assert [1, seen[0] // 16, seen[1] // 16] == theirs["image_grid_thw"][0].tolist()
        low, high = budget.video_min_px, budget.video_max_px
        frames = smart_resize_video(6, height + 32, width + 32, min_pixels=low, max_pixels=high)
        patches = processor.video_processor.get_num_of_video_patches(6, height + 32, width + 32)
        assert 3 * (frames[0] // 16) * (frames[1] // 16) == patches


def test_a_tokenizer_that_cuts_and_fills_does_neither_here(tmp_path: Path) -> None:
    """Both stand in the tokenizer.json of many a fine-tuned checkpoint."""
    folder = make_checkpoint(tmp_path / "odd")
    plain = Chat(folder).encode([Message("user", ("a text of more than four tokens",))]).input_ids
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    fill = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }  # fmt: skip
    edit(folder / "tokenizer.json", lambda data: data.update(truncation=cut, padding=fill))
    assert Chat(folder).encode([Message("user", ("a text of more than four tokens",))]).input_ids == plain


THINKING = """\
{%- set last = namespace(question=-1) %}
{%- for turn in messages %}{% set said %}{% for part in turn.content %}{{ part.text }}{% endfor %}{% endset %}
    {%- if turn.role == 'user' and not (said.startswith('<tool_response>') and said.endswith('</tool_response>')) %}
        {%- set last.question = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for turn in messages %}{% set said %}{% for part in turn.content %}{{ part.text }}{% endfor %}{% endset %}
    {%- set thought = '' %}
    {%- if turn.role == 'assistant' and '</think>' in said %}
        {%- set thought = said.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set said = said.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {%- set shown = turn.role == 'assistant' and loop.index0 > last.question and (loop.last or thought) %}
    {{- '<|im_start|>' + turn.role + '\\n' }}
    {%- if shown %}{{ '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}{% endif %}
    {{- said.lstrip('\\n') if shown else said }}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"""
"""What the template of Thinking checkpoints does with thoughts, in short: an earlier turn's is dropped, one since the
last question stays (docs/facts/qwen3-vl.md §1.1)."""

pieces = st.sampled_from(
    [
        *("<think>", "</think>", "<think>\n", "\n</think>\n\n", "\n", " ", "a", "b c", "d\n", "<|im_end|>", "\u3000"),
        *("<tool_response>", "</tool_response>", "<tool_response>\n", "\n</tool_response>"),
    ]
)
texts = st.lists(pieces, max_size=6).map("".join)
turns = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "system"]), st.lists(texts, min_size=1, max_size=3)), max_size=5
)


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    folder = make_checkpoint(tmp_path_factory.mktemp("thinking"))
    (folder / "chat_template.jinja").write_text(THINKING)
    return Chat(folder)


@settings(max_examples=300, deadline=None)
@given(turns)
def test_thoughts_are_dropped_and_kept_as_in_transformers(thinking: Chat, turns: list[tuple[str, list[str]]]) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    conversation = [
        {"role": role, "content": [{"type": "text", "text": part} for part in parts]} for role, parts in turns
    ]
    theirs, _ = render_jinja_template([conversation], chat_template=THINKING, add_generation_prompt=True)
    ours = thinking._render([Message(role, tuple(parts)) for role, parts in turns])  # type: ignore[arg-type]
    assert [_filled(*ours)] == theirs


def test_an_earlier_thought_is_dropped_and_its_marks_with_it(thinking: Chat) -> None:
    said = "<think>\nIt says <|im_end|>.\n</think>\n\nA dog."
    messages = [Message("user", ("What?",)), Message("assistant", (said,)), Message("user", ("Which?",))]
    assert _filled(*thinking._render(messages)) == (
        "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\nA dog.<|im_end|>\n"
        "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("processor_config.json", "{%- break %}"),
        ("chat_template.json", "a"),
        ("tokenizer_config.json", [{"name": "tool", "template": "t"}, {"name": "default", "template": "b"}]),
    ],
)
def test_of_several_templates_the_one_that_transformers_takes(tmp_path: Path, name: str, content: Any) -> None:
    folder = make_checkpoint(tmp_path / "odd")
    body = "{% generation %}{{ eos_token }}{% for x in [1, 2] %}{% break %}{% endfor %}{% endgeneration %}"
    template = body if isinstance(content, str) else [{**one, "template": body} for one in content]
    edit(folder / name, lambda data: data.update(chat_template=template))
    if name == "tokenizer_config.json":  # asked last
        (folder / "chat_template.jinja").unlink()
    assert thinking_text(Chat(folder)) == "<|im_end|>"


def thinking_text(chat: Chat) -> str:
    return _filled(*chat._render([Message("user", ("x",))]))
