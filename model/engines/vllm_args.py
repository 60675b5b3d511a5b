"""What vLLM is started with: arguments of its AsyncEngineArgs from a checkpoint and a job. Pure; imports no vLLM.

Every choice that guards against a known failure of vLLM names it (Q = QwenLM/Qwen3-VL, v = vllm-project/vllm).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from model.engines.engine import DEFAULT_CONTEXT
from model.network.config import Config, splits_in_fp8
from schemas.errors import SpecError

STEP_TOKENS = {"cpu": 4096, "cuda": 16_384}
"""Prefilled at once: above 8192 for throughput (vLLM's recipe), less where activations lie in the machine's memory."""
DTYPES = {"float32": 4, "bfloat16": 2}
OWN = (
    *("model", "tokenizer", "dtype", "max_model_len", "max_num_seqs", "tensor_parallel_size", "limit_mm_per_prompt"),
    *("mm_processor_kwargs", "mm_device_do_normalize", "structured_outputs_config", "disable_log_stats"),
)
"""Arguments that the job decides; `engine.options` must leave them alone."""


@dataclass(frozen=True, kw_only=True)
class VLLMSettings:
    """model: checkpoint folder. slots: sequences decoded together. max_context: tokens of prompt and answer.

    image_max_px: area of the largest picture that will be asked about; video_max_px: of all frames of the largest
    clip together. 0: there are none of the kind. options: further arguments, by vLLM's names.
    """

    model: str
    dtype: str = "auto"
    device: str = "cpu"
    slots: int = 128
    max_context: int = DEFAULT_CONTEXT
    tensor_parallel: int = 1
    image_max_px: int = 16_777_216
    video_max_px: int = 25_165_824
    options: dict[str, Any] = field(default_factory=dict)


def dtype_of(settings: VLLMSettings) -> str:
    return settings.dtype if settings.dtype != "auto" else "float32" if settings.device == "cpu" else "bfloat16"


def arguments(settings: VLLMSettings, config_json: dict[str, Any], *, free_bytes: int, thinks: bool) -> dict[str, Any]:
    """config_json: parsed config.json. free_bytes: memory of the machine, for the cache of a CPU engine.
    thinks: the chat template opens a thought. Raises SpecError for what vLLM would refuse or run wrongly.
    """
    if taken := sorted(settings.options.keys() & set(OWN)):
        raise SpecError(f"engine.options: {taken[0]} follows from the rest of the job; set it there")
    config = Config.from_json(config_json)
    dtype = dtype_of(settings)
    chosen: dict[str, Any] = {
        "model": settings.model,
        "dtype": dtype,
        "max_model_len": settings.max_context,
        "max_num_seqs": settings.slots,
        "max_num_batched_tokens": max(STEP_TOKENS[settings.device], settings.slots),
        "tensor_parallel_size": settings.tensor_parallel,
        "generation_config": "vllm",  # sampling is the task's; a checkpoint's own defaults stay out of it
        # inputs are unique: hashing and keeping them costs memory of two processes and saves nothing (4 GiB each)
        "mm_processor_cache_gb": 0,
        **_encoder(settings, config),
        "mm_device_do_normalize": True,  # patches come as bytes, a quarter of the memory and of the way to the core
        # white space between the parts of JSON has no end where a model is unsure (docs/facts/vllm-cpu.md §3)
        "structured_outputs_config": {
            "backend": "guidance",
            "disable_any_whitespace": True,
            **({"reasoning_parser": "deepseek_r1"} if thinks else {}),  # only </think> appears: v26239
        },
        # its record is our heartbeat: it moves with every step of the engine
        "disable_log_stats": False,
        "enable_log_requests": False,
    }
    if settings.tensor_parallel > 1:
        chosen["mm_encoder_tp_mode"] = "data"  # the tower is small: whole on every card, pictures spread over them
    if config.text.experts is not None:
        chosen["enable_expert_parallel"] = settings.tensor_parallel > 1 and _experts_split_badly(settings, config_json)
    if settings.max_context > config.text.max_positions:
        chosen["hf_overrides"] = _stretched(settings.max_context, config_json)
    if settings.device == "cpu":
        # it would take nine tenths of the machine, which the decoders share
        chosen["kv_cache_memory_bytes"] = _cache_bytes(settings, config, DTYPES[dtype], free_bytes)
        chosen["worker_extension_cls"] = "model.engines.vllm_worker.Worker"
        chosen["enforce_eager"] = True  # compiling takes minutes and children of daemons may not (platforms/cpu.py)
    return chosen | settings.options


def _encoder(settings: VLLMSettings, config: Config) -> dict[str, Any]:
    """What may come, for the profile run and the encoder's cache. vLLM sizes both by the checkpoint's largest item,
    which may be far from the job's; `limit_mm_per_prompt` alone does not lower them (v38459, v34209), and an item
    larger than the context breaks them (v27992).
    """
    side = config.vision.patch * config.vision.merge
    most = settings.max_context * side**2
    image, video = min(settings.image_max_px, most), min(settings.video_max_px, most * config.vision.temporal_patch)
    bounds: dict[str, Any] = {}
    if image:
        bounds["images_kwargs"] = {"size": {"shortest_edge": side**2, "longest_edge": image}}
    if video:
        # cap_pixels_per_frame changes its default in transformers 5.22
        bounds["videos_kwargs"] = {
            "size": {"shortest_edge": side**2, "longest_edge": video},
            "cap_pixels_per_frame": False,
        }
    return {
        "limit_mm_per_prompt": {"image": int(image > 0), "video": int(video > 0)},
        **({"mm_processor_kwargs": bounds} if bounds else {}),
    }


def _experts_split_badly(settings: VLLMSettings, config_json: dict[str, Any]) -> bool:
    """Whether the experts of a checkpoint in FP8 cannot be cut over the cards: their blocks of 128 would be torn
    (235B beyond 4 cards, 30B-A3B beyond 2: v17569, v25292, Q1554). Then whole experts are spread instead."""
    quantized = config_json.get("quantization_config") or {}
    if quantized.get("quant_method") != "fp8" or not quantized.get("weight_block_size"):
        return False
    ffn: int = config_json["text_config"]["moe_intermediate_size"]
    return not splits_in_fp8(ffn, settings.tensor_parallel)


def _stretched(context: int, config_json: dict[str, Any]) -> dict[str, Any]:
    """YaRN for contexts beyond pretraining, as the model's README has it for a million tokens: a factor of 2 to 3
    where 4 times as many tokens come, for the three axes of a picture advance slower than its tokens."""
    config = Config.from_json(config_json)
    native = config.text.max_positions
    if context > config.text.longest_context:
        raise SpecError(f"engine.max_context: {context} tokens; this model reaches {config.text.longest_context}")
    rope = {
        "rope_type": "yarn",
        "rope_theta": config.text.rope_theta,  # the recipe leaves it out; the class default is another
        "factor": 2.0 if context <= 2 * native else 3.0,
        "original_max_position_embeddings": native,
        "mrope_section": list(config.text.mrope_section),
        "mrope_interleaved": True,
    }
    return {"text_config": {"rope_parameters": rope, "max_position_embeddings": context}}


def _cache_bytes(settings: VLLMSettings, config: Config, item_bytes: int, free_bytes: int) -> int:
    """For all slots at full length, within half of what is free; for one at full length in any case."""
    context = config.text.kv_bytes(item_bytes) * (settings.max_context + 2 * 128)
    return max(context + (64 << 20), min(settings.slots * context, free_bytes // 2))
