"""The shape of the nano network, as the config.json of a checkpoint. Knows nothing of training.

Small enough to learn to read in two hours on two cores.
"""

from __future__ import annotations

from typing import Any

from model.nano.tokens import VOCABULARY_SIZE, special_ids, token_ids

PATCH, MERGE, TEMPORAL = 16, 2, 2


def nano_config() -> dict[str, Any]:
    """config.json of the checkpoint that is shipped."""
    return config_json(vision_hidden=192, vision_depth=4, text_hidden=192, text_layers=3)


def config_json(*, vision_hidden: int, vision_depth: int, text_hidden: int, text_layers: int) -> dict[str, Any]:
    """A network of heads of 64 features and feed-forward layers three times as wide as the stream."""
    text = {
        "model_type": "qwen3_vl_text",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": token_ids()["<|endoftext|>"],
        "eos_token_id": token_ids()["<|im_end|>"],
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": text_hidden,
        "initializer_range": 0.02,
        "intermediate_size": 3 * text_hidden,
        "max_position_embeddings": 4096,
        "num_attention_heads": text_hidden // 64,
        "num_hidden_layers": text_layers,
        "num_key_value_heads": text_hidden // 64,  # one looks up letters, another names: they share no values
        "rms_norm_eps": 1e-6,
        # both spellings: transformers 4 and vLLM read the first two, transformers 5 the last
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "default", "mrope_section": [12, 10, 10], "mrope_interleaved": True},
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [12, 10, 10],
            "mrope_interleaved": True,
        },
        "use_cache": True,
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY_SIZE,
        "dtype": "bfloat16",
    }
    vision = {
        "model_type": "qwen3_vl",
        "deepstack_visual_indexes": [vision_depth // 2],
        "depth": vision_depth,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": vision_hidden,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 3 * vision_hidden,
        "num_heads": vision_hidden // 64,
        "num_position_embeddings": 256,
        "out_hidden_size": text_hidden,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": TEMPORAL,
        "dtype": "bfloat16",
    }
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        **special_ids(),
        "text_config": text,
        "vision_config": vision,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }
