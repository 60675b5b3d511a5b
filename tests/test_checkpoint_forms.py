"""Checkpoints that the embedded engine would run wrongly or not at all are refused by `plan`, in one sentence that says
what it is, and who runs it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from jobs.cli import main
from model.engines.kinds import FreeMemory, engine_kind
from model.network.fitting import _VLLM_METHODS
from model.prompts.preprocessors import pixel_budget
from schemas.engines.torch import Spec
from schemas.engines.vllm import Spec as VLLMSpec
from schemas.errors import SpecError
from tests.support.tiny import tiny_checkpoint

Json = dict[str, Any]
Change = Callable[[Path], object]
VLLM = "engine: {kind: vllm} takes"
SERVER = "engine: {kind: openai}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("forms") / "tiny")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "tiny"))


def planned(folder: Path) -> None:
    """All that `plan` reads of a checkpoint."""
    assert engine_kind(Spec(kind="torch", model=str(folder))).weights
    pixel_budget(folder)


def refusal(folder: Path) -> str:
    with pytest.raises(SpecError) as caught:
        planned(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600 + len(str(folder))
    return text


def edit(path: Path, change: Callable[[Json], object]) -> None:
    data = json.loads(path.read_text()) if path.exists() else {}
    change(data)
    path.write_text(json.dumps(data))


def config(**values: Any) -> Change:
    return lambda folder: edit(folder / "config.json", lambda data: data.update(values))


def text(**values: Any) -> Change:
    return lambda folder: edit(folder / "config.json", lambda data: data["text_config"].update(values))


def vision(**values: Any) -> Change:
    return lambda folder: edit(folder / "config.json", lambda data: data["vision_config"].update(values))


def rope(**values: Any) -> Change:
    def change(data: Json) -> None:
        for name in ("rope_scaling", "rope_parameters"):
            data["text_config"][name].update(values)

    return lambda folder: edit(folder / "config.json", change)


CONFIGS: dict[str, tuple[Change, list[str]]] = {
    "patch 14": (vision(patch_size=14), ["patch_size is 14", SERVER]),
    "temporal patch 1": (vision(temporal_patch_size=1), ["temporal_patch_size is 1", SERVER]),
    "merge 1": (vision(spatial_merge_size=1), ["spatial_merge_size is 1", SERVER]),
    "merge 4": (vision(spatial_merge_size=4), ["spatial_merge_size is 4", SERVER]),
    "four channels": (vision(in_channels=4), ["in_channels is 4", SERVER]),
    "a patch of two sides": (vision(patch_size=[16, 16]), ["patch_size is [16, 16]"]),
    "a tap twice": (vision(deepstack_visual_indexes=[1, 1]), ["[1, 1]"]),
    "a tap that is true": (vision(deepstack_visual_indexes=[True]), ["[True]"]),
    "no square": (vision(num_position_embeddings=200), ["num_position_embeddings is 200"]),
    "another width": (vision(out_hidden_size=128), ["out_hidden_size 128"]),
    "vision gelu": (vision(hidden_act="gelu"), ["vision_config.hidden_act is 'gelu'", VLLM]),
    "vision theta": (vision(rope_theta=500.0), ["vision_config.rope_theta is 500.0"]),
    "vision rope": (vision(rope_parameters={"rope_type": "yarn"}), ["rope_parameters.rope_type is 'yarn'"]),
    "vision heads": (vision(head_dim=32), ["vision_config.head_dim is 32"]),
    "relu": (text(hidden_act="relu"), ["text_config.hidden_act is 'relu'"]),
    "biases": (text(attention_bias=True), ["text_config.attention_bias is True"]),
    "a window": (text(sliding_window=4096), ["text_config.sliding_window is 4096", VLLM]),
    "windows": (text(use_sliding_window=True), ["text_config.use_sliding_window is True", VLLM]),
    "window layers": (text(layer_types=["full_attention", "sliding_attention"]), ["text_config.layer_types"]),
    "blocks of 3 axes": (rope(mrope_interleaved=False), ["mrope_interleaved is False", VLLM]),
    "llama3": (rope(rope_type="llama3", factor=8.0), ["rope_type 'llama3'"]),
    "dynamic": (rope(rope_type="dynamic", factor=2.0), ["rope_type 'dynamic'"]),
    "longrope": (rope(rope_type="longrope", factor=2.0), ["rope_type 'longrope'"]),
    "both ways": (text(is_causal=False), ["text_config.is_causal is False"]),
    "half a head": (text(partial_rotary_factor=0.5), ["partial_rotary_factor is 0.5"]),
    "mscale": (rope(rope_type="yarn", factor=2.0, original_max_position_embeddings=64, mscale=0.7), ["mscale"]),
    "two layouts": (text(rope_theta=1.0, rope_scaling={"rope_type": "default", "mrope_section": [12, 10, 10]}),
                    ["is 1.0 in rope_scaling and 10000.0 in rope_parameters"]),
    "unequal groups": (text(num_attention_heads=3, num_key_value_heads=2), ["no multiple of num_key_value_heads 2"]),
    "a tie in words": (config(tie_word_embeddings="false"), ["tie_word_embeddings is 'false'"]),
    "hidden_size a string": (text(hidden_size="64"), ["hidden_size is '64', not a whole number"]),
    "a list": (lambda folder: (folder / "config.json").write_text("[1]"), ["config.json holds no JSON object"]),
    "sections that are lists": (config(text_config=[]), ["text_config is []"]),
    "another id": (config(image_token_id=5), ["<|image_pad|> is", "config.json has 5"]),
    "another start": (config(vision_start_token_id=5), ["<|vision_start|> is", "config.json has 5"]),
    "a scorer": (config(architectures=["Qwen3VLForSequenceClassification"]), ["['Qwen3VLForSequenceClassification']"]),
    "a tower alone": (config(architectures=["Qwen3VLModel"]), ["['Qwen3VLModel']", "no model that writes"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_config_may_not_say(folder: Path, name: str) -> None:
    change, parts = CONFIGS[name]
    change(folder)
    sentence = refusal(folder)
    assert [part for part in parts if part not in sentence] == [], sentence
    if VLLM in sentence:  # it does: what it names is not refused there
        assert engine_kind(VLLMSpec(kind="vllm", model=str(folder))).weights == folder


@pytest.mark.parametrize("method", [*sorted(_VLLM_METHODS), "hqq", 3])
def test_quantized_weights(folder: Path, method: Any) -> None:
    config(quantization_config={"quant_method": method})(folder)
    sentence = refusal(folder)
    assert f"quantized by {method}" in sentence
    assert (VLLM in sentence) == (method in _VLLM_METHODS)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (text(quantization_config={"quant_method": "fp8"}), "quantized by fp8"),
        (config(quantization={"bits": 4}), "quantized by MLX"),
        (config(quantization_config=["fp8"]), "quantized by ['fp8']"),
        (lambda folder: (folder / "quantize_config.json").write_text("{}"), "quantized by gptq"),
        (lambda folder: (folder / "hf_quant_config.json").write_text("{}"), "quantized by modelopt"),
    ],
)
def test_other_places_that_say_so(folder: Path, change: Change, part: str) -> None:
    change(folder)
    assert part in refusal(folder)


def stored(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def rewrite(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return rewrite


NORM = "model.language_model.norm.weight"
WEIGHTS: dict[str, tuple[Change, list[str]]] = {
    "float8": (stored(lambda w: w.update({NORM: w[NORM].to(torch.float8_e4m3fn)})), ["F8_E4M3", "quantization_config"]),
    "int8": (stored(lambda w: w.update({NORM: w[NORM].to(torch.int8)})), ["stored as I8"]),
    "no head": (stored(lambda w: w.pop("lm_head.weight")), ["lack lm_head.weight", "embedding models"]),
    "biases": (stored(lambda w: w.update({"model.language_model.layers.0.self_attn.q_proj.bias": w[NORM] + 1})),
               ["unexpected: model.language_model.layers.0.self_attn.q_proj.bias"]),
    "no norm": (stored(lambda w: w.pop(NORM)), [f"missing: {NORM}"]),
    "another shape": (stored(lambda w: w.update({NORM: w[NORM][:8].clone()})), [f"{NORM} [8], not [64]"]),
    "cut short": (lambda folder: (folder / "model.safetensors").write_bytes(
                      (folder / "model.safetensors").read_bytes()[:-9]), ["it ends within"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_what_weights_may_not_be(folder: Path, name: str) -> None:
    change, parts = WEIGHTS[name]
    change(folder)
    sentence = refusal(folder)
    assert [part for part in parts if part not in sentence] == [], sentence


def processor(**values: Any) -> Change:
    return lambda folder: edit(folder / "preprocessor_config.json", lambda data: data.update(values))


def clips(**values: Any) -> Change:
    return lambda folder: edit(folder / "video_preprocessor_config.json", lambda data: data.update(values))


def lacks(name: str) -> Change:
    return lambda folder: edit(folder / "preprocessor_config.json", lambda data: data.pop(name))


PIXELS: dict[str, tuple[Change, list[str]]] = {
    "another mean": (processor(image_mean=[0.48, 0.46, 0.41]), ["image_mean is [0.48", VLLM]),
    "another deviation": (clips(image_std=[1, 1, 1]), ["image_std is [1, 1, 1]", VLLM]),
    "no mean": (lacks("image_mean"), ["image_mean is missing", VLLM]),
    "not normalized": (processor(do_normalize=False), ["do_normalize is False", VLLM]),
    "not rescaled": (processor(do_rescale=False), ["do_rescale is False", VLLM]),
    "another factor": (processor(rescale_factor=1 / 127.5), ["rescale_factor is 0.0078", VLLM]),
    "bilinear": (processor(resample=2), ["resample is 2", SERVER]),
    "not resized": (processor(do_resize=False), ["do_resize is False", SERVER]),
    "patch 14": (processor(patch_size=14), ["patch_size is 14", SERVER]),
    "no patch": (lacks("patch_size"), ["patch_size is missing", SERVER]),
    "merge 1": (clips(merge_size=1), ["merge_size is 1", SERVER]),
    "frames one by one": (clips(temporal_patch_size=1), ["temporal_patch_size is 1", SERVER]),
    "frames capped": (clips(cap_pixels_per_frame=True), ["cap_pixels_per_frame is True", SERVER]),
    "a side": (processor(size={"height": 224, "width": 224}), ["shortest_edge of size is None"]),
    "half a size": (processor(size={"longest_edge": 65536}), ["shortest_edge of size is None"]),
    "nested nonsense": (lambda folder: edit(folder / "processor_config.json", lambda data: data.update(
                            image_processor=3)), ["image_processor is 3, not an object"]),
}  # fmt: skip


@pytest.mark.parametrize("name", PIXELS)
def test_how_pictures_may_not_be_prepared(folder: Path, name: str) -> None:
    change, parts = PIXELS[name]
    change(folder)
    sentence = refusal(folder)
    assert [part for part in parts if part not in sentence] == [], sentence


def tokenizer(change: Callable[[Json], object]) -> Change:
    return lambda folder: edit(folder / "tokenizer.json", change)


def more_tokens(folder: Path) -> None:
    path = str(folder / "tokenizer.json")
    full = Tokenizer.from_file(path)
    full.add_tokens([f"word{number}" for number in range(500)])
    full.save(path)


POST = {
    "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}], "pair": [],
    "special_tokens": {"<|im_end|>": {"id": "<|im_end|>", "ids": [1], "tokens": ["<|im_end|>"]}},
}  # fmt: skip
TEXTS: dict[str, tuple[Change, list[str]]] = {
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), ["holds no tokenizer.json"]),
    "no JSON": (lambda folder: (folder / "tokenizer.json").write_text("{"), ["tokenizer.json cannot be read"]),
    "no tokenizer in it": (tokenizer(lambda data: data.pop("model")), ["tokenizer.json cannot be read"]),
    "no marks": (tokenizer(lambda data: data["added_tokens"].clear()), ["has no token <|im_end|>"]),
    "tokens without rows": (more_tokens, ["it has a token", "vocab_size"]),
    "texts that grow": (tokenizer(lambda data: data.update(post_processor=POST)), ["post_processor adds tokens"]),
    "marks that take spaces": (tokenizer(lambda data: data["added_tokens"][0].update(rstrip=True)), ["takes the sp"]),
    "another pad": (lambda folder: edit(folder / "tokenizer_config.json", lambda data: data.update(
                        image_token="<|other|>")), ["image_token is '<|other|>'"]),
    "a token beside": (lambda folder: edit(folder / "tokenizer_config.json", lambda data: data.update(
                           added_tokens_decoder={"7": {"content": "<|new|>"}})), ["has no token 7 '<|new|>'"]),
    "no generation": (lambda folder: (folder / "generation_config.json").write_text("no"), ["generation_config.json"]),
    "a list of it": (lambda folder: (folder / "generation_config.json").write_text("[]"), ["holds no JSON object"]),
    "an end in words": (lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": ["x"]}'),
                        ["eos_token_id is ['x']"]),
    "an end that is true": (lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": true}'),
                            ["eos_token_id is [True]"]),
    "half a template": (lambda folder: (folder / "chat_template.jinja").write_text("{% for"), ["template cannot be"]),
    "a template without pictures": (lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
                                    ["0 times <|image_pad|> for 1 pictures"]),
    "a template without texts": (lambda folder: (folder / "chat_template.jinja").write_text(
                                     "<|image_pad|><|video_pad|>"), ["leaves out what a user says"]),
    "a template that divides": (lambda folder: (folder / "chat_template.jinja").write_text("{{ 1 / 0 }}"),
                                ["cannot render", "ZeroDivisionError"]),
    "templates without a name": (lambda folder: [(folder / "chat_template.jinja").unlink(), edit(
        folder / "tokenizer_config.json", lambda data: data.update(chat_template=[{"name": "default"}]))],
        ["none of its chat templates"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_what_cannot_be_asked(folder: Path, name: str) -> None:
    change, parts = TEXTS[name]
    change(folder)
    sentence = refusal(folder)
    assert [part for part in parts if part not in sentence] == [], sentence


def only(*names: str) -> Change:
    """A folder that holds nothing else than these."""

    def change(folder: Path) -> None:
        shutil.rmtree(folder)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text('{"base_model_name_or_path": "Qwen/Qwen3-VL-8B-Instruct"}')

    return change


def with_file(name: str, content: str = "{}") -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return change


SCORES = 'Judge. Note that the answer can only be \\"yes\\" or \\"no\\".'
FOLDERS: dict[str, tuple[Change, list[str]]] = {
    "gguf": (only("model-Q4_K_M.gguf", "mmproj.gguf", "config.json"), ["GGUF", "llama-server", SERVER]),
    "lora": (only("adapter_config.json", "adapter_model.safetensors"),
             ["adapter (LoRA, PEFT) for Qwen/Qwen3-VL-8B-Instruct", "merge", SERVER]),
    "lora beside weights": (with_file("adapter_config.json"), ["adapter (LoRA, PEFT) for another model"]),
    "pickle": (only("config.json", "pytorch_model-00001-of-00002.bin"), ["pickle", "save them as safetensors"]),
    "onnx": (only("config.json", "model.onnx"), ["ONNX"]),
    "openvino": (only("config.json", "openvino_language_model.xml"), ["OpenVINO"]),
    "nothing": (only("README.md"), ["holds no config.json"]),
    "no weights": (only("config.json"), ["model_type None"]),
    "sentence-transformers": (with_file("1_Pooling/config.json"), ["an embedding model", "no text"]),
    "modules": (with_file("modules.json", "[]"), ["an embedding model", "no text"]),
    "its script": (with_file("scripts/qwen3_vl_reranker.py", ""), ["a reranker", "no text"]),
    "its name": (config(_name_or_path="Qwen/Qwen3-VL-Embedding-2B"), ["an embedding model"]),
    "its prompt": (with_file("chat_template.jinja", "Represent the user's input."), ["an embedding model"]),
    "its question": (with_file("chat_template.json", f'{{"chat_template": "{SCORES}"}}'), ["a reranker"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_another_kind(folder: Path, name: str) -> None:
    change, parts = FOLDERS[name]
    change(folder)
    sentence = refusal(folder)
    assert [part for part in parts if part not in sentence] == [], sentence


@pytest.mark.parametrize("name", ["Qwen3-VL-Embedding-8B", "qwen3-vl-reranker-2b"])
def test_a_folder_that_is_called_so(folder: Path, name: str) -> None:
    sentence = refusal(folder.rename(folder.with_name(name)))
    assert "name an Instruct or Thinking checkpoint" in sentence


class Hub:
    """Stands for the hub's client: gives a folder, and keeps what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def __call__(self, name: str, *, allow_patterns: list[str] | None = None, **_: Any) -> str:
        self.asked += allow_patterns or []
        return str(self.folder)


def of_hub(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    with contextlib.suppress(SpecError):
        assert engine_kind(Spec(kind="torch", model=name)).weights == folder
    return hub


def test_weights_are_fetched_after_the_rest_was_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "*.safetensors" in of_hub(folder, "Qwen/Qwen3-VL-2B-Instruct", monkeypatch).asked
    assert "*.safetensors" not in of_hub(folder, "Qwen/Qwen3-VL-Embedding-2B", monkeypatch).asked
    config(quantization_config={"quant_method": "fp8"})(folder)
    assert "*.safetensors" not in of_hub(folder, "Qwen/Qwen3-VL-8B-Instruct-FP8", monkeypatch).asked


def test_the_name_of_a_hub_says_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", Hub(tmp_path))
    with pytest.raises(SpecError, match="GGUF files"):
        _ = engine_kind(Spec(kind="torch", model="Qwen/Qwen3-VL-8B-Instruct-GGUF")).weights


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "Qwen3-VL-8B-Q4.gguf"
    path.write_bytes(b"GGUF")
    assert "is a file, not a folder; it holds GGUF files" in refusal(path)


def test_a_plan_ends_with_the_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config(quantization_config={"quant_method": "awq"})(folder)
    spec = tmp_path / "job.yaml"
    job = {
        "name": "job", "inputs": [str(tmp_path / "*.png")], "output": str(tmp_path / "out"), "tasks": ["caption"],
        "engine": {"kind": "torch", "model": str(folder)},
    }  # fmt: skip
    spec.write_text(yaml.safe_dump(job))
    assert main(["plan", str(spec)]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "weights quantized by awq (quantization_config of config.json)" in shown
    assert VLLM in shown


def test_doctor_says_the_same(folder: Path) -> None:
    config(quantization_config={"quant_method": "awq"})(folder)
    can_answer, (finding,) = engine_kind(Spec(kind="torch", model=str(folder))).findings(FreeMemory(100, 100))
    assert (can_answer, finding.level) == (False, "fail")
    assert "weights quantized by awq" in finding.message


def test_a_sound_checkpoint_is_planned(folder: Path) -> None:
    planned(folder)
