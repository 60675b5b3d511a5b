"""What vLLM is started with: bounds from the job, guards against what it is known to fail at. Needs no vLLM."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs.bench.shapes import config_json
from model.engines.vllm_args import arguments
from model.engines.vllm_engine import version_fault
from model.engines.vllm_kind import Settings
from pipelines.job import prepare
from pipelines.plan import stages
from pipelines.tasks.caption import TASK
from schemas.checkout import NANO as CHECKPOINT
from schemas.errors import SpecError
from schemas.spec import JobSpec

SETTINGS = Settings(model="folder", device="cuda")


def chosen(settings: Settings, config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return arguments(settings, config or config_json("8b"), **{"free_bytes": 8 << 30, "thinks": False, **more})


def experts(ffn: int, *, fp8: bool) -> dict[str, Any]:
    config = config_json("2b")
    text = {**config["text_config"], "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": ffn}
    quantised = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}} if fp8 else {}
    return {**config, "model_type": "qwen3_vl_moe", "text_config": text, **quantised}


def test_the_encoder_is_bounded_by_what_the_job_will_show() -> None:
    found = chosen(replace(SETTINGS, image_max_px=2048 * 1024, video_max_px=0))
    assert found["limit_mm_per_prompt"] == {"image": 1, "video": 0}
    assert found["mm_processor_kwargs"] == {
        "images_kwargs": {"size": {"shortest_edge": 1024, "longest_edge": 2048 * 1024}}
    }
    # never more than the context holds: 4096 tokens are 4096 squares of a picture, and of every second frame
    small = chosen(replace(SETTINGS, max_context=4096))["mm_processor_kwargs"]
    assert small["images_kwargs"]["size"]["longest_edge"] == 4096 * 1024
    assert small["videos_kwargs"]["size"]["longest_edge"] == 2 * 4096 * 1024
    assert "mm_processor_kwargs" not in chosen(replace(SETTINGS, image_max_px=0, video_max_px=0))


def test_several_gpus_split_the_language_model_and_share_out_the_pictures() -> None:
    assert "mm_encoder_tp_mode" not in chosen(SETTINGS)
    both = chosen(replace(SETTINGS, tensor_parallel=4))
    assert (both["tensor_parallel_size"], both["mm_encoder_tp_mode"]) == (4, "data")
    assert chosen(replace(SETTINGS, tensor_parallel=4, options={"mm_encoder_tp_mode": "weights"}))[
        "mm_encoder_tp_mode"
    ] == ("weights")


@pytest.mark.parametrize(
    ("ffn", "cards", "fp8", "spread"),
    [(1536, 4, True, False), (1536, 8, True, True), (768, 2, True, False), (768, 4, True, True), (768, 4, False, False),
     (768, 1, True, False)],
)  # fmt: skip
def test_experts_in_fp8_are_spread_whole_where_cutting_them_would_tear_their_blocks(
    ffn: int, cards: int, fp8: bool, spread: bool
) -> None:
    found = chosen(replace(SETTINGS, tensor_parallel=cards), experts(ffn, fp8=fp8))
    assert found["enable_expert_parallel"] is spread


def test_a_million_tokens_are_yarn_as_the_readme_of_the_model_has_it() -> None:
    assert "hf_overrides" not in chosen(replace(SETTINGS, max_context=262_144))
    rope = chosen(replace(SETTINGS, max_context=1_000_000))["hf_overrides"]["text_config"]["rope_parameters"]
    assert rope == {
        "rope_type": "yarn", "rope_theta": 5e6, "factor": 3.0, "original_max_position_embeddings": 262_144,
        "mrope_section": [24, 20, 20], "mrope_interleaved": True,
    }  # fmt: skip
    with pytest.raises(SpecError, match="this model reaches 1048576"):
        chosen(replace(SETTINGS, max_context=2_000_000))


def test_what_the_job_decides_is_no_option() -> None:
    assert chosen(replace(SETTINGS, options={"gpu_memory_utilization": 0.8}))["gpu_memory_utilization"] == 0.8
    with pytest.raises(SpecError, match=r"engine\.options: max_model_len follows from the rest of the job"):
        chosen(replace(SETTINGS, options={"max_model_len": 5}))


def test_on_a_cpu_the_cache_takes_no_more_than_half_of_what_is_free() -> None:
    on_cpu = replace(SETTINGS, device="cpu", slots=64, max_context=8192)
    assert chosen(on_cpu, free_bytes=16 << 30)["kv_cache_memory_bytes"] == 8 << 30
    least = chosen(on_cpu, free_bytes=1 << 20)["kv_cache_memory_bytes"]
    assert least > 8192 * 36 * 2 * 8 * 128 * 4, "one sequence at full length always fits"


def test_a_thinking_model_is_held_to_a_schema_only_after_its_thought() -> None:
    assert chosen(SETTINGS, thinks=True)["structured_outputs_config"]["reasoning_parser"] == "deepseek_r1"
    assert "reasoning_parser" not in chosen(SETTINGS)["structured_outputs_config"]


@pytest.mark.parametrize(
    ("version", "will_do"), [("0.31.2", False), ("0.32.0", True), ("0.33.1rc2", True), ("1.0", True)]
)
def test_a_vllm_with_other_inputs_is_named(version: str, will_do: bool) -> None:
    assert (version_fault(version) is None) is will_do


def job(tmp_path: Path, **changes: Any) -> Any:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    spec = {
        "name": "n", "inputs": [str(tmp_path / "a.png")], "tasks": [{"name": "ocr"}], "output": str(tmp_path / "out"),
        "engine": {"kind": "vllm", "model": str(CHECKPOINT)}, **changes,
    }  # fmt: skip
    return prepare(JobSpec.model_validate(spec))


def test_a_job_without_clips_says_so_and_keeps_128_requests_under_way(tmp_path: Path) -> None:
    made = job(tmp_path)
    assert made.infer.engine.video_max_px == 0
    assert made.infer.engine.slots == 128
    assert made.infer.engine.max_context == 4096  # nano's
    (infer,) = (stage for stage in stages(made, requests_per_chunk=32) if stage.name == "infer")
    assert infer.calls * 32 == 6 * 256
    assert job(tmp_path, tasks=[{"name": "caption"}]).infer.engine.video_max_px > 0


def test_only_whole_documents_and_videos_stretch_the_context(tmp_path: Path) -> None:
    engine = {"kind": "vllm", "model": str(CHECKPOINT), "max_context": 8192}
    with pytest.raises(SpecError, match="8192 tokens are more than the 4096 of the model"):
        job(tmp_path, engine=engine)
    whole = [{"name": "document_qa", "parameters": {"question": "Who?"}, "max_tokens": 512}]
    made = job(tmp_path, engine=engine, tasks=whole)
    assert made.infer.engine.max_context == 8192
    assert made.decode.full_input_tokens == 8192 - 512 - 1024


def test_options_that_change_answers_are_part_of_the_job(tmp_path: Path) -> None:
    def identity(**options: Any) -> Any:
        return job(tmp_path, engine={"kind": "vllm", "model": str(CHECKPOINT), "options": options}).identity["engine"]

    assert identity(gpu_memory_utilization=0.5) == identity()
    assert identity(kv_cache_dtype="fp8") != identity()


def test_a_thinking_checkpoint_is_sampled_as_qwen_does_unless_the_spec_says_otherwise(tmp_path: Path) -> None:
    thinking = tmp_path / "thinking"
    shutil.copytree(CHECKPOINT, thinking)
    template = (CHECKPOINT / "chat_template.jinja").read_text()
    head, opening, tail = template.rpartition("assistant\\n")
    (thinking / "chat_template.jinja").write_text(f"{head}{opening}<think>\\n{tail}")

    def sampling(model: Path, **task: Any) -> Any:
        made = job(tmp_path, engine={"kind": "vllm", "model": str(model)}, tasks=[{"name": "caption", **task}])
        return made.tasks[0].sampling

    assert sampling(CHECKPOINT) == TASK.sampling
    assert sampling(thinking, sampling="task") == TASK.sampling
    own = replace(TASK.sampling, temperature=1.0, top_p=0.95, top_k=20)
    assert sampling(thinking) == own
    assert sampling(thinking, temperature=0.6, max_tokens=9) == replace(own, temperature=0.6, max_tokens=9)
    assert sampling(CHECKPOINT, sampling="model") == replace(
        TASK.sampling, temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5
    )
